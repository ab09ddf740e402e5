"""Coding points by one operator each way, against their stages one by one: whole networks."""

import copy

import pytest
import torch
from networks import TinyDepthwise, TinyOdd, TinyResidual, first_tensor, images, tiny

import fmtc
from fmtc import ops
from fmtc.codec import fused
from fmtc.codec.coders import Huffman, Rans
from fmtc.model.points import CodedPoint

OPTIONS = {"fmtc": {"target": fmtc.Step(0.03)}}
PRESETS = fmtc.list_presets()


def compressed_with(preset, kind=TinyResidual, **options):
    options = options or OPTIONS.get(preset, {})
    return fmtc.compress(tiny(kind), images(12), preset, **options)


def results(compressed, x, mode):
    """What the network gives, and all that its points have counted."""
    compressed.mode = mode
    compressed.reset_statistics()
    output = first_tensor(compressed(x))
    return output, [copy.copy(point.counted) for point in compressed.points.values()]


def streams(compressed, x):
    """The streams of each coding point for what reaches it."""
    seen = {}
    for name, point in compressed.points.items():
        if isinstance(point, CodedPoint):
            keep = lambda of, args, name=name: seen.update({name: args[0]})  # noqa: E731
            point.register_forward_pre_hook(keep)
    compressed(x)
    return [compressed.points[name].encode(of) for name, of in seen.items()]


def check(compressed, monkeypatch, sizes=(1, 3)):
    """Fused and staged give the same outputs, bytes and statistics."""
    codecs = [p.codec for p in compressed.points.values() if isinstance(p, CodedPoint)]
    fusing = sum(fused.fuses(codec, torch.zeros(1, 1, 1, 1)) for codec in codecs)
    for size in sizes:
        x = images(size, seed=5)
        for mode in ("stream", "simulate"):
            output, counted = results(compressed, x, mode)
            with monkeypatch.context() as patch:
                patch.setattr(fused, "fuses", lambda *args: False)
                expected, of_stages = results(compressed, x, mode)
            assert torch.equal(output, expected)
            for one, other in zip(counted, of_stages, strict=True):
                if one.histogram is not None:
                    assert torch.equal(one.histogram, other.histogram)
                numbers = "values", "clamped", "nans", "streamed", "stream_bytes", "shape"
                for name in numbers:
                    assert getattr(one, name) == getattr(other, name)
    made = streams(compressed, images(2, seed=6))
    with monkeypatch.context() as patch:
        patch.setattr(fused, "fuses", lambda *args: False)
        assert made == streams(compressed, images(2, seed=6))
    return fusing, len(codecs)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset(preset, monkeypatch):
    fusing, points = check(compressed_with(preset), monkeypatch)
    assert points and (fusing == points or preset not in ("fmtc", "paper"))


@pytest.mark.parametrize("kind", [TinyDepthwise, TinyOdd])
@pytest.mark.parametrize("coder", ["rans", "huffman"])
def test_networks_and_coders(kind, coder, monkeypatch):
    check(compressed_with("fmtc", kind, target=fmtc.Step(0.003), coder=coder), monkeypatch)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype, monkeypatch):
    for preset in ("fmtc", "paper", "q-vlc"):
        compressed = compressed_with(preset).to(dtype)
        x = images(2, seed=3).to(dtype)
        output = first_tensor(compressed(x))
        with monkeypatch.context() as patch:
            patch.setattr(fused, "fuses", lambda *args: False)
            assert torch.equal(output, first_tensor(compressed(x)))


@pytest.mark.parametrize("block", ["1,1,C", "2,2,C", "1,1,2", "2,1,3"])
@pytest.mark.parametrize("preset, options", [("paper", {"bits": 7}), ("fmtc", {"step": 0.1})])
def test_blocks(block, preset, options, monkeypatch):
    x = torch.randn(4, 6, 9, 7, generator=torch.Generator().manual_seed(0)).cumsum(2)
    codec = fmtc.calibrate_tensor(x, preset, block=block, **options)
    assert fused.fuses(codec, x)
    crop = codec.tile.crop(9, 7)
    data, used, clamped, counts = fused.encode(codec, x, crop, counting=True)
    levels, expected = codec.quantize(x)
    assert clamped == expected and torch.equal(counts, codec.count(codec.symbols(levels)))
    of_stages = codec.encode_levels(levels, crop)
    assert torch.equal(data, of_stages[0]) and torch.equal(used, of_stages[1])
    y, status = fused.decode(codec, data, used, codec.tile.cover(9, 7), crop)
    assert not status.any() and torch.equal(y, codec.dequantize(levels, crop))
    assert torch.equal(fused.simulate(codec, x, crop)[0], y)


def test_a_coder_that_codes_otherwise_is_given_levels():
    class Other(Rans):
        name = "other"

        def encode(self, levels, crop=(0, 0), classes=None):
            return super().encode(levels, crop, classes)

    class Renamed(Huffman):
        name = "renamed"

    counts, table_of = torch.ones(1, 3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    assert Other(-1, counts, table_of).point_tables(True) is None
    assert isinstance(Renamed(-1, counts, table_of).point_tables(True), ops.PointTables)


def test_a_damaged_stream_raises(monkeypatch):
    compressed = compressed_with("fmtc")
    encode = ops.encode_point

    def damage(*args):
        data, *others = encode(*args)
        data[1, 3] ^= 1
        return data, *others

    monkeypatch.setattr(ops, "encode_point", damage)
    compressed.mode = "stream"
    with pytest.raises(fmtc.StreamError, match="stream of image 1"):
        compressed(images(3))
