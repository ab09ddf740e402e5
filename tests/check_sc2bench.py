"""The codec of examples/python in the real sc2bench: run by `make check-sc2bench`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from sc2bench.models.wrapper import CodecFeatureCompressionClassifier

import fmtc

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "python"))
from sc2bench_codec import FeatureCodec, StandIn, images, network  # noqa: E402


def main() -> None:
    model = network()
    model = torch.nn.Sequential(model[:4], model[4:8], model[8])
    parts = fmtc.split(model, at="0.2", images=images(64, seed=1), target=fmtc.SNR(25))
    classifier = CodecFeatureCompressionClassifier(
        model,
        "cpu",
        encoder_config={"sequential": ["0"]},
        codec_encoder_decoder=FeatureCodec(parts),
        decoder_config={"sequential": ["1"]},
        classifier_config={"sequential": ["2"]},
    ).eval()
    stand_in = StandIn(model[0], FeatureCodec(parts), model[1:])
    sizes: list[int] = []
    classifier.analyze = sizes.append
    test = images(20, seed=2)
    with torch.no_grad():
        made = torch.cat([classifier(image[None]) for image in test])
        expected = torch.cat([stand_in(image[None]) for image in test])
    assert torch.equal(made, expected) and sizes == stand_in.sizes, (sizes, stand_in.sizes)
    print(f"sc2bench: {sum(sizes) / len(sizes):.0f} bytes an image, outputs as beside the stand-in")


if __name__ == "__main__":
    main()
