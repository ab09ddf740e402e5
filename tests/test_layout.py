"""Planes of tensors of every layout, against index arithmetic; what is found in graphs."""

import itertools

import pytest
import torch
from networks import images
from torch import nn

import fmtc
from fmtc.network.capture import capture
from fmtc.network.groups import find_groups
from fmtc.network.layout import Layouts
from fmtc.planes import Layout


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
@pytest.mark.parametrize("windows", [1, 3])
def test_planes_and_back(rank, windows):
    generator = torch.Generator().manual_seed(0)
    for batch, channels in itertools.permutations(range(rank), 2):
        layout = Layout(batch, channels, windows)
        shape = [2 * windows if d == batch else 4 if d == channels else 5 + d for d in range(rank)]
        x = torch.randn(shape, generator=generator)
        planes = layout.planes(x)
        assert planes.dim() == 4 and planes.shape[:2] == (2, 4)
        for n, c in itertools.product(range(2), range(4)):
            image = x.narrow(batch, n * windows, windows).select(channels, c)
            rows = image.movedim(batch - (channels < batch), 0)  # windows first
            assert torch.equal(planes[n, c].flatten(), rows.flatten())
        assert torch.equal(layout.restored(planes, x.shape), x)
        half = layout.restored(planes[:, :2], x.shape)  # fewer components
        assert half.shape[channels] == 2 and torch.equal(half, x.narrow(channels, 0, 2))


def test_maps_are_their_own_planes():
    x = torch.randn(2, 3, 4, 5)
    assert Layout().planes(x).data_ptr() == x.data_ptr()
    assert Layout().planes(x).shape == x.shape


@pytest.mark.parametrize(
    "shape,channel_dim",
    [((3, 6), 1), ((3, 40, 6), -1), ((3, 6, 40), 1), ((3, 5, 7, 6), 3), ((3, 5, 6, 2, 4), 2)],
)
@pytest.mark.parametrize("coder", ["rans", "huffman"])
def test_bare_tensors_of_any_rank(shape, channel_dim, coder, tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    codec = fmtc.calibrate_tensor(x, bits=10, coder=coder, channel_dim=channel_dim)
    assert codec.channels == 6
    data = codec.encode(x)
    given = shape if len(shape) > 4 else None
    decoded = codec.decode(data, given)
    assert decoded.shape == x.shape and torch.equal(decoded, codec.simulate(x))
    assert (decoded - x).norm() < 0.02 * x.norm()
    codec.save(tmp_path / "codec.safetensors")
    loaded = fmtc.TensorCodec.load(tmp_path / "codec.safetensors")
    assert loaded.encode(x) == data and torch.equal(loaded.decode(data, given), decoded)
    assert loaded.decode([], given and (0, *shape[1:])).shape[len(shape) - 1] in (shape[-1], 0)
    with pytest.raises(ValueError, match="expected a tensor"):
        codec.encode(x[None])
    for streams in (data, []):
        with pytest.raises(ValueError, match="not of a tensor"):
            codec.decode(streams, (2, *shape[1:]))
    if given:
        with pytest.raises(ValueError, match="give the shape"):
            codec.decode(data)


def test_bare_tensors_need_a_dimension_of_channels():
    for dim in (0, 4, -4, -9):
        with pytest.raises(ValueError, match=f"channel_dim {dim} is no dimension of channels"):
            fmtc.calibrate_tensor(torch.randn(2, 3, 4, 5), channel_dim=dim)
    with pytest.raises(fmtc.CalibrationError, match="differ in their channels"):
        fmtc.calibrate_tensor([torch.randn(2, 3, 4), torch.randn(2, 4, 3)], channel_dim=-1)


def layouts_of(model, x):
    network = capture(model.eval(), x)
    layouts = Layouts(network)
    return {node.name: layouts[node] for node in network.graph.nodes}, network


class Tokens(nn.Module):
    """A map that becomes tokens, windows of them, time first, and a map again."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 3, stride=3)
        self.first, self.second, self.third = (nn.Linear(8, 8) for _ in range(3))
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        y = self.patch(x)
        tokens = self.norm(self.first(y.flatten(2).transpose(1, 2)))
        windows = self.norm(self.second(tokens.reshape(-1, 4, 8)))
        back = windows.reshape(tokens.shape)
        time_first = self.third(back.transpose(0, 1))
        return time_first.permute(1, 2, 0).reshape(y.shape) + y


def test_layouts_are_found():
    layouts, network = layouts_of(Tokens(), images(2))
    groups = {group.name: group for group in find_groups(network)}
    norm = "norm.layer_norm"
    assert list(groups) == ["patch", "first", norm, "second", f"{norm}@2", "third", "add"]
    assert groups["patch"].layout == groups["add"].layout == Layout()
    # Linear layers work on tokens, whatever these are put together to.
    assert all(groups[name].layout == Layout(0, 2) for name in ("first", norm, "second"))
    assert groups[f"{norm}@2"].layout == Layout(0, 2, windows=4)
    assert groups["third"].layout == Layout(0, 1)  # behind the permutation
    assert groups["third"].made == Layout(1, 2) and groups["third"].reads == Layout(1, 2)
