"""A codec of fmtc for sc2bench (PyPI), where split computing is compared.

    python examples/python/sc2bench_codec.py            # beside a stand-in of sc2bench's classifier
    make check-sc2bench                                 # the real one, in an environment of its own

sc2bench's CodecFeatureCompressionClassifier runs an encoder, gives each image's feature map
[C, H, W] to a codec, which returns the decoded map and its size in bytes, and goes on with the
decoder, one image at a time. FeatureCodec is such a codec: the bytes are those of a real stream.
"""

import torch
from torch import nn

import fmtc


class FeatureCodec(nn.Module):
    """Feature map float [C, H, W] -> (decoded [C, H, W], bytes of the stream).

    parts: of fmtc.split with one tensor that crosses; its codec knows what the tail is sensitive
    to. sc2bench has its own tail, so that the refit of fmtc.split's is not in what it measures.
    """

    def __init__(self, parts: fmtc.Split):
        super().__init__()
        [name] = parts.at
        self.codec = parts.compressed.codecs[name]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        data = self.codec.encode(x[None])
        return self.codec.decode(data)[0].to(x.dtype), len(data)


class StandIn(nn.Module):
    """What CodecFeatureCompressionClassifier does with a codec; sizes: of what was sent."""

    def __init__(self, encoder: nn.Module, codec: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder, self.codec, self.decoder = encoder, codec, decoder
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        [features] = self.encoder(x)
        decoded, size = self.codec(features)
        self.sizes.append(size)
        return self.decoder(torch.hstack([decoded.unsqueeze(0)]))


def network() -> nn.Sequential:
    """A small classifier; cut behind its layer "2" with its norm, which is linear."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24),
        nn.Conv2d(24, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    ).eval()  # fmt: skip


def images(count: int, seed: int) -> torch.Tensor:
    """Smooth ones, as those of cameras are."""
    noise = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(noise, size=(32, 32), mode="bicubic")


@torch.no_grad()
def main() -> None:
    model = network()
    with torch.enable_grad():
        parts = fmtc.split(model, at="2", images=images(64, seed=1), target=fmtc.Rate(1))
    classifier = StandIn(model[:4], FeatureCodec(parts), model[4:])
    test = images(50, seed=2)
    made = torch.cat([classifier(image[None]) for image in test])
    plain = model(test)
    agreement = (made.argmax(1) == plain.argmax(1)).float().mean()
    mean = sum(classifier.sizes) / len(test)
    values = model[:4](test[:1]).numel()
    print(f"{mean:.0f} bytes an image of {values} values: {8 * mean / values:.2f} bits a value")
    print(f"{agreement:.0%} of the images keep their class")


if __name__ == "__main__":
    main()
