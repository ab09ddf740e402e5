"""`fmtc split`: a network cut in two, or a survey of where to cut it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ..calibration.compressor import Compressor
from ..config import CompressConfig
from ..data.datasets import open_dataset, split
from ..data.models import load_model
from ..data.preprocess import parse_preprocess
from ..deploy.split import DEFAULT_TARGET, Split, layers_at
from ..deploy.survey import FORMATS, Survey, cuts_of
from ..errors import UsageError
from ..evaluation.evaluate import evaluate
from ..files import write_atomically
from ..network.fingerprint import measured_with
from ..network.groups import AS_IT_IS
from ..presets import StepPreset, get_preset
from ..results.console import aligned
from ..results.plot import experiment
from ..targets import Agreement, Target, parse_targets
from .command import out_folder, say
from .options import EvalOptions

DEFAULT_AGREEMENT = 0.98
COLUMNS = (
    "cut", "shape", "head", "KiB", "agree", "head ms", "tail ms", "codec",
    "int8+zstd", "agree", "int4+zstd", "agree",
)  # fmt: skip


def run_split(options: EvalOptions, at: Sequence[str], survey: bool, layers: Sequence[str]) -> None:
    """Cut at ``at`` and write OUT/split.safetensors; or survey cuts, OUT/survey.json and .png."""
    if survey == bool(at):
        others = ", not both" if at else " to see where a network can be cut"
        raise UsageError(f"give --at LAYER ..., or --survey{others}")
    if at:
        _target(options)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    with out_folder(options.out):
        _run(options, at, survey, layers)


def _run(options: EvalOptions, at: Sequence[str], survey: bool, layers: Sequence[str]) -> None:
    out = Path(options.out)
    preprocess = parse_preprocess(options.preprocess)
    dataset = open_dataset(options.data, options.labels, options.class_index, options.preprocess)
    model = load_model(options.model, options.weights, options.num_classes, options.seed)
    calibration, test = split(dataset, options.calib_images, options.images, options.seed)
    calibrated_with = dataset.subset(calibration).tensor()[0]
    fingerprint = measured_with(model, calibrated_with)
    compressor = Compressor(
        model,
        calibrated_with,
        _without_reuse(options.config()) if survey else options.config(),
        progress=not options.quiet,
        exclude_bits=AS_IT_IS,
    )
    images = dataset.subset(test)
    if not survey:
        _split(options, compressor, at, images, out)
        return
    agreement, cuts = _agreement(options), _chosen(compressor, layers)
    measured = Survey(compressor, cuts, images.tensor()[0], agreement, options.batch)
    result = _earlier(out / "survey.json", options, fingerprint) or {
        "command": _command(options, layers),
        "fingerprint": fingerprint,
        "agreement": agreement,
        "images": len(images),
        "inputs": [],
        "cuts": [],
    }

    def keep(kind: str, made: Any) -> None:
        result[kind].append(asdict(made))
        write_atomically(out / "survey.json", json.dumps(result, indent=1).encode())

    for name in FORMATS:
        if name not in [done["format"] for done in result["inputs"]]:
            keep("inputs", measured.input(name, preprocess))
    for group in cuts:
        if group.name not in [done["layer"] for done in result["cuts"]]:
            keep("cuts", measured.cut(group))
            if not options.quiet:
                say(_told(result["cuts"][-1]))
    print(survey_table(result))
    experiment({"figure": survey_figure(result, options.model)}, out / "survey.png")
    if not options.quiet:
        say(f"wrote {out / 'survey.json'} and {out / 'survey.png'}")


def _without_reuse(config: CompressConfig) -> CompressConfig:
    """For cuts that are coded one at a time: each needs sensitivities of its own."""
    if not isinstance(config.scheme, StepPreset):
        raise UsageError(f"--survey looks for a step, and preset {config.scheme.name} has none")
    return replace(config, preset=replace(config.scheme, reuse_levels=False))


def _split(
    options: EvalOptions, compressor: Compressor, at: Sequence[str], images: Any, out: Path
) -> None:
    compressor.only(layers_at(compressor, at))
    compressed = compressor.compress(_target(options), last=True)
    point = evaluate(compressed, images, batch=options.batch, mode="stream")
    parts = Split(compressed)
    path = out / "split.safetensors"
    parts.save(path)
    print(parts.report())
    agreement = point["agreement"]
    told = "" if agreement is None else f"agreement {agreement:.1%}, "
    print(f"{told}SNR {point['snr_db']:.1f} dB on {len(images)} images")
    if not options.quiet:
        say(f"wrote {path}: parts = fmtc.load_split({str(path)!r}, model)")


def _target(options: EvalOptions) -> Target:
    """The one of --target or --bits. UsageError for several, and those of other presets."""
    by_step = isinstance(get_preset(options.preset), StepPreset)
    if by_step and not (options.target or options.bits):
        return DEFAULT_TARGET
    targets = options.targets()
    if len(targets) > 1:
        raise UsageError(f"a network is split at one target, not at {len(targets)}")
    return targets[0]


def _agreement(options: EvalOptions) -> float:
    targets = [target for text in options.target for target in parse_targets(text)]
    if not targets:
        return DEFAULT_AGREEMENT
    if len(targets) > 1 or not isinstance(targets[0], Agreement):
        raise UsageError("--survey compares at one agreement: --target agreement=0.98")
    return targets[0].value


def _command(options: EvalOptions, layers: Sequence[str]) -> str:
    evaluation = options.command_line([Agreement(_agreement(options))])
    cuts = shlex.join(["--cuts", *layers]) if layers else ""
    return f"fmtc split --survey {evaluation.removeprefix('fmtc eval ')} {cuts}".rstrip()


def _earlier(path: Path, options: EvalOptions, fingerprint: str) -> dict[str, Any] | None:
    """What an earlier run of the same survey has measured."""
    if options.fresh or not path.exists():
        return None
    earlier: dict[str, Any] = json.loads(path.read_text())
    told = earlier["command"].partition(" --cuts")[0]
    if told != _command(options, ()):
        raise UsageError(f"{path} is of {told!r}; give another --out, or --fresh to replace it")
    if earlier.get("fingerprint", fingerprint) != fingerprint:
        raise UsageError(
            f"data or weights have changed since {path} was written; give another --out, or --fresh"
        )
    return earlier


def _chosen(compressor: Compressor, layers: Sequence[str]) -> list[Any]:
    if not layers:
        return cuts_of(compressor)
    names = [layers_at(compressor, layer)[0] for layer in layers]
    by_name = {group.name: group for group in compressor.prepared.groups}
    return [by_name[name] for name in names]


def _told(cut: dict[str, Any]) -> str:
    return f"{cut['layer']}: {cut['kib']:.2f} KiB an image, {cut['share']:.0%} in the head"


def survey_table(result: dict[str, Any]) -> str:
    """The cuts, a row each, and below them what the input takes."""
    rows = [COLUMNS]
    for cut in result["cuts"]:
        seconds = cut["seconds"]
        rows.append(
            (
                cut["layer"],
                "x".join(map(str, cut["shape"])),
                f"{cut['share']:.1%}",
                f"{cut['kib']:.2f}",
                f"{cut['agreement']:.1%}",
                f"{1000 * seconds['head']:.1f}",
                f"{1000 * seconds['tail']:.1f}",
                f"{seconds['codec'] / seconds['head']:.0%}",
                *(
                    text
                    for bits in ("int8", "int4")
                    for text in (f"{cut[bits]['kib']:.1f}", f"{cut[bits]['agreement']:.1%}")
                ),
            )
        )
    inputs = [
        f"{one['format']} at quality {one['quality']}: {one['kib']:.2f} KiB, {one['agreement']:.1%}"
        for one in result["inputs"]
    ]
    return f"{aligned(rows)}\nthe input as {'; '.join(inputs)}"


def survey_figure(result: dict[str, Any], model: str) -> dict[str, Any]:
    """KiB an image against the head's share of the multiply-adds, as a result's figure."""

    def plain(name: str) -> list[float | None]:
        """KiB of the cuts where the classes agree as much."""
        cuts = (cut[name] for cut in result["cuts"])
        return [at["kib"] if at["agreement"] >= result["agreement"] else None for at in cuts]

    shares = [100 * cut["share"] for cut in result["cuts"]]
    series = [
        _series("fmtc, real streams", 0, "solid", shares, [c["kib"] for c in result["cuts"]]),
        _series("int8 and zstd", 1, "dashed", shares, plain("int8")),
        _series("int4 and zstd", 2, "none", shares, plain("int4")),
    ]
    levels = [{"label": f"input as {one['format']}", "y": one["kib"]} for one in result["inputs"]]
    panel = {
        "title": "",
        "xlabel": "multiply-adds in the head (%)",
        "ylabel": "KiB an image",
        "yscale": "log",
        "groups": None,
        "series": series,
        "levels": levels,
    }
    title = (
        f"{model} split, {result['agreement']:.0%} of {result['images']} images keep their class"
    )
    return {"title": title, "panels": [panel]}


def _series(
    label: str, color: int, line: str, x: Sequence[float], y: Sequence[float | None]
) -> dict[str, Any]:
    return {"label": label, "color": color, "line": line, "marker": "o", "x": x, "y": y}
