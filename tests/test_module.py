"""The compressed model as an object: saved, copied, moved, cast, compiled, run by threads.

And what it leaves alone: the user's model and images.
"""

import copy
import io
import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from networks import TinyDepthwise, TinyOdd, TinyParts, TinyResidual, images, latin, tiny
from torch import fx, nn

import fmtc
from fmtc.network.outputs import tensors

KINDS = [TinyResidual, TinyDepthwise, TinyOdd, TinyParts]
each_kind = pytest.mark.parametrize("kind", KINDS)
SETTINGS = {
    "fmtc": {"target": fmtc.Step(0.02)},
    "paper": {"config": "paper", "bits": 6},
    "ebpc": {"config": "ebpc", "bits": 5},
}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def made(kind=TinyResidual, preset="fmtc", model=None, n=12, **options):
    options.setdefault("micro_batch", 4)
    model = tiny(kind) if model is None else model
    return fmtc.compress(model, images(n), **SETTINGS[preset], **options)


def outputs_of(compressed, x):
    return tensors(compressed(x))


def assert_same(one, other, x=None):
    """Equal outputs, and equal figures of what was counted."""
    x = images(3, seed=1) if x is None else x
    for compressed in (one, other):
        compressed.reset_statistics()
    equal = zip(outputs_of(one, x), outputs_of(other, x), strict=True)
    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in equal)
    reports = [compressed.report().to_dict() for compressed in (one, other)]
    assert reports[0] == reports[1]


def assert_stream_is_simulate(compressed, x):
    outputs = []
    for mode in ("stream", "simulate"):
        compressed.mode = mode
        outputs.append(outputs_of(compressed, x))
    compressed.mode = "stream"
    for streamed, simulated in zip(*outputs, strict=True):
        assert torch.equal(streamed, simulated) and streamed.isfinite().all()
    return outputs[0]


def through_a_file(thing, weights_only):
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=weights_only)


# -- Saved and copied ------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("preset", ["fmtc", "paper"])
def test_saved_whole_and_pickled(kind, preset, tmp_path):
    compressed = made(kind, preset)
    for again in (
        through_a_file(compressed, weights_only=False),
        pickle.loads(pickle.dumps(compressed)),
    ):
        assert_same(again, compressed)
        assert again.config == compressed.config and again.sides == compressed.sides
        # The reference comes along, and so can be measured with.
        x = images(4, seed=2)
        assert fmtc.evaluate(again, x)["snr_db"] == fmtc.evaluate(compressed, x)["snr_db"]
        again.save(tmp_path / "again.safetensors")
        compressed.save(tmp_path / "codec.safetensors")
        saved = [(tmp_path / f"{name}.safetensors").read_bytes() for name in ("again", "codec")]
        assert saved[0] == saved[1]
        assert_same(fmtc.load(tmp_path / "again.safetensors", tiny(kind)), compressed)


@pytest.mark.parametrize("kind", [TinyResidual, TinyParts])
def test_a_spawned_process_gives_the_same_output(kind):
    compressed, x = made(kind), images(3, seed=1)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        [there] = pool.submit(outputs_of, compressed, x).result()
    [here] = outputs_of(compressed, x)
    assert torch.equal(there, here)


@each_kind
def test_copies_share_the_reference_and_nothing_else(kind):
    compressed = made(kind)
    copied = copy.deepcopy(compressed)
    assert copied.reference is compressed.reference
    of_both = [
        {tensor.data_ptr() for tensor in (*c.parameters(), *c.buffers()) if tensor.numel()}
        for c in (copied, compressed)
    ]
    assert not of_both[0] & of_both[1]
    assert_same(copied, compressed)
    compressed.reset_statistics()
    copied(images(2))  # is counted there alone
    assert all(point.counted is None for point in compressed.points.values())
    assert all(point.counted is not None for point in copied.points.values())
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert_same(compressed, made(kind))


OTHERS = {
    "another preset": (TinyDepthwise, "paper", {}),
    "another step": (TinyDepthwise, "fmtc", {"target": fmtc.Step(0.3)}),
    "other images": (TinyDepthwise, "fmtc", {"n": 20}),
    "other layers": (TinyDepthwise, "fmtc", {"exclude": ["first.3"]}),
    "other weights": (TinyDepthwise, "fmtc", {"weight_bits": 4}),
    "in parts": (TinyParts, "paper", {"exclude": ["inner.conv1"]}),
}


@pytest.mark.parametrize("kind,preset,options", OTHERS.values(), ids=OTHERS)
def test_the_state_of_another_calibration_makes_it_the_other(kind, preset, options):
    model, x = tiny(kind), images(3, seed=1)
    settings = SETTINGS[preset] | {"micro_batch": 4}
    options = dict(options)
    x_calibration = images(options.pop("n", 12))
    other = fmtc.compress(model, x_calibration, **(settings | options))
    compressed = made(kind, model=model)
    before = outputs_of(compressed, x)
    assert not torch.equal(before[0], outputs_of(other, x)[0])
    as_it_was = snapshot(model)  # nothing is loaded into tensors that the two share with it
    own, foreign = (c.state_dict() for c in (compressed, other))
    own = copy.deepcopy(own)
    result = compressed.load_state_dict(through_a_file(foreign, weights_only=True))
    assert not result.missing_keys and not result.unexpected_keys
    assert_same(compressed, other)
    assert list(compressed.state_dict()) == list(other.state_dict())
    for name in ("config", "setting", "sides", "multiply_adds", "calibration_images"):
        assert getattr(compressed, name) == getattr(other, name), name
    components = [
        {name: getattr(codec, "components", None) for name, codec in c.codecs.items()}
        for c in (compressed, other)
    ]
    assert components[0] == components[1]
    compressed.load_state_dict(through_a_file(own, weights_only=True))
    assert_as_before(model, as_it_was)
    assert_same(compressed, made(kind, model=model))


def test_the_others_of_the_test_above_differ_where_it_matters():
    [fmtc_, paper] = [made(TinyDepthwise, preset) for preset in ("fmtc", "paper")]
    assert fmtc_.sides != paper.sides
    components = [[c.components for c in made_.codecs.values()] for made_ in (fmtc_, paper)]
    assert components[0] != components[1]


def test_mode_and_statistics_stay_where_a_state_is_loaded():
    compressed, other = made(), made(preset="paper")
    compressed.mode, compressed.statistics = "simulate", False
    compressed.load_state_dict(other.state_dict())
    assert compressed.mode == "simulate" and not compressed.statistics
    assert all(p.mode == "simulate" and not p.counting for p in compressed.points.values())


def test_states_that_are_damaged_or_of_another_network():
    compressed = made()
    state = compressed.state_dict()
    state["_extra_state"] = state["_extra_state"][:-1]
    with pytest.raises(fmtc.StorageError, match="the state is damaged"):
        compressed.load_state_dict(state)
    with pytest.raises(ValueError, match="there is no codec for layer"):
        compressed.load_state_dict(made(TinyDepthwise).state_dict())


def test_within_another_module():
    """As a part of a pipeline, whose state holds its own."""
    pipeline = nn.Sequential(nn.Identity(), made())
    other = nn.Sequential(nn.Identity(), made(preset="paper"))
    pipeline.load_state_dict(other.state_dict())
    assert_same(pipeline[1], other[1])
    names = set(pipeline.state_dict())
    assert "1._extra_state" in names and all(name.startswith("1.") for name in names)
    assert not any("reference" in name for name in names)


# -- Types and devices -----------------------------------------------------------------------------

TYPES = [torch.float16, torch.bfloat16, torch.float64]


def exact_tensors(compressed):
    """The numbers of codecs and statistics: they stay whatever the network's type is."""
    return [t.clone() for point in compressed.points.values() for t in point.buffers()]


@each_kind
@pytest.mark.parametrize("dtype", TYPES)
def test_networks_of_other_types(kind, dtype):
    compressed = made(kind)
    before = exact_tensors(compressed)
    compressed.to(dtype)
    assert {parameter.dtype for parameter in compressed.parameters()} == {dtype}
    for one, other in zip(exact_tensors(compressed), before, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)
    x = images(3, seed=1)
    expected = tensors(compressed.reference(x))[0]
    output = assert_stream_is_simulate(compressed, x.to(dtype))[0]
    assert output.dtype == dtype
    error = (output.double() - expected.double()).norm() / expected.double().norm()
    assert error < 0.3


@each_kind
@pytest.mark.parametrize("dtype", TYPES)
def test_models_of_other_types(kind, dtype, tmp_path):
    model = tiny(kind).to(dtype)
    compressed = made(kind, model=model)
    x = images(3, seed=1).to(dtype)
    output = assert_stream_is_simulate(compressed, x)[0]
    assert output.dtype == dtype == next(model.parameters()).dtype
    assert fmtc.evaluate(compressed, x)["snr_db_image"] > 8
    compressed.save(tmp_path / "codec.safetensors")
    assert_same(fmtc.load(tmp_path / "codec.safetensors", model), compressed, x)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [TinyResidual, TinyOdd])
def test_moved_after_loading(kind, device, tmp_path):
    device = torch.device(device)
    compressed, x = made(kind), images(3, seed=1)
    compressed.save(tmp_path / "codec.safetensors")
    loaded = fmtc.load(tmp_path / "codec.safetensors", tiny(kind))
    assert loaded.to(device) is loaded
    assert all(codec.device.type == device.type for codec in loaded.codecs.values())
    for tensor in (*loaded.parameters(), *loaded.buffers()):
        assert tensor.device.type == device.type
    outputs = assert_stream_is_simulate(loaded, x.to(device))
    for output, expected in zip(outputs, outputs_of(compressed, x), strict=True):
        assert output.device.type == device.type
        error = (output.cpu() - expected).norm() / expected.norm()
        assert error == 0 if device.type == "cpu" else error < 0.1
    back = loaded.to("cpu")
    assert_same(back, compressed)


def test_channels_last():
    compressed, x = made(), images(3, seed=1).contiguous(memory_format=torch.channels_last)
    [output] = assert_stream_is_simulate(compressed, x)
    torch.testing.assert_close(output, compressed(x.contiguous()), rtol=0.05, atol=0.05)
    compressed.to(memory_format=torch.channels_last)
    assert_stream_is_simulate(compressed, x)


@each_kind
@pytest.mark.parametrize("preset", ["fmtc", "paper"])
def test_autocast(kind, preset):
    compressed = made(kind, preset)
    x = images(3, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        output = assert_stream_is_simulate(compressed, x)[0]
        expected = tensors(compressed.reference(x))[0]
    error = (output.float() - expected.float()).norm() / expected.float().norm()
    assert error < 0.5


# -- Compiled, exported, replicated ----------------------------------------------------------------


# Network, preset, layers that are left out.
MODES = ["stream", "simulate"]
COMPILED = [
    (TinyResidual, "fmtc", ()),
    (TinyResidual, "paper", ()),
    (TinyResidual, "ebpc", ("conv1",)),
    (TinyDepthwise, "fmtc", ("first.3",)),
    (TinyDepthwise, "paper", ("last",)),
    (TinyOdd, "fmtc", ()),
    (TinyOdd, "ebpc", ()),
]


@pytest.mark.parametrize(
    "kind,preset,exclude,mode", [(*case, mode) for case, mode in latin(COMPILED, MODES)]
)
def test_compiled(kind, preset, exclude, mode):
    compressed = made(kind, preset, exclude=exclude, mode=mode)
    torch._dynamo.reset()
    compiled = torch.compile(compressed, fullgraph=True, backend="aot_eager")
    for n in (3, 2):
        x = images(n, seed=n)
        compressed.reset_statistics()
        expected, report = outputs_of(compressed, x), compressed.report().to_dict()
        compressed.reset_statistics()
        for got, wanted in zip(outputs_of(compiled, x), expected, strict=True):
            assert torch.equal(got, wanted)
        assert compressed.report().to_dict() == report  # it counts as ever


# A case is exported in the mode in which it is not compiled.
@pytest.mark.parametrize(
    "kind,preset,exclude,mode", [(*case, mode) for case, mode in latin(COMPILED, MODES[::-1])]
)
def test_exported_with_any_batch(kind, preset, exclude, mode):
    compressed = made(kind, preset, exclude=exclude, mode=mode)
    torch._dynamo.reset()
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(compressed, (images(2),), dynamic_shapes=shapes)
    graphs = (m.graph for m in program.graph_module.modules() if isinstance(m, fx.GraphModule))
    called = {str(node.target) for graph in graphs for node in graph.nodes}
    encoders = [name for name in called if name.startswith("fmtc.") and "encode" in name]
    assert bool(encoders) == (mode == "stream")
    module = program.module()
    for n in (1, 2, 5):
        x = images(n, seed=n)
        for got, wanted in zip(outputs_of(module, x), outputs_of(compressed, x), strict=True):
            assert torch.equal(got, wanted)


@each_kind
def test_data_parallel(kind):
    compressed, x = made(kind), images(4, seed=1)
    expected = outputs_of(compressed, x)
    parallel = outputs_of(nn.DataParallel(compressed), x)
    assert all(torch.equal(a, b) for a, b in zip(parallel, expected, strict=True))
    replica = compressed._replicate_for_data_parallel()
    assert replica.reference is compressed.reference and replica.mode == compressed.mode
    again = outputs_of(replica, x)
    assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))


# -- Statistics ------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("mode", ["stream", "simulate"])
def test_without_statistics(kind, mode):
    compressed, x = made(kind, mode=mode), images(3, seed=1)
    of_calibration = compressed.report().to_dict()
    expected = outputs_of(compressed, x)
    counted = compressed.report().to_dict()
    compressed.reset_statistics()
    compressed.statistics = False
    got = outputs_of(compressed, x)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    assert compressed.report().calibration and compressed.report().to_dict() == of_calibration
    compressed.statistics = True
    compressed(x)
    assert compressed.report().to_dict() == counted
    never = made(kind, mode=mode, statistics=False)
    never(x)
    assert never.report().calibration


def test_threads_count_what_they_run():
    compressed, x = made(TinyDepthwise), images(2, seed=1)
    expected = compressed(x)
    once = {name: point.counted for name, point in compressed.points.items()}
    compressed.reset_statistics()
    errors = []

    def run():
        try:
            for _ in range(5):
                assert torch.equal(compressed(x), expected)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for name, point in compressed.points.items():
        one, all_ = once[name], point.counted
        assert torch.equal(all_.histogram, 40 * one.histogram)
        for figure in ("values", "clamped", "streamed", "stream_bytes"):
            assert getattr(all_, figure) == 40 * getattr(one, figure), (name, figure)
        assert all_.shape == one.shape


# -- What it leaves alone --------------------------------------------------------------------------


def test_one_image_without_a_batch_is_said_in_a_sentence():
    compressed = made()
    expected = r"takes a batch of inputs \[N, 3, 12, 12\], got \[3, 12, 12\]; .* x\[None\]"
    with pytest.raises(ValueError, match=expected):
        compressed(images(2)[0])


def snapshot(model):
    """All of a model that one can see: tensors, flags, hooks, attributes' names."""
    return {
        "tensors": {k: v.clone() for k, v in (*model.named_parameters(), *model.named_buffers())},
        "addresses": {k: v.data_ptr() for k, v in model.named_parameters()},
        "versions": {k: v._version for k, v in (*model.named_parameters(), *model.named_buffers())},
        "gradients": {k: (p.requires_grad, p.grad) for k, p in model.named_parameters()},
        "training": {name: module.training for name, module in model.named_modules()},
        "hooks": {
            name: [len(getattr(m, kind)) for kind in vars(m) if kind.endswith("_hooks")]
            for name, m in model.named_modules()
        },
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "inplace": {n: getattr(module, "inplace", None) for n, module in model.named_modules()},
    }


def assert_as_before(model, before):
    after = snapshot(model)
    assert after["tensors"].keys() == before["tensors"].keys()
    for name, tensor in before["tensors"].items():
        assert torch.equal(after["tensors"][name], tensor), name
    for what in set(before) - {"tensors"}:
        assert after[what] == before[what], what


@pytest.mark.parametrize(
    "kind,preset,weight_bits,training",
    [
        (kind, *setting, training)
        for kind, setting, training in latin(
            KINDS, [("fmtc", 32), ("fmtc", 8), ("paper", 32)], [False, True]
        )
    ],
)
def test_the_users_model_and_images_stay_as_they_were(
    kind, training, preset, weight_bits, tmp_path
):
    model = tiny(kind).train(training)
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(i % 2 == 0)
    next(model.modules()).register_forward_hook(lambda *args: None)
    before, x = snapshot(model), images(8)
    pixels, version = x.clone(), x._version
    options = {"micro_batch": 4}
    compressed = fmtc.compress(model, x, **SETTINGS[preset], weight_bits=weight_bits, **options)
    assert_as_before(model, before)
    fmtc.evaluate(compressed, x)
    compressed.report()
    compressed.save(tmp_path / "codec.safetensors")
    assert_as_before(model, before)
    loaded = fmtc.load(tmp_path / "codec.safetensors", model)
    fmtc.evaluate(loaded, (x, torch.zeros(8, dtype=torch.int64)), reference=model)
    if kind is not TinyParts:
        fmtc.export_reference(loaded, tmp_path / "reference.safetensors", x)
    loaded.half()
    loaded.load_state_dict(compressed.state_dict())
    assert_as_before(model, before)
    assert torch.equal(x, pixels) and x._version == version and not x.requires_grad


def test_inference_mode_around_it_makes_no_difference(tmp_path):
    model, saved = tiny(TinyDepthwise), []
    for i, around in enumerate((torch.inference_mode, torch.no_grad, torch.enable_grad)):
        with around():
            compressed = made(TinyDepthwise, model=model)
        compressed.seconds_calibrate = 0.0
        compressed.save(tmp_path / str(i))
        saved.append((tmp_path / str(i)).read_bytes())
        assert not any(tensor.is_inference() for tensor in compressed.state_dict().values())
    assert saved[0] == saved[1] == saved[2]


def test_models_and_images_of_inference_mode():
    expected = made(TinyResidual)
    with torch.inference_mode():
        model, x = tiny(TinyResidual), images(12)
    assert next(model.parameters()).is_inference() and x.is_inference()
    compressed = fmtc.compress(model, x, **SETTINGS["fmtc"], micro_batch=4)
    assert_same(compressed, expected)
