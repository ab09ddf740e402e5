"""The networks of `experiments.zoo`: their names, and how each is made with random weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

TORCHVISION = """
alexnet vgg16_bn squeezenet1_1 googlenet inception_v3 resnet18 resnet50 resnext50_32x4d
wide_resnet50_2 densenet121 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large mnasnet1_0
shufflenet_v2_x1_0 efficientnet_b0 efficientnet_v2_s regnet_y_400mf regnet_x_800mf convnext_tiny
swin_t swin_v2_t vit_b_16 maxvit_t fcn_resnet50 deeplabv3_mobilenet_v3_large
lraspp_mobilenet_v3_large r3d_18
"""
TIMM = """
resnet18 resnet26d resnetrs50 seresnet50 ecaresnet26t skresnet18 resnest14d res2net50_26w_4s
cspresnet50 cspdarknet53 darknet53 dla34 dpn68 vovnet39a ese_vovnet19b_dw hrnet_w18_small
hardcorenas_a mobilenetv2_100 mobilenetv3_small_100 mobilenetv4_conv_small mnasnet_small
semnasnet_100 spnasnet_100 fbnetc_100 ghostnet_100 efficientnet_b0 efficientnet_lite0
efficientnet_lite1 mixnet_s tinynet_e lcnet_050 regnetx_002 regnety_002 nf_regnet_b0 repvgg_a0
mobileone_s0 fastvit_t8 rexnet_100 inception_v4 xception41 convnext_atto convnextv2_atto
convmixer_768_32 edgenext_xx_small efficientformer_l1 efficientvit_b0 mobilevit_xxs mobilevitv2_050
levit_128s poolformer_s12 pvt_v2_b0 swin_tiny_patch4_window7_224 vit_tiny_patch16_224
deit_tiny_patch16_224 mixer_s16_224 resmlp_12_224 gmlp_ti16_224 coat_tiny twins_svt_small
visformer_tiny xcit_nano_12_p16_224 cait_xxs24_224 botnet26t_256 halonet26t tresnet_m selecsls42b
resnet18:features hrnet_w18_small:features mobilenetv3_small_100:features
"""
SMP = "Unet UnetPlusPlus FPN PSPNet DeepLabV3Plus Linknet PAN Segformer"
ULTRALYTICS = "yolov8n yolo11n"

SMALL = 128  # pixels

FACTORIES: dict[str, str] = {
    "torchvision": TORCHVISION,
    "timm": TIMM,
    "segmentation_models_pytorch": SMP,
    "ultralytics": ULTRALYTICS,
}


def networks() -> list[str]:
    """The names of those whose library is installed, as "timm/resnet18"."""
    found = [library for library in FACTORIES if find_spec(library)]
    return [f"{library}/{name}" for library in found for name in FACTORIES[library].split()]


def make(name: str, own_size: bool = False) -> tuple[nn.Module, tuple[int, ...]]:
    """A network with random weights, in eval mode, and the shape of its inputs without the batch.

    own_size: of the images it is meant for; else smaller ones, if it takes them. BN has the
    statistics of a batch, as trained networks have: else signals die on the way.
    """
    library, _, rest = name.partition("/")
    factory: dict[str, Callable[[str], tuple[nn.Module, tuple[int, ...]]]] = {
        "torchvision": _torchvision,
        "timm": _timm,
        "segmentation_models_pytorch": _smp,
        "ultralytics": _ultralytics,
    }
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old weights' initialisation and the like
        model, shape = factory[library](rest)
        model.eval()
        if not own_size and len(shape) == 3 and _takes(model, (3, SMALL, SMALL)):
            shape = (3, min(SMALL, shape[1]), min(SMALL, shape[2]))
        _settle(model, images(8, shape, seed=1))
    return model, shape


@torch.no_grad()
def _takes(model: nn.Module, shape: tuple[int, ...]) -> bool:
    try:
        model(torch.zeros(1, *shape))
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


def images(count: int, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Smooth noise, f32 [count, *shape]: like images, its neighbours are alike."""
    generator = torch.Generator().manual_seed(seed)
    channels, *sizes = shape
    mode = "trilinear" if len(sizes) == 3 else "bilinear"
    made = torch.zeros(count, *shape)
    for part in (16, 4, 1):
        small = [max(1, size // part) for size in sizes]
        noise = torch.randn(count, channels, *small, generator=generator)
        weight = 1.0 if part > 1 else 0.1
        made += weight * nn.functional.interpolate(noise, tuple(sizes), mode=mode)
    return made / made.std()


@torch.no_grad()
def _settle(model: nn.Module, batch: torch.Tensor) -> None:
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train().momentum = None
    model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval().momentum = momentum


def _torchvision(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    import torchvision

    options: dict[str, Any] = {"weights": None}
    if name.startswith(("fcn", "deeplab", "lraspp")):
        options["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = True
    size = 299 if name == "inception_v3" else 224
    shape = (3, 8, 64, 64) if name == "r3d_18" else (3, size, size)
    return torchvision.models.get_model(name, **options), shape


def _timm(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    import timm

    name, _, features = name.partition(":")
    shape = timm.get_pretrained_cfg(name).input_size
    return timm.create_model(name, pretrained=False, features_only=bool(features)), tuple(shape)


def _smp(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    import segmentation_models_pytorch as smp

    encoder = "mit_b0" if name == "Segformer" else "resnet18"
    return getattr(smp, name)(encoder, encoder_weights=None), (3, 128, 128)


def _ultralytics(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    from ultralytics.nn.tasks import DetectionModel

    return DetectionModel(f"{name}.yaml", verbose=False), (3, 160, 160)
