"""The other loops of a codec, each beside what bounds it in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from fmtc import ops

CHANNELS = 64
# Products of one image as in MobileNetV2: channels in and out, rows and columns.
SMALL = [(32, 192, 28), (576, 96, 14), (160, 960, 7)]


def measure_loops(repeats: int, quick: bool = False) -> list[dict]:
    """Rows: loop, rate (GB/s of memory read and written, or GFLOP/s), yardstick, times (how many
    times the yardstick's time, for as many bytes or operations; the median over repeats).

    Memory loops are measured beside a copy of float32, those that make a tensor beside a copy into
    a new one, moments beside a float64 matrix product of the same shapes, the transform fused with
    the quantiser beside a convolution and the quantiser. Tensors are larger than the caches, but
    for products of one small image, which are beside torch's convolution and a ReLU6.
    """
    pixels = 1 << (16 if quick else 19)
    x = torch.randn(1, CHANNELS, pixels // 256, 256) * 5
    levels, _ = ops.quantize(x, 1.0, -127, 127)
    groups = torch.arange(CHANNELS) // 8
    copy_of = torch.empty_like(x)
    half = x[:, :, : pixels // 512].contiguous()
    rows = half.double().reshape(CHANNELS, -1)
    values, products = x.numel(), 2 * CHANNELS * CHANNELS * rows.shape[1]
    basis, _ = torch.linalg.qr(torch.randn(CHANNELS, CHANNELS))
    kernel, mean, transforms = basis[:, :, None, None].contiguous(), basis[0].clone(), 2 * products

    def matrix_product():
        return rows @ rows.T

    loops: list[tuple[str, Callable, float, str]] = [
        ("copy float32", lambda: copy_of.copy_(x), 8 * values, "copy"),
        ("new copy float32", x.clone, 8 * values, "new copy"),
        ("matrix product float64", matrix_product, products, "product"),
        (
            "quantize float32 -> int16",
            lambda: ops.quantize(x, 1.0, -127, 127),
            6 * values,
            "new copy",
        ),
        (
            "dequantize int16 -> float32",
            lambda: ops.dequantize(levels, 1.0),
            6 * values,
            "new copy",
        ),
        ("histogram", lambda: ops.histogram(levels, -127, 127, groups, 8), 2 * values, "copy"),
        ("moments of channels", lambda: ops.channel_moments(half), products, "product"),
        (
            "convolution, quantize",
            lambda: ops.quantize(F.conv2d(x, kernel, mean), 1.0, -127, 127),
            transforms,
            "forward",
        ),
        (
            "transform_quantize",
            lambda: ops.transform_quantize(x, basis, mean, 1.0, -127, 127),
            transforms,
            "forward",
        ),
        (
            "dequantize, convolution",
            lambda: F.conv2d(ops.dequantize(levels, 1.0), kernel, mean),
            transforms,
            "back",
        ),
        (
            "dequantize_transform",
            lambda: ops.dequantize_transform(levels, basis, mean, 1.0),
            transforms,
            "back",
        ),
        *(loop for shape in SMALL for loop in _small_products(*shape)),
    ]
    seconds: dict[str, list[float]] = {name: [] for name, *_ in loops}
    for repeat in range(repeats + 1):
        for name, run, _, _ in loops:
            start = time.thread_time()
            result = run()
            elapsed = time.thread_time() - start
            del result
            if repeat > 0:
                seconds[name].append(elapsed)
    yardsticks = {kind: (name, work) for name, _, work, kind in reversed(loops)}
    rows_out = []
    for name, _, work, kind in loops:
        of, of_work = yardsticks[kind]
        times = [
            (mine / work) / (its / of_work)
            for mine, its in zip(seconds[name], seconds[of], strict=True)
        ]
        rows_out.append(
            {
                "loop": name,
                "rate": work / statistics.median(seconds[name]) / 1e9,
                "yardstick": of,
                "times": statistics.median(times),
            }
        )
    return rows_out


def _small_products(channels: int, rows: int, side: int) -> list[tuple[str, Callable, float, str]]:
    """A 1x1 convolution of one image with its activation, by torch and by our operator."""
    x, matrix = torch.randn(1, channels, side, side), torch.randn(rows, channels)
    kernel, offset = matrix[:, :, None, None].contiguous(), torch.randn(rows)
    name, work = f"{channels} to {rows}, {side}x{side}", 2 * channels * rows * side**2
    return [
        (
            f"conv., {name}",
            lambda: F.relu6(F.conv2d(x, kernel, offset), inplace=True),
            work,
            name,
        ),
        (
            f"product, {name}",
            lambda: ops.transform_channels(x, matrix, offset, 0.0, 6.0),
            work,
            name,
        ),
    ]
