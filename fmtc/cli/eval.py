"""`fmtc eval`: from its options to a result file, a figure and a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..calibration.compressor import Compressor
from ..data.datasets import Dataset, open_dataset, split
from ..data.models import load_model
from ..errors import UsageError
from ..evaluation import distributed
from ..evaluation.measures import classifier
from ..evaluation.reference import Reference
from ..extras import require
from ..model.model import CompressedModel
from ..network.fingerprint import measured_with
from ..network.outputs import chosen_outputs
from ..network.view import device_of
from ..ops.devices import copied_to, usable
from ..results.console import console, outputs_told, result_table
from ..results.page import PAGE_PACKAGES
from ..results.plot import rate_distortion
from ..results.result import environment, load_result, new_result, setting_label
from ..targets import AccuracyDrop, Target, target_of
from .command import out_folder, say
from .options import EvalOptions
from .packages import Packages, package_path
from .report import write_report
from .sweep import sweep

# What a point also depends on, and must be the same to put it beside older ones.
SAME_ENVIRONMENT = ("fmtc", "commit", "torch", "torchvision")


class Images(NamedTuple):
    """All of a dataset, and its two parts: calibration images [N,C,H,W] with their labels [N] (or
    None) and where they are from, and what this process evaluates of the others."""

    dataset: Dataset
    calibration: Tensor
    labels: Tensor | None
    calibrated_with: Dataset
    test: Dataset


def run_eval(options: EvalOptions) -> None:
    """Measure what OUT/result.json does not have yet, draw the curve, print the table.

    Under torchrun every process evaluates a share of the images; the first one writes and speaks.
    ValueError, OSError, ImportError: what can be checked is, before the plain network runs.
    """
    with distributed.process_group():
        if not distributed.is_first():
            options = replace(options, quiet=True)
        with ExitStack() as kept:
            if distributed.is_first():
                kept.enter_context(out_folder(options.out))
                packages, out = Path(options.export or options.out), Path(options.out)
                if packages.resolve() != out.resolve():
                    kept.enter_context(out_folder(packages, "--export"))
            _run_eval(options)


def _run_eval(options: EvalOptions) -> None:
    # With which it ends.
    for package in ("matplotlib", "rich", *(PAGE_PACKAGES if options.html else ())):
        require(package, "eval")
    targets = options.targets()
    options.config()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    path = Path(options.out) / "result.json"
    earlier = None if options.fresh or not path.exists() else _resumable(path, options)
    if earlier is not None:
        earlier["points"] = [p for p in earlier["points"] if _is_whole(p, targets, options)]
    done = _targets_in(earlier) if earlier else []
    missing = [target for target in targets if target not in done]
    if earlier is not None and not options.quiet:
        kept = ", ".join(setting_label(target.setting) for target in done)
        say(f"{path} has {kept} already: kept (--fresh measures again)")
    if options.json and earlier is not None:
        for point in earlier["points"]:
            print(json.dumps(point, allow_nan=False), flush=True)
    result = _measure(options, missing, earlier, path) if missing or not earlier else earlier
    if not result["points"]:
        raise UsageError("none of the targets can be met; there is no point to show")
    if not distributed.is_first():
        return
    if not options.json:
        console().print(result_table(result))
    figure = path.with_name("rate_distortion.png")
    rate_distortion(result, figure)
    written = [str(path), str(figure)]
    if options.html:
        page = path.with_name("report.html")
        write_report([path], page)
        written.append(str(page))
    if not options.quiet:
        say(f"wrote {', '.join(written[:-1])} and {written[-1]}")
        if not options.html:
            say(f"next: fmtc report {path}, a page with every layer; more targets add points")


def _is_whole(point: dict[str, Any], targets: Sequence[Target], options: EvalOptions) -> bool:
    """False for a point that is asked for and whose package is not there, where it shall be."""
    target = target_of(point["setting"])
    if options.export is None or target not in targets:
        return True
    return package_path(options.export, options.preset, target).exists()


def _measure(
    options: EvalOptions, targets: Sequence[Target], earlier: dict[str, Any] | None, path: Path
) -> dict[str, Any]:
    """The earlier result, if any, with a point for each target that can be met."""
    progress = not options.quiet
    device = usable(options.device)
    dataset = open_dataset(options.data, options.labels, options.class_index, options.preprocess)
    model = load_model(options.model, options.weights, options.num_classes, options.seed)
    model = copied_to(model, device)
    images = _divided(dataset, options.calib_images, options.images, options.seed)
    _check_classes(model, images.calibration[:1], dataset, options)
    targets = [_with_labels(target, images) for target in targets]
    compressor = Compressor(model, images.calibration, options.config(), progress=progress)
    reference = Reference(
        model,
        images.test,
        batch=options.batch,
        progress=progress,
        sharded=True,
        outputs=options.outputs,
    )
    dataset.skipped[:] = sorted(set().union(*distributed.gathered(dataset.skipped)))
    if dataset.skipped and distributed.is_first():
        say(f"skipped {len(dataset.skipped)} unreadable images: {', '.join(dataset.skipped)}")
    result = new_result(
        command="",
        model=options.model,
        dataset=_described(images, reference),
        seed=options.seed,
        reference={"top1": reference.top1, "top5": reference.top5},
    )
    result["fingerprint"] = measured_with(model, images.calibration)
    if earlier is not None:
        _check_same_data(earlier, result)
        result["points"] = earlier["points"]
    result["command"] = options.command_line(_targets_in(result) + targets)
    return sweep(
        compressor,
        targets,
        images.test,
        result,
        path,
        reference=reference,
        batch=options.batch,
        progress=progress,
        on_compressed=_exporter(options, images, device),
        on_point=lambda point: _tell(point, reference, options),
    )


def _exporter(
    options: EvalOptions, images: Images, device: torch.device | str
) -> Callable[[CompressedModel, Target], object]:
    """What writes a point's package, where that is asked for."""
    if options.export is None:
        return lambda compressed, target: None
    packages = Packages(
        folder=Path(options.export),
        name=options.model,
        preset=options.preset,
        example=images.calibration[:2],
        calibration=images.calibrated_with,
        seed=options.seed,
        device=device,
        quiet=options.quiet,
    )
    return packages.write


def _divided(dataset: Dataset, calib_images: int, images: int | None, seed: int) -> Images:
    """The images to calibrate with, read, and this process's share of those to evaluate."""
    calibration_indices, test_indices = split(dataset, calib_images, images, seed)
    if len(test_indices) < distributed.processes():
        raise UsageError(
            f"{len(test_indices)} images are too few for {distributed.processes()} processes"
        )
    calibrated_with = dataset.subset(calibration_indices)
    calibration, labels = calibrated_with.tensor()
    test = dataset.subset(distributed.share(test_indices))
    return Images(dataset, calibration, labels, calibrated_with, test)


@torch.no_grad()
def _check_classes(model: nn.Module, image: Tensor, dataset: Dataset, options: EvalOptions) -> None:
    """Labels must be the classifier's; other networks are measured without them."""
    outputs = chosen_outputs(model(image.to(device_of(model))), options.config().choice)
    name = classifier(outputs)
    if dataset.labels is not None and name is not None:
        dataset.check_classes(outputs[name].shape[1])


def _with_labels(target: Target, images: Images) -> Target:
    """A drop of accuracy is measured on the calibration images."""
    if not isinstance(target, AccuracyDrop):
        return target
    if images.labels is None:
        raise UsageError(f"--target {target} needs labels for the images; agreement= needs none")
    return replace(target, labelled=(images.calibration, images.labels))


def _described(images: Images, reference: Reference) -> dict[str, Any]:
    """The data as a result has it."""
    described: dict[str, Any] = {
        "path": images.dataset.path,
        "calibration_images": len(images.calibration),
        "evaluated_images": reference.images,
    }
    return described | ({"skipped": images.dataset.skipped} if images.dataset.skipped else {})


def _targets_in(result: dict[str, Any]) -> list[Target]:
    return [target_of(point["setting"]) for point in result["points"]]


def _resumable(path: Path, options: EvalOptions) -> dict[str, Any]:
    """The earlier result, where it was measured with the same options and versions."""
    earlier = load_result(path)
    differences = options.differences(earlier["command"]) + [
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


def _check_same_data(earlier: dict[str, Any], result: dict[str, Any]) -> None:
    """Points belong together only where images and uncompressed network are the same."""
    for part in ("dataset", "reference", "fingerprint"):
        if earlier.get(part, result[part]) != result[part]:  # older results have no fingerprint
            raise UsageError(
                "data or weights have changed since the points that are there were measured "
                f"({part} was {earlier[part]}, is {result[part]}); give another --out, or --fresh"
            )


def _tell(point: dict[str, Any], reference: Reference, options: EvalOptions) -> None:
    """Say that a point is there: to people, and to machines where these ask."""
    if not options.quiet:
        say(_told(point, reference))
    if options.json and distributed.is_first():
        print(json.dumps(point, allow_nan=False), flush=True)


def _told(point: dict[str, Any], reference: Reference) -> str:
    seconds = point["seconds"]
    slower = seconds["evaluate"] / reference.seconds
    return (
        f"{setting_label(point['setting'])}: "
        f"{point['bits_per_value']['entropy']:.3f} bits of entropy a value; "
        f"{outputs_told(point)}{'; ' * (len(point['outputs']) > 1)}"
        f"calibrated in {seconds['calibrate']:.1f} s, evaluated in {seconds['evaluate']:.1f} s "
        f"({slower:.1f} times the plain network)"
    )
