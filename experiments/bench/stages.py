"""Where the time of a compressed network goes: layer by layer, and stage by stage."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

import fmtc
from fmtc.codec import fused
from fmtc.model.points import CodedPoint, ReusingPoint

# What a layer's time is made of: its convolution, the two operators of the coding point, and what
# the point does besides (statistics, checks, Python).
PARTS = ("conv", "encode", "decode", "rest")
# What the two operators do, one stage after the other.
STAGES = ("quantize", "predict", "classes", "code", "decode", "unpredict", "back", "count")

Seconds = defaultdict[tuple[str, str], float]  # by layer and part
Clock = Callable[[], float]


@torch.no_grad()
def by_layer(
    model: nn.Module, compressed: fmtc.CompressedModel, x: torch.Tensor, repeats: int, clock: Clock
) -> list[dict[str, Any]]:
    """Seconds of each layer's parts in stream mode, and of the plain convolution; medians."""
    compressed.mode = "stream"
    compressed.reset_statistics()
    plain, coded = [], []
    for turn in range(repeats + 1):
        for runs, timed, network in (
            (plain, timed_convolutions(model, "", clock), model),
            (coded, timed_points(compressed, clock), compressed),
        ):
            with timed as seconds:
                network(x)
            if turn > 0:
                runs.append(seconds)

    def median(runs: list[Seconds], name: str, part: str) -> float:
        return statistics.median(run[name, part] for run in runs)

    rows = []
    for name, point in compressed.points.items():
        parts = {part: median(coded, name, part) for part in ("conv", "encode", "decode", "point")}
        parts["rest"] = parts.pop("point") - parts["encode"] - parts["decode"]
        values = len(x) * torch.Size(point.counted.shape).numel()
        rows.append(
            {"layer": name, "values": values, "plain": median(plain, name, "conv"), **parts}
        )
    return rows


@torch.no_grad()
def by_stage(
    compressed: fmtc.CompressedModel, x: torch.Tensor, repeats: int, clock: Clock
) -> dict[str, float]:
    """Seconds of each stage in all layers together, by the single operators; medians."""
    compressed.mode = "stream"
    runs = [_stages(compressed, x, clock) for _ in range(repeats + 1)][1:]
    return {stage: statistics.median(run[stage] for run in runs) for stage in STAGES}


def _stages(compressed: fmtc.CompressedModel, x: torch.Tensor, clock: Clock) -> dict[str, float]:
    seconds = dict.fromkeys(STAGES, 0.0)

    def timed(stage: str, call: Callable, *args: Any) -> Any:
        start = clock()
        made = call(*args)
        seconds[stage] += clock() - start
        return made

    def stages(point: CodedPoint, args: tuple[torch.Tensor]) -> None:
        codec, planes = point.codec, point.layout.planes(args[0])
        if isinstance(point, ReusingPoint):
            timed("back", point.pass_planes, planes)
            return
        crop = codec.tile.crop(*planes.shape[2:])
        levels, _ = timed("quantize", point.quantize, planes)
        symbols = timed("predict", codec.symbol_map.symbols, levels)
        classes = None
        if codec.position_classes is not None:
            classes = timed("classes", codec.position_classes.of, symbols)
        data, used = timed("code", codec.coder.encode, symbols, crop, classes)
        decoded = timed("decode", codec.coder.decode, data, used, *symbols.shape[2:])
        levels = timed("unpredict", codec.symbol_map.levels, decoded)
        timed("back", point.dequantize, levels, crop, planes.dtype)
        timed("count", codec.count, codec.symbols(levels))

    with ExitStack() as stack:
        for point in compressed.points.values():
            if isinstance(point, CodedPoint):
                stack.callback(point.register_forward_pre_hook(stages).remove)
        compressed(x)
    return seconds


@contextmanager
def timed_convolutions(network: nn.Module, prefix: str, clock: Clock) -> Iterator[Seconds]:
    """The time in each convolution below ``prefix``, by the rest of its name."""
    seconds: Seconds = defaultdict(float)
    with ExitStack() as stack:
        for path, module in network.named_modules():
            if isinstance(module, nn.Conv2d) and path.startswith(prefix):
                key = path.removeprefix(prefix), "conv"
                stack.enter_context(_timed(module, "forward", seconds, clock, lambda *_, k=key: k))
        yield seconds


@contextmanager
def timed_points(compressed: fmtc.CompressedModel, clock: Clock) -> Iterator[Seconds]:
    """The time of the parts of each layer."""
    names = {id(point.codec): name for name, point in compressed.points.items()}
    with ExitStack() as stack:
        folded = timed_convolutions(compressed.network, "fmtc_folded.", clock)
        seconds = stack.enter_context(folded)
        for name, point in compressed.points.items():
            key = name, "point"
            stack.enter_context(_timed(point, "forward", seconds, clock, lambda *_, k=key: k))
        for part in ("encode", "decode"):
            of = lambda codec, *_, part=part: (names[id(codec)], part)  # noqa: E731
            stack.enter_context(_timed(fused, part, seconds, clock, of))
        yield seconds


@contextmanager
def _timed(
    owner: Any, method: str, seconds: Seconds, clock: Clock, key_of: Callable
) -> Iterator[None]:
    """The time of each call of a method is added to ``seconds`` at ``key_of`` its arguments."""
    original, own = getattr(owner, method), method in vars(owner)

    def timed(*args, **kwargs):
        start = clock()
        try:
            return original(*args, **kwargs)
        finally:
            seconds[key_of(*args)] += clock() - start

    setattr(owner, method, timed)
    try:
        yield
    finally:
        if own:
            setattr(owner, method, original)
        else:
            delattr(owner, method)
