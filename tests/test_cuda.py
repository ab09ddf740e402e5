"""What only a GPU shows: streams, graphs, other devices, wrong values, both sides' streams."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from other_device import WAITING
from test_ops_library import outcome, registered
from test_ops_samples import CLOSE, CPU_ALONE, SAMPLES
from torch.utils._pytree import tree_leaves, tree_map_only

import fmtc
from fmtc import ops
from fmtc.cli.demo import digits_data, digits_model
from fmtc.codec.coders import coders
from fmtc.ops.devices import copied_to

pytestmark = pytest.mark.cuda

SAMPLES = [sample for sample in SAMPLES if sample[0] not in CPU_ALONE]


def on(device, args):
    return tree_map_only(torch.Tensor, lambda x: x.to(device), args)


def assert_as_on_the_cpu(name, args, results):
    expected = outcome(name, args, registered(name))
    for result, of_cpu in zip(results, expected, strict=True):
        tolerance = 1e-11 if name in CLOSE else 0
        torch.testing.assert_close(result.cpu(), of_cpu, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("name, args", SAMPLES)
def test_another_stream(name, args):
    """The inputs are written on it only after a while: work on any other stream would be early."""
    values = on("cuda", args)
    inputs = tree_map_only(torch.Tensor, torch.zeros_like, values)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(10_000_000)
        for to, value in zip(tree_leaves(inputs), tree_leaves(values), strict=True):
            if isinstance(to, torch.Tensor):
                to.copy_(value)
        assert_as_on_the_cpu(name, args, outcome(name, inputs))


@pytest.mark.parametrize("name, args", [s for s in SAMPLES if s[0] not in WAITING])
def test_a_graph_holds_all_the_work(name, args):
    """Capturing fails where an operator waits for the device."""
    inputs = on("cuda", args)
    outcome(name, inputs)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = outcome(name, inputs)
    for _ in range(2):
        for result in results:
            result.zero_()
        graph.replay()
        assert_as_on_the_cpu(name, args, results)


@pytest.mark.parametrize("name, args", SAMPLES)
def test_the_same_every_time(name, args):
    inputs = on("cuda", args)
    first, second = (outcome(name, inputs) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name, args", SAMPLES)
def test_another_device(name, args):
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one CUDA device only")
    results = outcome(name, on("cuda:1", args))
    assert all(result.device == torch.device("cuda:1") for result in results)
    assert_as_on_the_cpu(name, args, results)


def test_all_arguments_must_be_on_one_device():
    levels, groups = torch.zeros(1, 2, 3, 3, dtype=torch.int16).cuda(), torch.zeros(2).long()
    with pytest.raises(RuntimeError, match="histogram: groups must be on the device of the first"):
        ops.histogram(levels, 0, 1, groups, 1)


# -- Streams and networks --------------------------------------------------------------------------


def case(coder, images=3, device="cpu", size=40):
    """Tables of a coder, and levels [images, 16, size, size]."""
    generator = torch.Generator().manual_seed(1)
    levels = (torch.randn(images, 16, size, size, generator=generator) * 3).round()
    levels = levels.clamp(-31, 31).to(torch.int16)
    groups = torch.arange(16) % 4
    coder = coders[coder](-31, ops.histogram(levels, -31, 31, groups, 4), groups)
    return coder.to(device), levels.to(device)


CODERS = ("rans", "huffman", "ebpc", "dct-cm")


@pytest.mark.parametrize("coder", CODERS)
def test_a_stream_made_on_one_decodes_on_the_other(coder):
    here, levels = case(coder)
    there, levels_there = case(coder, device="cuda")
    data, used = here.encode(levels)
    data_there, used_there = there.encode(levels_there)
    assert torch.equal(data_there.cpu(), data) and torch.equal(used_there.cpu(), used)
    assert torch.equal(there.decode(data.cuda(), used.cuda(), 40, 40).cpu(), levels)
    assert torch.equal(here.decode(data_there.cpu(), used_there.cpu(), 40, 40), levels)


@pytest.mark.parametrize("coder", CODERS)
def test_damaged_streams_leave_the_device_usable(coder):
    tables, levels = case(coder, images=64, device="cuda")
    data, used = tables.encode(levels)
    generator = torch.Generator("cuda").manual_seed(0)
    for _ in range(20):
        damaged = data.clone()
        at = (torch.rand(len(used), generator=generator, device="cuda") * used).long()
        damaged[torch.arange(len(used), device="cuda"), at] ^= 0x55
        decoded, status = tables.decode_unchecked(damaged, used, 40, 40)
        assert bool(status.all()) and not decoded.any()
    random = torch.randint(0, 256, data.shape, dtype=torch.uint8, device="cuda")
    assert bool(tables.decode_unchecked(random, used, 40, 40)[1].all())
    assert torch.equal(tables.decode(data, used, 40, 40), levels)


def as_near(output, expected, share=0.01):
    """Equal but for rounding, of which a level here and there may be another one."""
    assert output.shape == expected.shape and output.dtype == expected.dtype
    difference = (output.cpu().double() - expected.cpu().double()).norm()
    assert difference <= share * expected.cpu().double().norm()


PRESETS = {
    "fmtc": {"target": fmtc.Step(0.001)},
    "paper": {"preset": "paper", "bits": 6},
    "dct-cm": {"preset": "dct-cm", "bits": 5},
}
each_preset = pytest.mark.parametrize("options", PRESETS.values(), ids=PRESETS)
each_mode = pytest.mark.parametrize("mode", ["stream", "simulate"])


@pytest.fixture(scope="module")
def train():
    return digits_data().train_images


@pytest.fixture
def exact():
    """Convolutions as the CPU has them: of TF32 a level in a hundred would be another one."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def on_the_device(options, train, device="cuda", mode="stream"):
    """The digits' network, calibrated on a device."""
    network = digits_model().to(device)
    compressed = fmtc.compress(network, train[:64].to(device), **options)
    compressed.mode = mode
    return compressed


@each_preset
def test_a_network_is_calibrated_on_the_device(options, train, exact):
    """Near what the CPU finds: sums are taken in another order."""
    here, there = (
        fmtc.compress(digits_model(), train[:64], **options),
        on_the_device(options, train),
    )
    tensors = (*there.parameters(), *there.buffers())
    assert {x.device for x in tensors} == {torch.device("cuda", 0)}
    test = train[64:128]
    expected, point = (fmtc.evaluate(of, test) for of in (here, there))
    for rate in ("entropy", "stream"):
        assert point["bits_per_value"][rate] == pytest.approx(
            expected["bits_per_value"][rate], rel=0.02
        )
    assert point["snr_db"] == pytest.approx(expected["snr_db"], abs=1.0)


@each_preset
def test_a_network_calibrated_there_runs_anywhere(options, train, exact, tmp_path):
    there = on_the_device(options, train)
    there.save(tmp_path / "there.safetensors")
    here = fmtc.load(tmp_path / "there.safetensors", digits_model())
    test = train[64:72]
    as_near(there(test.cuda()), here(test))
    generator = torch.Generator().manual_seed(0)
    for name, codec in here.codecs.items():
        levels, _ = codec.quantize(torch.randn(2, codec.channels, 9, 9, generator=generator))
        data, used = codec.encode_levels(levels)
        made, sizes = there.codecs[name].encode_levels(levels.cuda())
        assert torch.equal(made.cpu(), data) and torch.equal(sizes.cpu(), used)


def test_targets_are_searched_on_the_device(train):
    compressed = on_the_device({"target": fmtc.SNR(15)}, train)
    assert 13 < fmtc.evaluate(compressed, train[64:192])["snr_db"] < 17


def test_a_network_runs_on_the_device(train, exact):
    compressed = fmtc.compress(digits_model(), train[:64], target=fmtc.Step(0.001))
    there = copied_to(compressed, "cuda")
    expected, output = compressed(train[:16]), there(train[:16].cuda())
    assert output.device.type == "cuda"
    assert torch.equal(output.cpu().argmax(1), expected.argmax(1))
    rate = there.report().bits_per_value["stream"]
    assert rate == pytest.approx(compressed.report().bits_per_value["stream"], rel=0.01)
    there.mode = "simulate"
    assert torch.equal(there(train[:16].cuda()), output)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_the_device(dtype, train):
    network, x = digits_model().to("cuda", dtype), train[:64].to("cuda", dtype)
    compressed = fmtc.compress(network, x, target=fmtc.Step(0.003))
    output = compressed(x[:16])
    assert output.dtype == dtype and output.is_cuda
    compressed.mode = "simulate"
    assert torch.equal(compressed(x[:16]), output)
    point = fmtc.evaluate(compressed, train[64:128], reference=digits_model().cuda())
    assert point["agreement"] > 0.9


# -- Whole networks in graphs, compiled, on streams and devices -----------------------------------


def captured(network, x):
    """A graph of the network's work on x, and its output, which each replay overwrites."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # what is made once, as cuDNN's plans, is not for the graph
        for _ in range(3):
            network(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = network(x)
    return graph, output


@each_preset
@each_mode
def test_a_graph_holds_a_whole_network(options, mode, train):
    """It decodes what it encodes and counts it, at each replay."""
    compressed = on_the_device(options, train, mode=mode)
    x = train[:8].cuda()
    graph, output = captured(compressed, x)
    for first in (8, 64):
        images = train[first : first + 8].cuda()
        compressed.reset_statistics()
        expected, report = compressed(images), compressed.report()
        compressed.reset_statistics()
        x.copy_(images)
        graph.replay()
        as_near(output, expected)
        again = compressed.report()
        assert again.values == report.values and again.nan_values == 0
        for rate in ("entropy", "stream"):
            found, known = again.bits_per_value[rate], report.bits_per_value[rate]
            assert found == (None if known is None else pytest.approx(known, rel=0.01))


@pytest.mark.parametrize("how", ["aot_eager", "inductor", "reduce-overhead"])
@each_mode
def test_a_compiled_network(how, mode, train):
    """reduce-overhead: in CUDA graphs that torch makes."""
    compressed = on_the_device(PRESETS["fmtc"], train, mode=mode)
    torch._dynamo.reset()
    kind = {"mode": how} if how == "reduce-overhead" else {"backend": how}
    compiled = torch.compile(compressed, fullgraph=True, **kind)
    for first in (0, 16, 32, 48):  # of graphs the first ones warm up and capture
        x = train[first : first + 16].cuda()
        compressed.reset_statistics()
        expected, values = compressed(x), compressed.report().values
        compressed.reset_statistics()
        # A fused product is rounded otherwise, and then a level may be the next one.
        as_near(compiled(x).clone(), expected, share=0.05)
        assert compressed.report().values == values


@each_mode
def test_a_network_on_two_streams(mode, train):
    """At the same time, with one set of counters."""
    compressed = on_the_device(PRESETS["fmtc"], train, mode=mode)
    images = [train[first : first + 64].cuda() for first in (0, 64)]
    expected = [compressed(x) for x in images]
    values = compressed.report().values
    compressed.reset_statistics()
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in images]
    made = [[] for _ in images]
    for _ in range(5):
        for stream, x, outputs in zip(streams, images, made, strict=True):
            with torch.cuda.stream(stream):
                outputs.append(compressed(x))
    torch.cuda.synchronize()
    for outputs, of_one in zip(made, expected, strict=True):
        for output in outputs:
            as_near(output, of_one)
    assert compressed.report().values == 5 * values


@each_preset
@each_mode
def test_a_network_on_another_device(options, mode, train):
    """While the current device is the first one."""
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one CUDA device only")
    compressed = on_the_device(options, train, "cuda:1", mode)
    tensors = (*compressed.parameters(), *compressed.buffers())
    assert {x.device for x in tensors} == {torch.device("cuda:1")}
    first = copied_to(compressed, "cuda:0")
    x = train[:16]
    output = compressed(x.to("cuda:1"))
    assert output.device == torch.device("cuda:1") and torch.cuda.current_device() == 0
    as_near(first(x.to("cuda:0")), output)


@pytest.mark.slow
def test_compute_sanitizer_finds_nothing():
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(sanitizer).exists():
        pytest.skip("compute-sanitizer of the CUDA toolkit is not there")
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_cuda import CODERS, case
for coder in CODERS:
    tables, levels = case(coder, images=2, device="cuda")
    data, used = tables.encode(levels)
    assert tables.decode(data, used, 40, 40).equal(levels)
    data[:, 20] ^= 1
    tables.decode_unchecked(data, used, 40, 40)
"""
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    for tool in ("memcheck", "racecheck"):
        command = [
            sanitizer,
            "--tool",
            tool,
            "--error-exitcode",
            "9",
            sys.executable,
            "-c",
            program,
        ]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
