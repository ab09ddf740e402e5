"""Small networks for the tests, and torchvision's with lively batch norms."""

from itertools import product

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from fmtc.network.outputs import tensors


def latin(*lists: list) -> list[tuple]:
    """Of all combinations those of a Latin square: one of the last list for each of the others.

    Of three lists, each value of one still meets each of another where the first two are longer
    than the last; of two, each is met once. For tests that take long, where a fault that only one
    combination of all shows is not to be expected.
    """
    sizes = [len(values) for values in lists]
    chosen = [
        places
        for places in product(*map(range, sizes))
        if (sum(places[:-1]) - places[-1]) % sizes[-1] == 0
    ]
    return [tuple(values[i] for values, i in zip(lists, p, strict=True)) for p in chosen]


def randomize_norms(model: nn.Module) -> nn.Module:
    """Give every BN statistics and affine parameters that matter; eval mode."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return model.eval()


def torchvision_network(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    options = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    return randomize_norms(torchvision.models.get_model(name, weights=None, **options))


class TinyResidual(nn.Module):
    """conv-bn-relu, a residual block with a strided shortcut, pooling, a classifier."""

    def __init__(self, channels: int = 6, classes: int = 5):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(2 * channels)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * channels)
        self.shortcut = nn.Conv2d(channels, 2 * channels, 1, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.classifier = nn.Linear(2 * channels, classes)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        y += self.shortcut(x)
        return self.classifier(self.relu(y).mean((2, 3)))


class TinyDepthwise(nn.Module):
    """expand - depthwise - project twice, the second time with a residual; then grouped convs."""

    def __init__(self):
        super().__init__()

        def block():
            return nn.Sequential(
                nn.Conv2d(4, 12, 1), nn.BatchNorm2d(12), nn.ReLU6(inplace=True),
                nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.BatchNorm2d(12), nn.ReLU6(),
                nn.Conv2d(12, 4, 1), nn.BatchNorm2d(4),
            )  # fmt: skip

        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.first, self.second = block(), block()
        self.grouped = nn.Conv2d(4, 8, 3, groups=2)
        self.last = nn.Conv2d(8, 8, 3, groups=4)

    def forward(self, x):
        x = self.first(F.relu(self.stem(x)))
        x = x + self.second(x)
        return self.last(F.relu(self.grouped(x))).flatten(1)


class TinyOdd(nn.Module):
    """One module called twice, functional and transposed convolutions, a reused activation."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Conv2d(3, 3, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(5, 3, 3, 3) / 5)
        self.up = nn.ConvTranspose2d(5, 4, 2, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout2d()

    def forward(self, x):
        x = F.relu(self.twice(x), inplace=True)
        x = torch.add(self.twice(x), x)
        x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.weight)
        x = F.hardswish(self.norm(self.up(self.drop(x))))
        return {"out": x * torch.sigmoid(x), "other": x}


class Stubborn(nn.Module):
    """Python that decides by the values of tensors."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.conv1(x)
        return x if x.abs().sum() < 0 else x + self.conv2(x.relu())


class TinyParts(nn.Module):
    """What is captured in parts; the Python around them looks at an attribute of one."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.last = nn.Conv2d(3, 4, 1), Stubborn(), nn.Conv2d(4, 4, 3)
        self.stem.gain = 1.0

    def forward(self, x):
        return self.last(self.inner(self.stem(x) * self.stem.gain).relu()).flatten(1)


def tiny(kind=TinyResidual, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return randomize_norms(kind())


def images(n: int = 6, size: int = 12, seed: int = 0) -> torch.Tensor:
    """Smooth random images [n, 3, size, size]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(n, 3, size // 3, size // 3, generator=generator)
    fine = torch.randn(n, 3, size, size, generator=generator)
    return F.interpolate(coarse, size=(size, size), mode="bilinear") + 0.2 * fine


def first_tensor(output) -> torch.Tensor:
    """What tests compare of networks with several outputs."""
    return tensors(output)[0]


def passing(compressed, x):
    """What goes into each point and leaves it."""
    seen, handles = {}, []
    for name, point in compressed.points.items():
        hook = lambda _, args, out, name=name: seen.__setitem__(name, (args[0], out))  # noqa: E731
        handles.append(point.register_forward_hook(hook))
    compressed(x)
    for handle in handles:
        handle.remove()
    return seen


# The file of a network for programs that are told of it by --model.
SERVED_NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(8, 6, 3, stride=2, padding=1), nn.ReLU())
        self.c = nn.Linear(6, 10)

    def forward(self, x):
        return self.c(self.b(self.a(x)).mean((2, 3)))

class Two(Net):
    def forward(self, x):
        y = self.b(self.a(x))
        return {"map": y, "classes": self.c(y.mean((2, 3)))}

def make(kind=Net):
    torch.manual_seed(0)
    return kind().eval()

class Forked(Net):
    # Behind b also a is read.
    def forward(self, x):
        y = self.a(x)
        z = self.b(y)
        return {"map": z + y[:, :6, ::2, ::2], "classes": self.c(z.mean((2, 3)))}

def make_two():
    return make(Two)

def make_forked():
    return make(Forked)
"""
