"""What `fmtc.compress` can be told: checked when it is made, described and made again."""

import copy
import dataclasses
import json
import pickle

import pytest
from networks import images, tiny

import fmtc
from fmtc import CompressConfig

OTHER = {
    "block": "1,1,C",
    "coder": "rans",
    "lane_values": 512,
    "table_classes": 4,
    "include": ["stem", "conv*"],
    "exclude": ["conv1"],
    "weight_bits": 8,
    "mode": "simulate",
    "statistics": False,
    "micro_batch": 3,
    "seed": 7,
}


@pytest.mark.parametrize("name", fmtc.PRESETS)
@pytest.mark.parametrize("options", [{}, OTHER], ids=["defaults", "others"])
def test_described_and_made_again(name, options):
    config = CompressConfig(name, **options)
    described = config.to_dict()
    again = CompressConfig.from_dict(json.loads(json.dumps(described)))
    assert again == config and again.scheme == config.scheme and hash(again) == hash(config)
    assert again.to_dict() == described
    assert set(described) == {field.name for field in dataclasses.fields(CompressConfig)}
    assert CompressConfig.from_dict({"preset": name}) == CompressConfig(name)


def test_defaults():
    assert CompressConfig.from_dict({}) == CompressConfig() == CompressConfig("fmtc")
    config = CompressConfig()
    assert config.scheme == config.preset == fmtc.PRESETS["fmtc"]
    assert (config.include, config.exclude) == (None, ())
    assert config.transform_block == fmtc.Block(1, 1, None)


def test_what_is_said_of_the_scheme():
    scheme = CompressConfig("paper", coder="rans", lane_values=1024, table_classes=5).scheme
    assert (scheme.coder, scheme.lane_values) == ("rans", 1024)
    assert scheme.table_per_class and scheme.classes == 5 and scheme.transform_bits == 8
    assert not CompressConfig("fmtc", table_classes=1).scheme.table_per_class
    assert not CompressConfig("fmtc", compensate=False).scheme.compensate
    assert CompressConfig("paper", compensate=False).scheme == fmtc.PRESETS["paper"]
    own = fmtc.BitsPreset(name="mine", kept=0.5)  # need not be registered
    assert CompressConfig(own).scheme == own and "mine" not in fmtc.PRESETS


def test_a_string_is_one_pattern():
    config = CompressConfig(include="conv*", exclude="c1")
    assert (config.include, config.exclude) == (("conv*",), ("c1",))
    assert CompressConfig(exclude=iter(["a", "b"])).exclude == ("a", "b")
    assert CompressConfig(exclude=None).exclude == ()
    compressed = fmtc.compress(tiny(), images(), "paper", exclude="conv1")
    coded = [n for n, codec in compressed.codecs.items() if isinstance(codec, fmtc.TensorCodec)]
    assert coded == ["stem", "conv2", "shortcut"]


def test_outputs_are_names_or_a_function_that_is_not_saved():
    assert CompressConfig().outputs is None and CompressConfig().choice is None
    named = CompressConfig(outputs="head.*")
    assert named.outputs == named.choice == ("head.*",)
    assert CompressConfig.from_dict(named.to_dict()) == named == pickle.loads(pickle.dumps(named))
    function = CompressConfig("paper", outputs=lambda output: output[0])
    assert callable(function.choice) and copy.deepcopy(function).choice is function.choice
    assert function.to_dict()["outputs"] is None
    assert pickle.loads(pickle.dumps(function)) == CompressConfig("paper")
    for wrong in (3, [], [1]):
        with pytest.raises(ValueError, match="names of outputs, or a function"):
            CompressConfig(outputs=wrong)


@pytest.mark.parametrize(
    "name,near",
    [("exclud", "exclude"), ("tableclasses", "table_classes"), ("presett", "preset"),
     ("micro_batches", "micro_batch"), ("weightbits", "weight_bits")],
)  # fmt: skip
def test_a_misspelled_option_names_the_nearest(name, near):
    message = f"unknown option '{name}': did you mean '{near}'\\? known are preset, block, coder"
    for use in (
        lambda: CompressConfig.of(**{name: 1}),
        lambda: CompressConfig.from_dict({name: 1}),
        lambda: CompressConfig.of(CompressConfig(), **{name: 1}),
        lambda: fmtc.compress(tiny(), images(), **{name: 1}),
        lambda: fmtc.Compressor(tiny(), images(), "paper", **{name: 1}),
    ):
        with pytest.raises(ValueError, match=message):
            use()


@pytest.mark.parametrize(
    "options,message",
    [
        ({"preset": "papier"}, "unknown preset 'papier': did you mean 'paper'"),
        ({"preset": 5}, "unknown preset 5"),
        ({"block": "1,1"}, "block '1,1': expected h,w,c"),
        ({"block": 4}, "block 4: expected h,w,c"),
        ({"coder": "zip"}, "unknown coder 'zip'"),
        ({"coder": 5}, "config: coder must be str or None; got 5"),
        ({"lane_values": 100}, "lane_values must be a power of two"),
        ({"lane_values": True}, "config: lane_values must be int or None; got True"),
        ({"table_classes": 0}, "table_classes must be 1 to 16, got 0"),
        ({"table_classes": True}, "config: table_classes must be int or None; got True"),
        ({"coder": "ebpc", "table_classes": 4}, "coder 'ebpc' has no tables"),
        ({"compensate": 1}, "config: compensate must be bool or None; got 1"),
        ({"preset": "paper", "compensate": True}, "preset 'paper' has no compensation"),
        ({"include": 5}, "config: include must be strings; got 5"),
        ({"exclude": ["a", 5]}, "config: exclude must be strings; got"),
        ({"exclude": [None]}, "config: exclude must be strings; got"),
        ({"weight_bits": 5}, "5"),
        ({"weight_bits": True}, "config: weight_bits must be int; got True"),
        ({"mode": "fast"}, "mode must be one of stream, simulate, float; got 'fast'"),
        ({"mode": None}, "config: mode must be str; got None"),
        ({"statistics": 1}, "config: statistics must be bool; got 1"),
        ({"micro_batch": 0}, "config: micro_batch must be 1 or more, got 0"),
        ({"micro_batch": 2.5}, "config: micro_batch must be int; got 2.5"),
        ({"keep_moments": "yes"}, "config: keep_moments must be bool; got 'yes'"),
        ({"seed": 1.5}, "config: seed must be int; got 1.5"),
        ({"block": "2,2,C"}, "preset 'fmtc' is for block 1,1,C, not 2,2,C"),
        ({"keep_moments": True}, "preset 'fmtc' cannot be continued"),
        ({"preset": "q", "keep_moments": True}, "preset 'q' has no moments"),
    ],
)
def test_a_wrong_value_is_refused_when_it_is_made(options, message):
    for use in (
        lambda: CompressConfig(**options),
        lambda: CompressConfig.of(**options),
        lambda: CompressConfig.from_dict(options),
    ):
        with pytest.raises(ValueError, match=message):
            use()


def test_replacing_a_field():
    config = CompressConfig("paper", exclude="c1", coder="rans")
    changed = dataclasses.replace(config, weight_bits=8)
    assert (changed.weight_bits, changed.exclude, changed.scheme.coder) == (8, ("c1",), "rans")
    assert config.weight_bits == 32
    assert dataclasses.replace(config, coder="huffman").scheme.coder == "huffman"  # made anew
    assert CompressConfig.of(config, weight_bits=8) == changed
    assert CompressConfig.of(config) is config
    assert CompressConfig.of(config, preset="q-vlc").preset.name == "q-vlc"
    with pytest.raises(ValueError, match="config: weight_bits must be int"):
        dataclasses.replace(config, weight_bits="8")


def test_it_is_frozen():
    config = CompressConfig()
    for field in dataclasses.fields(config):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, field.name, None)
    assert config == CompressConfig()


def test_two_presets():
    with pytest.raises(ValueError, match="two presets are given: 'paper' and 'fmtc'"):
        CompressConfig.of("paper", preset="fmtc")


def test_compress_takes_a_configuration_a_preset_or_its_name():
    model, x = tiny(), images()
    made = [
        fmtc.compress(model, x, CompressConfig("paper", weight_bits=8), bits=6),
        fmtc.compress(model, x, "paper", bits=6, weight_bits=8),
        fmtc.compress(model, x, fmtc.PRESETS["paper"], bits=6, weight_bits=8),
        fmtc.compress(model, x, CompressConfig("paper"), bits=6, weight_bits=8),
    ]
    assert len({compressed.config for compressed in made}) == 1
    first, *others = [compressed(x) for compressed in made]
    assert all(first.equal(other) for other in others)
