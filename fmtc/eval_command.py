"""`fmtc eval`: from its options to a result file, a figure and a table; and `fmtc plot`."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .cli import Parser, UsageError, add_eval_options
from .codec import check_bits
from .console import console, result_table
from .data import Dataset, open_dataset, split
from .evaluate import Reference, first_tensor
from .models import load_model
from .plot import layers, rate_distortion
from .result import environment, load_result, new_result
from .sweep import sweep
from .transform import Block

# Options that do not change what a point measures.
FREE_OPTIONS = {"bits", "out", "quiet", "fresh", "run"}
# What a point also depends on, and must be the same to put it beside older ones.
SAME_ENVIRONMENT = ("fmtc", "commit", "torch", "torchvision")


def run_eval(args: argparse.Namespace) -> None:
    """Measure what OUT/result.json does not have yet, draw the curve, print the table."""
    Block.parse(args.block)
    for bits in args.bits:
        check_bits(bits)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    path = Path(args.out) / "result.json"
    earlier = None if args.fresh or not path.exists() else _resumable(path, args)
    done = [point["setting"]["value"] for point in earlier["points"]] if earlier else []
    missing = [b for b in dict.fromkeys(args.bits) if b not in done]
    if earlier is not None and not args.quiet:
        kept = ", ".join(f"b = {value:g}" for value in done)
        _say(f"{path} has {kept} already: kept (--fresh measures again)")
    if missing:
        result = _measure(args, earlier, missing, path)
    else:
        result = earlier
    console().print(result_table(result))
    figure = path.with_name("rate_distortion.png")
    rate_distortion(result, figure)
    if not args.quiet:
        _say(f"wrote {path} and {figure}")


def run_plot(file: str, out: str | None, setting: float | None) -> None:
    """Draw the curve of a result file or, with a setting's value, the layers of that point."""
    result = load_result(file)
    if setting is None:
        target = Path(out or Path(file).with_name("rate_distortion.png"))
        rate_distortion(result, target)
    else:
        target = Path(out or Path(file).with_name("layers.png"))
        layers(_point_with(result, setting, file), target)
    print(f"wrote {target}")


def command_line(args: argparse.Namespace, bits: list[int]) -> str:
    """The command that measures these points, with every option that is not the default."""
    defaults = add_eval_options(Parser("fmtc eval"))
    words = ["fmtc", "eval"]
    for name, value in {**vars(args), "bits": bits}.items():
        if name in ("run", "quiet", "fresh") or value == defaults.get_default(name):
            continue
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)


def _measure(
    args: argparse.Namespace, earlier: dict[str, Any] | None, bits: list[int], path: Path
) -> dict[str, Any]:
    model = load_model(args.model, args.weights, args.num_classes, args.seed)
    dataset = open_dataset(args.data, args.labels, args.class_index, args.preprocess)
    calibration_indices, test_indices = split(dataset, args.calib_images, args.images, args.seed)
    calibration, _ = dataset.subset(calibration_indices).tensor()
    _check_classes(model, calibration[:1], dataset)
    test = dataset.subset(test_indices)
    progress = not args.quiet
    reference = Reference(model, test, batch=args.batch, progress=progress)
    result = _new_result(args, dataset, len(calibration), reference)
    if earlier is not None:
        _check_same_data(earlier, result)
    result["points"] = earlier["points"] if earlier else []
    measured = [int(point["setting"]["value"]) for point in result["points"]]
    result["command"] = command_line(args, measured + bits)
    if dataset.skipped:
        _say(f"skipped {len(dataset.skipped)} unreadable images: {', '.join(dataset.skipped)}")
    return sweep(
        model,
        calibration,
        test,
        result,
        path,
        bits=bits,
        reference=reference,
        batch=args.batch,
        progress=progress,
        on_point=lambda point: args.quiet or _say(_progress_line(point, reference)),
        preset=args.preset,
        block=args.block,
        coder=args.coder,
        include=args.include,
        exclude=args.exclude,
        weight_bits=args.weight_bits,
        mode=args.mode,
    )


def _new_result(
    args: argparse.Namespace, dataset: Dataset, calibration_images: int, reference: Reference
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "path": args.data,
        "calibration_images": calibration_images,
        "evaluated_images": len(reference.outputs),
    }
    if dataset.skipped:
        described["skipped"] = sorted(dataset.skipped)
    return new_result(
        command="",
        model=args.model,
        dataset=described,
        seed=args.seed,
        reference={"top1": reference.top1, "top5": reference.top5},
    )


def _check_same_data(earlier: dict[str, Any], result: dict[str, Any]) -> None:
    """Points belong together only where images and uncompressed network are the same."""
    for part in ("dataset", "reference"):
        if earlier[part] != result[part]:
            raise UsageError(
                "data or weights have changed since the points that are there were measured "
                f"({part} was {earlier[part]}, is {result[part]}); give another --out, or --fresh"
            )


@torch.no_grad()
def _check_classes(model: nn.Module, image: Tensor, dataset: Dataset) -> None:
    """Labels must be the classifier's; other networks are measured without them."""
    output = first_tensor(model(image))
    if dataset.labels is not None and output.dim() == 2:
        dataset.check_classes(output.shape[1])


def _resumable(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The earlier result, where it was measured with the same options and versions."""
    earlier = load_result(path)
    differences = _different_options(earlier["command"], args) + [
        f"{key} {earlier['environment'][key]}"
        for key, value in environment().items()
        if key in SAME_ENVIRONMENT and earlier["environment"][key] != value
    ]
    if differences:
        raise UsageError(
            f"{path} holds another evaluation ({', '.join(differences)}); give another --out, or "
            "--fresh to replace it"
        )
    return earlier


def _different_options(command: str, args: argparse.Namespace) -> list[str]:
    try:
        words = shlex.split(command)
        earlier = vars(add_eval_options(Parser("fmtc eval")).parse_args(words[2:]))
    except ValueError:
        return [f"made by {command!r}"]
    return [
        f"--{name.replace('_', '-')} {value}"
        for name, value in earlier.items()
        if name not in FREE_OPTIONS and value != getattr(args, name)
    ]


def _point_with(result: dict[str, Any], setting: float, file: str) -> dict[str, Any]:
    for point in result["points"]:
        if point["setting"]["value"] == setting:
            return point
    known = ", ".join(f"{point['setting']['value']:g}" for point in result["points"])
    raise UsageError(f"{file} has no point with setting {setting:g}; it has {known or 'none'}")


def _progress_line(point: dict[str, Any], reference: Reference) -> str:
    seconds = point["seconds"]
    slower = seconds["evaluate"] / reference.seconds
    return (
        f"{point['setting']['kind']} = {point['setting']['value']:g}: "
        f"{point['bits_per_value']['entropy']:.3f} bits of entropy a value; "
        f"calibrated in {seconds['calibrate']:.1f} s, evaluated in {seconds['evaluate']:.1f} s "
        f"({slower:.1f} times the plain network)"
    )


def _say(message: str) -> None:
    print(message, file=sys.stderr)
