"""What is written has coding points, whatever the network is made of: values, bits and reads."""

import pytest
import torch
from networks import images, randomize_norms
from torch import nn
from torch.nn import functional as F

import fmtc
from fmtc.deploy.streaming import Streaming
from fmtc.network.capture import capture
from fmtc.network.coverage import Coverage
from fmtc.network.groups import count_reads, find_groups
from fmtc.network.outputs import named_outputs, relative_difference
from fmtc.network.prepared import Prepared


class ScaledBranches(nn.Module):
    """Layer scale, a constant factor and a BN that comes late, before residual adds."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b = (nn.Conv2d(c, 8, 3, padding=1) for c in (3, 8, 8))
        self.gamma, self.norm = nn.Parameter(torch.randn(8, 1, 1)), nn.BatchNorm2d(8)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.gamma * self.a(x)
        return x + self.norm(0.1 * self.b(x)) / 2


class Gated(nn.Module):
    """Sums and products behind activations: each has a point of its own."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.gate = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x):
        x = self.stem(x)
        y = x + F.silu(self.conv(x))
        return y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))


class NextBlock(nn.Module):
    """As in ConvNeXt: depthwise, then channels last, layer norm, two linear layers, layer scale."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, stride=2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.gamma = nn.Parameter(torch.randn(8))

    def forward(self, x):
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Tokens of a map, attention in two heads, an MLP."""

    def __init__(self):
        super().__init__()
        self.patch, self.qkv, self.project = (
            nn.Conv2d(3, 8, 3, 3),
            nn.Linear(8, 24),
            nn.Linear(8, 8),
        )
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head((x + self.project(y)).mean(1))


def sequences():
    norm = nn.BatchNorm1d(8)
    return nn.Sequential(nn.Conv1d(3, 8, 3, padding=1), norm, nn.ReLU(), nn.Conv1d(8, 4, 3))


def films():
    norm = nn.BatchNorm3d(8)
    convs = nn.Conv3d(3, 8, 3, padding=1), nn.ConvTranspose3d(8, 4, 2, stride=2)
    return nn.Sequential(convs[0], norm, nn.ReLU(), nn.MaxPool3d(2), convs[1])


IMAGES, TESTED = (6, 3, 12, 12), (2, 3, 12, 12)
NETWORKS = {
    "scaled": (ScaledBranches, (12, 12), ["stem", "a", "b"]),
    "gated": (Gated, (12, 12), ["stem", "conv", "add", "mul"]),
    "next": (NextBlock, (12, 12), ["stem", "depthwise", "norm.layer_norm", "up", "down"]),
    "attention": (
        Attention, (12, 12), ["patch", "norm.layer_norm", "qkv", "project"]
    ),
    "sequences": (sequences, (20,), ["0", "3"]),
    "films": (films, (4, 6, 8), ["0", "3.max_pool3d", "4"]),
}  # fmt: skip


def made(name):
    kind, sizes, names = NETWORKS[name]
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, 3, *sizes, generator=generator)
    return randomize_norms(kind()), x[:6], x[6:], names


@pytest.mark.parametrize("name", NETWORKS)
def test_points_fold_exactly_and_stream_what_they_simulate(name, tmp_path):
    model, x, test, names = made(name)
    exact = fmtc.BitsPreset(name="exact", transform_bits=None, drop_components=False)
    compressed = fmtc.compress(model, x, exact, mode="float")
    assert list(compressed.points) == names
    with torch.no_grad():
        expected = model(test)
    assert float((compressed(test) - expected).norm() / expected.norm()) < 1e-5
    compressed = fmtc.compress(model, x, target=fmtc.SNR(20))
    streamed = compressed(test)
    report = compressed.report()
    assert report.values == sum(layer["values"] for layer in report.layers)
    assert fmtc.evaluate(compressed, test)["snr_db"] > 15
    compressed.mode = "simulate"
    assert torch.equal(compressed(test), streamed)
    compressed.save(tmp_path / "codec.safetensors")
    assert torch.equal(fmtc.load(tmp_path / "codec.safetensors", model)(test), streamed)
    packaged, used, status = Streaming(compressed)(test)
    assert torch.equal(packaged, streamed) and not status.any()
    assert int(used.sum()) == round(sum(
        layer["bits_per_value"]["stream"] * layer["values"] / 8 for layer in report.layers
    ))  # fmt: skip


@pytest.mark.parametrize("channels", [12, 7])
def test_linear_layers_over_rows_are_no_convolutions_of_the_map(channels):
    """As in mixers: its channels are the map's width, of which there may be as many as channels."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, channels, 1), nn.Linear(12, 12), nn.Conv2d(channels, 4, 1))
    compressed = fmtc.compress(model.eval(), images(), target=fmtc.SNR(25))
    assert fmtc.evaluate(compressed, images(3, seed=1))["snr_db"] > 20
    groups = find_groups(capture(model, images(2)))
    assert [group.layout.channels for group in groups] == [1, 3, 1]
    assert not groups[0].consumers and groups[1].reads == groups[1].layout


def test_scales_are_folded_into_their_layers():
    model, x, test, _ = made("scaled")
    prepared = Prepared.of(model, x)
    assert all(group.foldable for group in prepared.groups)
    assert [len(group.adds) for group in prepared.groups] == [0, 1, 1]
    calls = [node.op for node in prepared.graph("").graph.nodes]
    assert calls.count("call_function") == 2  # the adds
    with torch.no_grad():
        expected, got = named_outputs(model(test)), named_outputs(prepared.network(test))
    assert relative_difference(got, expected) < 1e-6


def test_what_is_written_by_hand():
    """Of the network with attention, 16 tokens of 8 channels."""
    model, x, _, _ = made("attention")
    network = capture(model, x)
    groups, coverage = find_groups(network), Coverage()
    coverage.add(network, groups)
    kinds = coverage.to_dict()["kinds"]
    tokens, scores = 16 * 8, 2 * 16 * 16
    assert kinds["convolution"] == {"values": tokens, "coded": tokens}
    assert kinds["norm"] == {"values": tokens, "coded": tokens}
    # Of three times as many for attention; the head's four numbers are not coded.
    assert kinds["linear"] == {"values": 4 * tokens + 4, "coded": 4 * tokens}
    assert kinds["attention"] == {"values": 2 * scores + tokens, "coded": 0}
    assert kinds["pool"] == {"values": 8, "coded": 0}
    assert coverage.share == 6 * tokens / (7 * tokens + 2 * scores + 12)


def test_sums_are_read_once_by_each_of_their_readers():
    """Blocks whose sums come behind an activation: the sums are read, not all before them."""

    class Blocks(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 1)
            self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(6))

        def forward(self, x):
            x = self.stem(x)
            for block in self.blocks:
                x = x + F.silu(block(x))
            return x

    groups = find_groups(capture(Blocks().eval(), images(2)))
    reads = count_reads(groups)
    assert reads["stem"] == 2 and reads["add@6"] == 1  # the output
    assert all(reads[f"blocks.{i}"] == 1 for i in range(6))
    assert [reads[name] for name in ("add", "add@2", "add@5")] == [2, 2, 2]


def test_sums_over_branches_are_maps():
    """As in selective kernels: branches are stacked, weighted and summed."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.last = (
                nn.Conv2d(3, 4, 1),
                nn.Conv2d(3, 4, 3, padding=1),
                nn.Conv2d(4, 2, 1),
            )

        def forward(self, x):
            branches = torch.stack([self.a(x), self.b(x)], 1)
            weights = branches.mean((3, 4), keepdim=True).softmax(1)
            return self.last((branches * weights).sum(1))

    torch.manual_seed(0)
    compressed = fmtc.compress(Branches().eval(), images(), target=fmtc.Step(0.01))
    assert compressed.written.share > 0.9 and "sum" in compressed.points
    streamed = compressed(images(3))
    compressed.mode = "simulate"
    assert torch.equal(compressed(images(3)), streamed)


def test_less_than_half_covered_is_said():
    class Scores(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(3, 2, 1)

        def forward(self, x):
            x = self.patch(x).flatten(2)
            return (x.transpose(1, 2) @ x).softmax(-1)

    with pytest.warns(UserWarning, match=r"less than half .* \(left out: attention 99"):
        fmtc.compress(Scores(), images(), target=fmtc.Step(0.1))
