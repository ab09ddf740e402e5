"""Compress many networks with random weights, one process each, and say what became of each.

    python -m experiments.zoo [--list NAMES ...] [--full] [--out results/zoo]

torchvision's classifiers and segmentation networks; with timm, segmentation_models_pytorch or
ultralytics installed, theirs, too. For each network: whether it was captured whole, the share of the
values written that has coding points, the folding error, whether streams give what `simulate` gives,
saving and loading, the SNR of every output at the default target, seconds and memory. Results are
kept in OUT/zoo.json after each network, so that a run that was interrupted goes on; OUT/networks.md
is their table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fmtc.cli.command import Parser, main_with_errors
from fmtc.files import write_atomically

SECONDS = 180  # for a network
IMAGES, CHECKED = 8, 2

TORCHVISION = """
alexnet vgg16_bn squeezenet1_1 googlenet inception_v3 resnet18 resnet50 resnext50_32x4d wide_resnet50_2
densenet121 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large mnasnet1_0 shufflenet_v2_x1_0
efficientnet_b0 efficientnet_v2_s regnet_y_400mf regnet_x_800mf convnext_tiny swin_t swin_v2_t vit_b_16
maxvit_t fcn_resnet50 deeplabv3_mobilenet_v3_large lraspp_mobilenet_v3_large r3d_18
""".split()
TIMM = """
resnet18 resnet26d resnetrs50 seresnet50 ecaresnet26t skresnet18 resnest14d res2net50_26w_4s
gluon_resnet18_v1b cspresnet50 cspdarknet53 darknet53 dla34 dpn68 vovnet39a ese_vovnet19b_dw hrnet_w18_small
hardcorenas_a mobilenetv2_100 mobilenetv3_small_100 mobilenetv4_conv_small mnasnet_small semnasnet_100
spnasnet_100 fbnetc_100 ghostnet_100 efficientnet_b0 efficientnet_lite0 efficientnet_lite1 tf_efficientnet_b0
mixnet_s tinynet_e lcnet_050 regnetx_002 regnety_002 nfnet_l0 dm_nfnet_f0 repvgg_a0 mobileone_s0 fastvit_t8
rexnet_100 inception_v4 xception41 convnext_atto convnextv2_atto convmixer_768_32 edgenext_xx_small
efficientformer_l1 efficientvit_b0 mobilevit_xxs mobilevitv2_050 levit_128s poolformer_s12 pvt_v2_b0
swin_tiny_patch4_window7_224 vit_tiny_patch16_224 deit_tiny_patch16_224 mixer_s16_224 resmlp_12_224
gmlp_ti16_224 coat_tiny twins_svt_small visformer_tiny xcit_nano_12_p16_224 cait_xxs24_224 botnet26t_256
halonet26t sequencer2d_s tresnet_m selecsls42b
""".split()
FEATURES = ("resnet18", "hrnet_w18_small", "mobilenetv3_small_100")
SMP = ("Unet", "UnetPlusPlus", "FPN", "PSPNet", "DeepLabV3Plus", "Linknet", "PAN", "Segformer")
ULTRALYTICS = ("yolov8n", "yolo11n")
FEW = ("resnet18", "mobilenet_v2", "shufflenet_v2_x1_0", "vit_b_16")


def _torchvision(name: str) -> tuple[torch.nn.Module, tuple[int, ...]]:
    import torchvision

    options: dict[str, Any] = {"weights": None}
    if name.startswith(("fcn", "deeplab", "lraspp")):
        options["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = True
    size = (3, 8, 64, 64) if name == "r3d_18" else (3, 299, 299) if "incep" in name else (3, 224, 224)
    return torchvision.models.get_model(name, **options), size


def _timm(name: str) -> tuple[torch.nn.Module, tuple[int, ...]]:
    import timm

    name, _, features = name.partition(" ")
    model = timm.create_model(name, pretrained=False, features_only=bool(features))
    return model, tuple(timm.create_model(name, pretrained=False).default_cfg["input_size"])


def _smp(name: str) -> tuple[torch.nn.Module, tuple[int, ...]]:
    import segmentation_models_pytorch as smp

    encoder = "mit_b0" if name == "Segformer" else "resnet18"
    return getattr(smp, name)(encoder, encoder_weights=None), (3, 128, 128)


def _ultralytics(name: str) -> tuple[torch.nn.Module, tuple[int, ...]]:
    from ultralytics.nn.tasks import DetectionModel

    return DetectionModel(f"{name}.yaml", verbose=False), (3, 160, 160)


SOURCES: dict[str, tuple[Callable[[str], Any], str]] = {
    "torchvision": (_torchvision, "torchvision"),
    "timm": (_timm, "timm"),
    "smp": (_smp, "segmentation_models_pytorch"),
    "ultralytics": (_ultralytics, "ultralytics"),
}


def networks() -> list[str]:
    """Names of what can be tried here, as "timm/resnet18"."""
    from importlib.util import find_spec

    names = {
        "torchvision": TORCHVISION,
        "timm": [*TIMM, *(f"{name} features" for name in FEATURES)],
        "smp": list(SMP),
        "ultralytics": list(ULTRALYTICS),
    }
    found = [source for source, (_, module) in SOURCES.items() if find_spec(module)]
    return [f"{source}/{name}" for source in found for name in names[source]]
