"""What can be chosen by name: registries, plugins, presets, ranges, and coders of one's own."""

import importlib.metadata
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from networks import TinyDepthwise, TinyOdd, TinyResidual, first_tensor, images, tiny
from test_codec import correlated

import fmtc
from fmtc import registry
from fmtc.codec.coders import Huffman, coders
from fmtc.codec.ranges import gemmlowp, ranges
from fmtc.errors import UnknownNameError
from fmtc.presets import get_preset, preset_of
from fmtc.registry import PLUGINS, Registry

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "python"


@pytest.fixture
def forget():
    """Takes out what a test registers."""
    before = {id(r): (r, list(r)) for r in (coders, ranges, fmtc.PRESETS)}
    yield
    for things, names in before.values():
        for name in set(things) - set(names):
            things.unregister(name)


# -- Registries ------------------------------------------------------------------------------------


def test_things_are_kept_by_name_and_in_order():
    things = Registry("thing")
    assert things.register("pear", 1) == 1 and things.register("apple", 2) == 2
    assert list(things) == things.names() == ["pear", "apple"] and len(things) == 2
    assert things["pear"] == 1 and "apple" in things and "plum" not in things
    assert things.names("*p*le") == ["apple"] and things.get("plum") is None
    things.unregister("pear")
    assert list(things) == ["apple"]


def test_a_name_is_taken_once():
    things, one = Registry("thing"), object()
    things.register("one", one)
    things.register("one", one)  # the very same, as a module that is imported again
    with pytest.raises(ValueError, match="there is a thing called 'one' already; take another"):
        things.register("one", object())
    assert things["one"] is one


@pytest.mark.parametrize("name", ["", " a", "a ", None, 3, ("a",)])
def test_what_is_no_name(name):
    with pytest.raises(ValueError, match="a thing is registered under a name, not"):
        Registry("thing").register(name, 1)


@pytest.mark.parametrize("name", ["pears", 3, None, ["pear"], {}])
def test_names_that_are_not_known(name):
    things = Registry("thing")
    things.register("pear", 1)
    with pytest.raises(UnknownNameError) as error:
        things[name]
    near = "did you mean 'pear'? " if name in ("pears", ["pear"]) else ""
    assert str(error.value) == f"unknown thing {name!r}: {near}known are pear"
    assert isinstance(error.value, (ValueError, KeyError))
    with pytest.raises(UnknownNameError):
        things.unregister("plum")


@pytest.mark.parametrize(
    "choose,message",
    [
        (lambda: get_preset("papper"), "unknown preset 'papper': did you mean 'paper'"),
        (lambda: get_preset("pca-aciq"), "did you mean 'pca.aciq'"),
        (lambda: fmtc.compress(tiny(), images(), "fmct"), "did you mean 'fmtc'"),
        (lambda: fmtc.compress(tiny(), images(), ["fmtc"]), r"unknown preset \['fmtc'\]"),
        (lambda: fmtc.compress(tiny(), images(), coder="rnas"), "'rnas': did you mean 'rans'"),
        (lambda: fmtc.calibrate_tensor(correlated(), coder="hufman"), "did you mean 'huffman'"),
        (lambda: ranges["acic"], "unknown range 'acic': did you mean 'aciq'"),
        (lambda: get_preset("paper", coderr="rans"), "preset 'paper': unknown field 'coderr': did"),
    ],
)  # fmt: skip
def test_the_nearest_name_is_in_the_error(choose, message):
    with pytest.raises(ValueError, match=f"{message}.*known are "):
        choose()


# -- Plugins ---------------------------------------------------------------------------------------


@pytest.fixture
def plugins(monkeypatch, tmp_path, forget):
    """Makes modules that entry points name, none of which has been loaded."""
    entries = []
    before = set(sys.modules)

    def entry_points(group):
        assert group == PLUGINS
        return entries

    def add(name, code):
        (tmp_path / f"{name}.py").write_text(code)
        entries.append(importlib.metadata.EntryPoint(name, name, PLUGINS))

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    monkeypatch.setattr(registry, "_loaded", False)
    monkeypatch.syspath_prepend(tmp_path)
    yield add
    for name in {entry.name for entry in entries} - before:
        sys.modules.pop(name, None)


GOOD = """
import fmtc
fmtc.register_range("mine", lambda values, bits, each: None)
fmtc.register_preset(fmtc.BitsPreset(name="mine", rule="mine"))
"""


def test_plugins_are_loaded_when_a_name_is_looked_up(plugins):
    plugins("good_plugin", GOOD)
    assert get_preset("paper").name == "paper" and "good_plugin" not in sys.modules
    assert get_preset("mine").rule == "mine" and "good_plugin" in sys.modules


def test_plugins_are_listed(plugins):
    plugins("good_plugin", GOOD)
    assert fmtc.list_presets()[-1] == "mine" and fmtc.list_presets("mi*") == ["mine"]


def test_a_plugin_that_fails_is_left_out_with_a_warning(plugins):
    plugins("bad_plugin", "raise RuntimeError('no such luck')")
    plugins("good_plugin", GOOD)
    entry = importlib.metadata.EntryPoint("gone", "no_such_module_at_all", PLUGINS)
    importlib.metadata.entry_points(group=PLUGINS).append(entry)
    with pytest.warns(UserWarning) as warned:
        assert "mine" in fmtc.list_presets()
    said = [str(w.message) for w in warned]
    assert len(said) == 2 and "'bad_plugin' (bad_plugin) cannot be loaded: Runtime" in said[0]
    assert "no such luck" in said[0] and "'gone' (no_such_module_at_all)" in said[1]
    with pytest.raises(UnknownNameError):  # once, and not again
        get_preset("none")


def test_a_plugin_cannot_take_a_name_that_is_taken(plugins):
    plugins("thief", "import fmtc\nfmtc.register_preset(fmtc.BitsPreset(name='paper'))")
    with pytest.warns(UserWarning, match="'thief'.*there is a preset called 'paper' already"):
        fmtc.list_presets()
    assert get_preset("paper").transform_bits == 8


# -- Presets ---------------------------------------------------------------------------------------

WRONG = [
    # Of both families: each kind of field.
    ("name", 5, "must be str; got 5"),
    ("drop_components", 1, "must be bool; got 1"),
    ("drop_components", None, "must be bool; got None"),
    ("margin", "0.1", "must be float; got '0.1'"),
    ("margin", True, "must be float; got True"),
    ("margin", -0.1, "must be a share of the range, 0 to 1; got -0.1"),
    ("margin", float("nan"), "must be a share of the range, 0 to 1; got nan"),
    ("classes", True, "must be int; got True"),
    ("classes", 8.0, "must be int; got 8.0"),
    ("classes", 0, "must be 1 to 16; got 0"),
    ("classes", 17, "must be 1 to 16; got 17"),
    ("position_classes", 9, "must be 1 to 8; got 9"),
    ("sources", 17, "must be 0 to 16; got 17"),
    ("coder", None, "must be str; got None"),
    ("lane_values", 3000, "must be a power of two from 256 to 65536, or 0 for .*; got 3000"),
    ("lane_values", 256.0, "must be int; got 256.0"),
    ("transform_bits", 1, "must be 2 to 16, or None; got 1"),
    ("transform_bits", True, "must be int or None; got True"),
    ("transform_bits", 8.0, "must be int or None; got 8.0"),
]
OF_BITS = [
    ("transform", "dtc", "must be one of pca, none, dct, dct-cm; got 'dtc'"),
    ("transform", None, "must be str; got None"),
    ("side", "behind", "must be one of before, after; got 'behind'"),
    ("kept", 0, "must be a share of the components, above 0 up to 1; got 0"),
    ("kept", 1.5, ".*above 0 up to 1; got 1.5"),
    ("outliers", 0.5, "must be a share of the values, 0 to below 0.5; got 0.5"),
    ("rule", None, "must be str; got None"),
    ("max_bits", 13, "must be 2 to 12; got 13"),
    ("max_bits", True, "must be int; got True"),
]
OF_STEP = [
    ("probes", 0, "must be 1 or more; got 0"),
    ("probes", True, "must be int; got True"),
    ("regularization", -1.0, "must be 0 or more; got -1.0"),
    ("choose_sides", "yes", "must be bool; got 'yes'"),
    ("reuse_levels", 0, "must be bool; got 0"),
    ("compensate", None, "must be bool; got None"),
]


@pytest.mark.parametrize(
    "family,field,value,message",
    [
        *[(family, *w) for family in (fmtc.BitsPreset, fmtc.StepPreset) for w in WRONG],
        *[(fmtc.BitsPreset, *w) for w in OF_BITS],
        *[(fmtc.StepPreset, *w) for w in OF_STEP],
    ],
)
def test_a_wrong_value_is_refused_by_preset_and_field(family, field, value, message):
    wrong = {"name": "mine", field: value}
    with pytest.raises(ValueError, match=f"^preset '{wrong['name']}': {field} {message}$"):
        family(**wrong)


def test_presets_have_a_family_keywords_and_known_fields():
    with pytest.raises(ValueError, match="make a fmtc.BitsPreset .* or a fmtc.StepPreset"):
        fmtc.Preset(name="mine")
    with pytest.raises(TypeError, match="positional"):
        fmtc.BitsPreset("mine")
    with pytest.raises(TypeError, match="probes"):
        fmtc.BitsPreset(name="mine", probes=4)
    with pytest.raises(TypeError, match="kept"):
        fmtc.StepPreset(name="mine", kept=0.5)
    with pytest.raises(AttributeError):
        get_preset("paper").margin = 0.5


@pytest.mark.parametrize("block", ["1,1,C", "1,1,4"])
def test_a_preset_of_the_dct(block):
    """A transform that no preset of the package names as such."""
    preset = fmtc.BitsPreset(name="dct", transform="dct", coder="rans")
    x = correlated()
    codec = fmtc.calibrate_tensor(x, preset, bits=8, block=block)
    assert codec.transform.groups == (2 if block == "1,1,4" else 1)
    assert torch.equal(codec.decode(codec.encode(x)), codec.simulate(x))
    model, test = tiny(), images(3, seed=1)
    compressed = fmtc.compress(model, images(), preset, bits=8, block=block)
    streamed = compressed(test)
    compressed.mode = "simulate"
    assert torch.equal(compressed(test), streamed)
    assert fmtc.evaluate(compressed, test)["snr_db"] > 25


@pytest.mark.parametrize("name", fmtc.PRESETS)
def test_presets_described_and_made_again(name):
    preset = get_preset(name)
    described = preset.to_dict()
    assert preset_of(described) == preset and described["knob"] == preset.knob
    for wrong in ({"knob": "c"}, {"knob": None}, {"colour": 1}):
        with pytest.raises(ValueError):
            preset_of(described | wrong)
    for missing in ("knob", "name"):
        with pytest.raises(ValueError):
            preset_of({key: value for key, value in described.items() if key != missing})


def test_registering_presets(forget):
    mine = fmtc.BitsPreset(name="mine", coder="rans")
    assert fmtc.register_preset(mine) is mine is fmtc.PRESETS["mine"]
    assert fmtc.register_preset(mine) is mine
    with pytest.raises(ValueError, match="there is a preset called 'mine' already"):
        fmtc.register_preset(replace(mine, margin=0.5))
    with pytest.raises(ValueError, match="there is a preset called 'fmtc' already"):
        fmtc.register_preset(fmtc.BitsPreset(name="fmtc"))
    with pytest.raises(ValueError, match="a preset is registered under a name, not ''"):
        fmtc.register_preset(fmtc.BitsPreset(name=""))
    with pytest.raises(ValueError, match="a preset is a BitsPreset or a StepPreset, not 'paper'"):
        fmtc.register_preset("paper")
    x = correlated()
    assert fmtc.calibrate_tensor(x, "mine").encode(x) == fmtc.calibrate_tensor(x, mine).encode(x)


@pytest.mark.parametrize("use", ["register", "get", "describe", "compress", "calibrate"])
@pytest.mark.parametrize("field,kind", [("coder", "coder"), ("rule", "range")])
def test_a_preset_that_names_what_is_not_registered(use, field, kind, forget):
    preset = fmtc.BitsPreset(name="mine", **{field: "zip"})
    uses = {
        "register": lambda: fmtc.register_preset(preset),
        "get": lambda: get_preset(preset),
        "describe": lambda: preset_of(preset.to_dict()),
        "compress": lambda: fmtc.CompressConfig(preset),
        "calibrate": lambda: fmtc.calibrate_tensor(correlated(), preset),
    }
    with pytest.raises(UnknownNameError, match=f"unknown {kind} 'zip'"):
        uses[use]()
    assert "mine" not in fmtc.PRESETS


# -- Ranges ----------------------------------------------------------------------------------------


def test_a_range_of_ones_own(forget):
    def half(values, bits, each):
        low, high, bits = gemmlowp(values, bits)
        return low / 2, high / 2, bits

    assert fmtc.register_range("half", half) is half
    preset = replace(get_preset("gemmlowp"), name="half", rule="half")
    x = correlated()
    whole, halved = (fmtc.calibrate_tensor(x, p, bits=6) for p in ("gemmlowp", preset))
    assert halved.quantizer.step == pytest.approx(whole.quantizer.step / 2)
    assert halved.clamped > whole.clamped == 0
    assert torch.equal(halved.decode(halved.encode(x)), halved.simulate(x))


def test_what_is_no_range(forget):
    with pytest.raises(ValueError, match="a range is a function"):
        fmtc.register_range("mine", 0.5)
    with pytest.raises(ValueError, match="there is a range called 'aciq' already"):
        fmtc.register_range("aciq", lambda values, bits, each: None)
    with pytest.raises(ValueError, match="'range' is what presets call the paper's range"):
        fmtc.register_range("range", lambda values, bits, each: None)


# -- Coders ----------------------------------------------------------------------------------------


def test_what_is_no_coder(forget):
    class Whole(fmtc.Coder):
        encode, decode_unchecked = Huffman.encode, Huffman.decode_unchecked

    class Unnamed(Whole):
        pass

    class Greedy(Whole):
        name, predicted = "greedy", True

    class Second(Whole):
        name = "rans"

    class Half(fmtc.Coder):
        name, encode = "half", Huffman.encode

    class Heir(Huffman):
        pass

    made = Huffman(0, torch.ones(1, 2, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    for wrong in (Unnamed, Second, Heir, "zip", object, made):
        with pytest.raises(ValueError, match="a coder is|there is a coder"):
            fmtc.register_coder(wrong)
    with pytest.raises(ValueError, match="Greedy: differences from a prediction need escapes"):
        fmtc.register_coder(Greedy)
    with pytest.raises(ValueError, match="Half has no method 'decode_unchecked'"):
        fmtc.register_coder(Half)
    assert list(coders) == ["huffman", "fixed", "rans", "apack", "ebpc", "dct-cm"]


@pytest.fixture
def own(forget):
    """The coder of examples/python/own_coder.py, registered meanwhile."""
    spec = importlib.util.spec_from_file_location("own_coder", EXAMPLES / "own_coder.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert coders["zlib"] is module.Zlib
    return module


@pytest.mark.parametrize("kind", [TinyResidual, TinyDepthwise, TinyOdd])
@pytest.mark.parametrize("preset", ["fmtc", "paper-zlib", "gemmlowp", "dct-cm"])
def test_a_coder_of_ones_own_in_a_network(kind, preset, own, tmp_path):
    model, x = tiny(kind), images(3, seed=1)
    knob = {"target": fmtc.Step(0.01)} if preset == "fmtc" else {"bits": 6}
    compressed = fmtc.compress(model, images(8), preset, coder="zlib", **knob)
    assert compressed.coder == "zlib" and all(
        isinstance(codec.coder, own.Zlib) for codec in compressed.codecs.values()
    )
    streamed, rates = first_tensor(compressed(x)), compressed.report().to_dict()
    compressed.save(tmp_path / "codec.safetensors")
    compressed.mode = "simulate"
    assert torch.equal(first_tensor(compressed(x)), streamed)
    loaded = fmtc.load(tmp_path / "codec.safetensors", model)
    assert torch.equal(first_tensor(loaded(x)), streamed)
    assert loaded.report().to_dict() == rates and rates["bits_per_value"]["stream"] > 0
    # What codes losslessly changes nothing but the rate.
    rans = fmtc.compress(model, images(8), preset, coder="rans", **knob)
    if preset == "paper-zlib":
        assert torch.equal(first_tensor(rans(x)), streamed)


def test_a_coder_of_ones_own_of_tensors(own, tmp_path):
    x = correlated(3)
    x[:, 0] *= 300  # wide: its low bits are a plane of their own
    codec = fmtc.calibrate_tensor(x, "fmtc", step=0.5, coder="zlib")
    assert codec.symbol_map.planes > codec.components and codec.position_classes is None
    data = codec.encode(x)
    assert torch.equal(codec.decode(data), codec.simulate(x))
    assert codec.decode(codec.encode(x[:0])).shape == (0, 6, 0, 0)
    assert torch.equal(codec.decode(b"".join(codec.streams(x))), codec.simulate(x))
    codec.save(tmp_path / "codec.safetensors")
    loaded = fmtc.TensorCodec.load(tmp_path / "codec.safetensors")
    assert loaded.encode(x) == data and loaded.coder.table_id == codec.coder.table_id
    for wrong in (data[:-1], data[:20], data + b"x", b"fm" + data[2:], data[:40] + data[41:]):
        with pytest.raises(fmtc.StreamError):
            codec.decode(wrong)
    for at in range(0, len(data), 7):
        with pytest.raises(fmtc.StreamError):
            codec.decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    other = fmtc.calibrate_tensor(x + 1, "paper", coder="zlib")
    with pytest.raises(fmtc.StreamError, match="another table set"):
        other.decode(data)


def test_a_file_of_a_coder_that_is_not_registered(own, tmp_path):
    fmtc.calibrate_tensor(correlated(), coder="zlib").save(tmp_path / "tensor.safetensors")
    fmtc.compress(tiny(), images(), "paper", coder="zlib").save(tmp_path / "model.safetensors")
    coders.unregister("zlib")
    message = "needs what is not registered here: unknown coder 'zlib': known are huffman, fixed"
    with pytest.raises(fmtc.StorageError, match=message):
        fmtc.TensorCodec.load(tmp_path / "tensor.safetensors")
    with pytest.raises(fmtc.StorageError, match=message):
        fmtc.load(tmp_path / "model.safetensors", tiny())
    fmtc.register_coder(own.Zlib)
    fmtc.load(tmp_path / "model.safetensors", tiny())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("short", r"decodes levels torch.int16 \[2, 6, 12, 12\] to torch.int16 \[2, 6, 11, 12\]"),
        ("other", "decodes levels to others than it was given"),
        ("wide", r"decodes levels torch.int16 \[2, 6, 12, 12\] to torch.int32"),
        ("nothing", "fails for levels .*: TypeError: "),
    ],
)
def test_a_coder_that_does_not_give_back_its_levels(own, kind, message):
    class Wrong(own.Zlib):
        name = "wrong"

        def encode(self, levels, crop=(0, 0), classes=None):
            return None if kind == "nothing" else super().encode(levels, crop, classes)

        def decode_unchecked(self, data, used, height, width):
            levels, status = super().decode_unchecked(data, used, height, width)
            changed = {"short": levels[:, :, :-1], "other": levels + 1, "wide": levels.int()}
            return changed.get(kind, levels), status

    fmtc.register_coder(Wrong)
    try:
        with pytest.raises(fmtc.CalibrationError, match=f"coder 'wrong' {message}"):
            fmtc.calibrate_tensor(torch.randn(4, 6, 12, 12), "paper", coder="wrong")
        with pytest.raises(fmtc.CalibrationError, match="coder 'wrong' "):
            fmtc.compress(tiny(), images(), "paper", coder="wrong")
    finally:
        coders.unregister("wrong")


def test_a_coder_of_ones_own_is_not_exported(own, tmp_path):
    compressed = fmtc.compress(tiny(), images(), "paper", coder="zlib")
    with pytest.raises(fmtc.ExportError, match="coder 'zlib' is code in Python"):
        fmtc.export(compressed, tmp_path / "m.pt2", images(2))


@pytest.mark.parametrize(
    ("low", "high", "bits", "message"),
    [
        (torch.tensor(float("nan")), torch.tensor(1.0), torch.tensor(6), "no range: low nan"),
        (torch.tensor(1.0), torch.tensor(-1.0), torch.tensor(6), "no range: low 1.0, high -1.0"),
        (torch.tensor(0.0), torch.tensor(float("inf")), torch.tensor(6), "no range: .* high inf"),
        (torch.zeros(2), torch.ones(2), torch.tensor([6, 6]), r"each component \[K\]; got \[2\]"),
        (torch.zeros(3), torch.tensor(1.0), torch.tensor(6), r"got \[3\], \[\], \[\]"),
        (torch.tensor(0.0), torch.tensor(1.0), torch.tensor(20), "20 bits, not 0 to 12"),
        (torch.tensor(0.0), torch.tensor(1.0), torch.tensor(-1), "-1 bits, not 0 to 12"),
        (torch.tensor(0.0), torch.tensor(1.0), torch.tensor(6.0), "bits, not 0 to 12 in whole"),
        (0.0, 1.0, 6, r"must give tensors low, high and bits, .*got \(0.0, 1.0, 6\)"),
    ],
)
def test_what_a_rule_finds_is_looked_at(low, high, bits, message):
    fmtc.register_range("wrong", lambda values, b, each: (low, high, bits))
    preset = fmtc.BitsPreset(name="wrong", transform="none", rule="wrong")
    try:
        with pytest.raises(fmtc.CalibrationError, match=f"range 'wrong' .*{message}"):
            fmtc.calibrate_tensor(torch.randn(4, 3, 12, 12), preset, bits=6)
    finally:
        ranges.unregister("wrong")
