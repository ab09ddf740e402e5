"""`fmtc eval`: from its options to a result file, a figure and a table; and `fmtc plot`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..codec.codec import check_bits
from ..codec.transform import Block
from ..data.datasets import Dataset, open_dataset, split
from ..data.models import load_model
from ..errors import UsageError
from ..evaluation import distributed
from ..evaluation.evaluate import Reference, first_tensor
from ..model.model import Compressor
from ..ops.devices import copied_to, usable
from ..presets import PRESETS
from ..results.console import console, result_table
from ..results.plot import experiment, layers, rate_distortion
from ..results.result import environment, is_experiment, load_result, new_result, setting_label
from ..targets import SNR, AccuracyDrop, Bits, Target, parse_targets, target_of
from .main import Parser, add_eval_options
from .sweep import sweep

DEFAULT_TARGETS = {"b": [Bits(8)], "step": [SNR(10), SNR(15), SNR(20), SNR(25)]}  # by knob
# Options that do not change what a point measures.
FREE_OPTIONS = {"bits", "target", "out", "quiet", "fresh", "run"}
# What a point also depends on, and must be the same to put it beside older ones.
SAME_ENVIRONMENT = ("fmtc", "commit", "torch", "torchvision")


def run_eval(args: argparse.Namespace) -> None:
    """Measure what OUT/result.json does not have yet, draw the curve, print the table.

    Under torchrun every process evaluates a share of the images; the first one writes and speaks.
    """
    with distributed.process_group():
        args.quiet = args.quiet or not distributed.is_first()
        _run_eval(args)


def _run_eval(args: argparse.Namespace) -> None:
    Block.parse(args.block)
    targets = chosen_targets(args)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    path = Path(args.out) / "result.json"
    earlier = None if args.fresh or not path.exists() else _resumable(path, args)
    done = _targets_in(earlier) if earlier else []
    missing = [target for target in targets if target not in done]
    if earlier is not None and not args.quiet:
        kept = ", ".join(setting_label(target.setting) for target in done)
        _say(f"{path} has {kept} already: kept (--fresh measures again)")
    if missing:
        result = _measure(args, earlier, missing, path)
    else:
        result = earlier
    if not result["points"]:
        raise UsageError("none of the targets can be met; there is no point to show")
    if not distributed.is_first():
        return
    console().print(result_table(result))
    figure = path.with_name("rate_distortion.png")
    rate_distortion(result, figure)
    if not args.quiet:
        _say(f"wrote {path} and {figure}")


def run_plot(file: str, out: str | None, setting: str | None) -> None:
    """Draw the curve of a result file or, with a setting (8, b=8), the layers of that point.

    An experiment's figure is drawn as PNG and SVG beside its file.
    """
    result = load_result(file)
    if is_experiment(result):
        if setting is not None:
            raise UsageError(f"{file} is an experiment; it has no layers to draw")
        targets = [Path(out)] if out else [Path(file).with_suffix(s) for s in (".png", ".svg")]
        for target in targets:
            experiment(result, target)
            print(f"wrote {target}")
        return
    if setting is None:
        target = Path(out or Path(file).with_name("rate_distortion.png"))
        rate_distortion(result, target)
    else:
        target = Path(out or Path(file).with_name("layers.png"))
        layers(_point_with(result, setting, file), target)
    print(f"wrote {target}")


def chosen_targets(args: argparse.Namespace) -> list[Target]:
    """What --bits or --target ask for, each once; the preset's default points without them."""
    knob = PRESETS[args.preset].knob
    targets = [Bits(bits) for bits in args.bits or []]
    for text in args.target or []:
        targets += parse_targets(text)
    if any(isinstance(target, Bits) != (knob == "b") for target in targets):
        raise UsageError(
            f"preset {args.preset} has a b: give --bits 7 8, or --preset fmtc with --target"
            if knob == "b"
            else f"preset {args.preset} has no b: give --target rate=1.0,2.0 or snr_db=15, or "
            "--preset paper with --bits"
        )
    for target in targets:
        if isinstance(target, Bits):
            check_bits(target.value, PRESETS[args.preset])
    return list(dict.fromkeys(targets or DEFAULT_TARGETS[knob]))


def command_line(args: argparse.Namespace, targets: Sequence[Target]) -> str:
    """The command that measures these points, with every option that is not the default."""
    defaults = add_eval_options(Parser("fmtc eval"))
    options = vars(args) | {"bits": None, "target": None}
    if PRESETS[args.preset].knob == "b":
        options["bits"] = [target.value for target in targets]
    else:
        options["target"] = [
            f"{kind}={','.join(str(target).partition('=')[2] for target in group)}"
            for kind, group in groupby(targets, key=lambda target: target.kind)
        ]
    words = ["fmtc", "eval"]
    for name, value in options.items():
        if name not in ("run", "quiet", "fresh") and (
            name == "preset" or value != defaults.get_default(name)
        ):
            words += _option(name, value)
    return shlex.join(words)


def _option(name: str, value: Any) -> list[str]:
    name = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", *map(str, value if isinstance(value, list) else [value])]


def _targets_in(result: dict[str, Any]) -> list[Target]:
    return [target_of(point["setting"]) for point in result["points"]]


def _measure(
    args: argparse.Namespace, earlier: dict[str, Any] | None, targets: list[Target], path: Path
) -> dict[str, Any]:
    model = load_model(args.model, args.weights, args.num_classes, args.seed)
    dataset = open_dataset(args.data, args.labels, args.class_index, args.preprocess)
    calibration_indices, test_indices = split(dataset, args.calib_images, args.images, args.seed)
    calibration, labels = dataset.subset(calibration_indices).tensor()
    _check_classes(model, calibration[:1], dataset)
    targets = [_with_labels(target, calibration, labels) for target in targets]
    test = dataset.subset(distributed.share(test_indices))
    if len(test_indices) < distributed.processes():
        raise UsageError(
            f"{len(test_indices)} images are too few for {distributed.processes()} processes"
        )
    progress = not args.quiet
    device = usable(args.device)
    reference = Reference(
        copied_to(model, device), test, batch=args.batch, progress=progress, sharded=True
    )
    dataset.skipped[:] = sorted(set().union(*distributed.gathered(dataset.skipped)))
    result = _new_result(args, dataset, len(calibration), reference)
    if earlier is not None:
        _check_same_data(earlier, result)
    result["points"] = earlier["points"] if earlier else []
    result["command"] = command_line(args, _targets_in(result) + targets)
    if dataset.skipped and distributed.is_first():
        _say(f"skipped {len(dataset.skipped)} unreadable images: {', '.join(dataset.skipped)}")
    compressor = Compressor(
        model,
        calibration,
        args.preset,
        block=args.block,
        coder=args.coder,
        lane_values=args.lane_values,
        table_classes=args.table_classes,
        include=args.include,
        exclude=args.exclude,
        weight_bits=args.weight_bits,
        compensate=args.compensate,
        seed=args.seed,
        mode=args.mode,
        progress=progress,
    )
    return sweep(
        compressor,
        targets,
        test,
        result,
        path,
        reference=reference,
        device=device,
        batch=args.batch,
        progress=progress,
        on_point=lambda point: args.quiet or _say(_progress_line(point, reference)),
    )


def _with_labels(target: Target, calibration: Tensor, labels: Tensor | None) -> Target:
    """A drop of accuracy is measured on the calibration images."""
    if not isinstance(target, AccuracyDrop):
        return target
    if labels is None:
        raise UsageError(f"--target {target} needs labels for the images; agreement= needs none")
    return replace(target, labelled=(calibration, labels))


def _new_result(
    args: argparse.Namespace, dataset: Dataset, calibration_images: int, reference: Reference
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "path": args.data,
        "calibration_images": calibration_images,
        "evaluated_images": reference.images,
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
        " ".join(_option(name, value))
        for name, value in earlier.items()
        if name not in FREE_OPTIONS and value != getattr(args, name)
    ]


def _point_with(result: dict[str, Any], setting: str, file: str) -> dict[str, Any]:
    """The point with this setting: "8" or "b=8"."""
    wanted = setting.replace(" ", "")
    points = [point for point in result["points"] if point["setting"] is not None]
    names = [str(target_of(point["setting"])) for point in points]
    if "=" not in wanted:
        names = [name.partition("=")[2] for name in names]
        with suppress(ValueError):
            wanted = f"{float(wanted):.12g}"
    if names.count(wanted) == 1:
        return points[names.index(wanted)]
    known = ", ".join(str(target_of(point["setting"])) for point in points) or "none"
    many = "several points" if wanted in names else "no point"
    raise UsageError(f"{file} has {many} with setting {setting}; it has {known}")


def _progress_line(point: dict[str, Any], reference: Reference) -> str:
    seconds = point["seconds"]
    slower = seconds["evaluate"] / reference.seconds
    return (
        f"{setting_label(point['setting'])}: "
        f"{point['bits_per_value']['entropy']:.3f} bits of entropy a value; "
        f"calibrated in {seconds['calibrate']:.1f} s, evaluated in {seconds['evaluate']:.1f} s "
        f"({slower:.1f} times the plain network)"
    )


def _say(message: str) -> None:
    print(message, file=sys.stderr)
