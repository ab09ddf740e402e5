"""What each choice of the fmtc preset is worth: rates at equal SNR of the outputs.

Every variant is measured at the same few steps; its rate at the SNRs asked for is interpolated
linearly in dB between the points around them (or extrapolated from the two nearest, marked ~).
"Cross-entropy over entropy" compares what the tables cost at the first step with a table of its own
for each component (and class of positions), made of the evaluated images.
Results are kept in OUT/ablation.json after every point and not measured again.

    python -m experiments.ablation_preset --model mobilenet_v2 --weights FILE --data FOLDER \
        --images 100 --snr-db 11 17 --out results/ablation
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import fmtc
from fmtc.calibration import placement
from fmtc.calibration.compressor import Compressor
from fmtc.calibration.fit import Knob
from fmtc.calibration.sensitivity import Directions, sensitivities
from fmtc.cli.command import Parser, out_folder
from fmtc.cli.options import add_eval_options
from fmtc.codec.codec import TensorCodec
from fmtc.codec.counted import Statistics
from fmtc.codec.transform import metric_root
from fmtc.files import write_atomically
from fmtc.network.prepared import Prepared
from fmtc.presets import Preset

from .networks import model_and_images

STEPS = (0.00048, 0.00092)
PROBED_IMAGES = 24  # of which a layer's sensitivity is measured by adding noise
BASE = fmtc.PRESETS["fmtc"]


@dataclass(frozen=True)
class Variant:
    """A preset, and what else is done before it compresses.

    adjust: changes the compressor's metrics. images: the share of the calibration images in use.
    """

    preset: Preset
    adjust: Callable[[Compressor, float], None] | None = None
    images: float = 1.0

    @classmethod
    def of(cls, **changes) -> Variant:
        return cls(replace(BASE, **changes))


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing and print the table."""
    args = _parser().parse_args(arguments)
    with out_folder(args.out):
        _measure(args, Path(args.out) / "ablation.json")


def _measure(args: argparse.Namespace, path: Path) -> None:
    points = json.loads(path.read_text()) if path.exists() and not args.fresh else {}
    model, calibration, test = model_and_images(args)
    images, _ = calibration.tensor()
    reference = None
    for name in args.variants or VARIANTS:
        done = [point["step"] for point in points.get(name, [])]
        missing = [step for step in args.steps if step not in done]
        if not missing:
            continue
        reference = reference or fmtc.Reference(model, test, batch=args.batch)
        compressor = _compressor(VARIANTS[name], model, images, args)
        for step in missing:
            compressed = compressor.compress(fmtc.Step(step))
            _count_each_component(compressed)
            point = fmtc.evaluate(compressed, test, reference=reference, batch=args.batch)
            points.setdefault(name, []).append(_row(point, step))
            write_atomically(path, json.dumps(points, indent=1).encode())
            print(f"{name}, step {step:g}: {points[name][-1]}", file=sys.stderr)
    print(table(points, args.snr_db))


def table(points: dict[str, list[dict]], snrs: list[float]) -> str:
    """Markdown table of the rates at equal SNR, and what they are beside the first variant's."""
    rates = {name: [_rate_at(rows, snr) for snr in snrs] for name, rows in points.items()}
    base = rates[next(iter(VARIANTS))] if next(iter(VARIANTS)) in rates else None
    bits = [f"bits at {snr:g} dB" for snr in snrs]
    head = ["variant", *bits, "cross-entropy over entropy", "multiply-adds"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, row in rates.items():
        cells = [
            f"{mark}{rate:.3f}" + (f" ({rate / base[i][0] - 1:+.1%})" if base else "")
            for i, (rate, mark) in enumerate(row)
        ]
        point = points[name][0]
        more = [f"{point['over_entropy']:.3f}", f"{point['multiply_adds']:.2f}x"]
        lines.append("| " + " | ".join([name, *cells, *more]) + " |")
    return "\n".join(lines)


def _rate_at(rows: list[dict], snr: float) -> tuple[float, str]:
    """Rate where the line through the two points nearest in SNR meets ``snr``."""
    rows = sorted(rows, key=lambda row: abs(row["snr_db"] - snr))[:2]
    snrs, rates = [row["snr_db"] for row in rows], [row["rate"] for row in rows]
    if len(rows) == 1:
        return rates[0], f"at {snrs[0]:.1f} dB: "
    inside = min(snrs) <= snr <= max(snrs)
    slope = (rates[1] - rates[0]) / (snrs[1] - snrs[0])
    return rates[0] + slope * (snr - snrs[0]), "" if inside else "~"


def _row(point: dict, step: float) -> dict:
    rates, arithmetic = point["bits_per_value"], point["multiply_adds"]
    return {
        "step": step,
        "rate": rates["stream"] if rates["stream"] is not None else rates["cross_entropy"],
        "snr_db": point["snr_db"],
        "agreement": point["agreement"],
        "multiply_adds": arithmetic["compressed"] / arithmetic["plain"],
        "over_entropy": rates["cross_entropy"] / rates["entropy_classes"],
    }


def _compressor(variant: Variant, model, images: torch.Tensor, args) -> Compressor:
    used = images[: round(variant.images * len(images))]
    compressor = Compressor(
        model, used, variant.preset, weight_bits=args.weight_bits, mode=args.mode, seed=args.seed
    )
    if variant.adjust is not None:
        variant.adjust(compressor, args.steps[0])
    return compressor


def _count_each_component(compressed: fmtc.CompressedModel) -> None:
    """Let the report's entropy by class be one with a table for each segment that is coded."""
    for point in compressed.points.values():
        codec = point.codec
        if isinstance(codec, TensorCodec):
            segments, levels = len(codec.class_of), codec.histogram.shape[1]
            codec.class_of = torch.arange(segments)
            codec.histogram = torch.zeros(segments, levels, dtype=torch.int64)
            point.statistics = Statistics(codec.channels, segments, levels)


@torch.no_grad()
def _scale_by_noise(compressor: Compressor, step: float) -> None:
    """Scale each metric by the output's error under noise there over what the metric says."""
    metrics, prepared = compressor.metrics, compressor.prepared.copy()
    network = prepared.network
    placement.choose_sides(prepared.groups, metrics.spectra, step)
    images = torch.cat(compressor.batches)[:PROBED_IMAGES]
    clean = network(images)
    power = compressor.units.outputs["output"].deviations(clean).square()
    scaled = dict(metrics.metrics)
    for group in prepared.groups:
        key = group.name, group.side
        if key in scaled:
            _, inverse = metric_root(scaled[key])
            with _noise(network, group.output, inverse.float(), step):
                error = ((network(images) - clean).square().sum(1) / power).mean()
            spectrum = metrics.spectra[key]
            expected = spectrum.positions * inverse.shape[1] * step**2 / 12
            scaled[key] = scaled[key] * float(error / expected)
    compressor.metrics = metrics.with_metrics(scaled)


def _take_fisher_metric(compressor: Compressor, step: float) -> None:
    """What an error does to the divergence of the classes' probabilities; in the same units.

    For a class y drawn from softmax(z), the mean of (e_y - p)(e_y - p)^T is the Hessian of the KL
    divergence in the logits z.
    """

    def directions(output, probes, generator):
        p = output.detach().softmax(1)
        drawn = torch.multinomial(p, probes, replacement=True, generator=generator)
        return [(output, torch.nn.functional.one_hot(drawn, p.shape[1]) - p[:, None])]

    _replace_sensitivities(compressor, compressor.prepared, directions)


def _measure_where_coded(compressor: Compressor, step: float) -> None:
    """Sensitivities of the network whose tensors carry the errors of this step."""
    coded, calibrated, _ = compressor.calibrate(Knob(step=step))
    for group in coded.groups:
        codec = calibrated.codecs[group.name]
        _insert_after(coded.network, group.output, _StraightThrough(codec))
    _replace_sensitivities(compressor, coded, compressor.units.directions)


class _StraightThrough(torch.nn.Module):
    """Decoded values, with the gradient of the values themselves."""

    def __init__(self, codec):
        super().__init__()
        self.codec = codec

    def forward(self, x):
        return x + (self.codec.simulate(x.detach()) - x.detach())


def _replace_sensitivities(
    compressor: Compressor, prepared: Prepared, directions: Directions
) -> None:
    """Those of this network instead of the compressor's, with the mean of the log traces kept."""
    old, preset = compressor.metrics.sensitivities, compressor.preset
    measured = [group for group in prepared.groups if (group.name, group.side) in old]
    found = sensitivities(
        prepared.network,
        measured,
        compressor.batches,
        directions,
        preset.probes,
        compressor.config.seed,
    )
    new = dict(found)
    logs = [float((old[k].metric.trace() / new[k].metric.trace()).log()) for k in new]
    scale = math.exp(sum(logs) / len(logs))
    compressor.metrics = compressor.metrics.with_sensitivities(
        {k: replace(s, metric=s.metric * scale) for k, s in new.items()}
    )


def _insert_after(network, node, module: torch.nn.Module) -> None:
    """Everything that reads the node reads what the module makes of it."""
    name = f"after_{node.name}"
    network.add_submodule(name, module)
    with network.graph.inserting_after(node):
        inserted = network.graph.call_module(name, (node,))
    node.replace_all_uses_with(inserted, delete_user_cb=lambda user: user is not inserted)
    network.recompile()


@contextmanager
def _noise(network, node, inverse: torch.Tensor, step: float) -> Iterator[None]:
    """While entered, what this node computes carries the noise of a quantiser."""

    def add(module, args, output):
        shape = len(output), inverse.shape[1], *output.shape[2:]
        noise = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.5) * step
        return output + torch.nn.functional.conv2d(noise, inverse[:, :, None, None])

    with network.graph.inserting_after(node):
        module = torch.nn.Identity()
        network.add_submodule("fmtc_noise", module)
        noisy = network.graph.call_module("fmtc_noise", (node,))
    node.replace_all_uses_with(noisy, delete_user_cb=lambda user: user is not noisy)
    network.recompile()
    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
        noisy.replace_all_uses_with(node)
        network.graph.erase_node(noisy)
        network.recompile()


VARIANTS = {
    "fmtc": Variant.of(),
    "no compensation (refit)": Variant.of(compensate=False),
    "own transform behind 1x1 convolutions": Variant.of(reuse_levels=False),
    "the paper's side of each activation": Variant.of(choose_sides=False),
    "no spatial prediction": Variant.of(predict=False),
    "no sources in the prediction": Variant.of(sources=0),
    "8 sources in the prediction": Variant.of(sources=8),
    "no frequencies of positions": Variant.of(frequencies=1),
    "blocks of 2x2 positions at most": Variant.of(frequencies=2),
    "no classes of positions": Variant.of(position_classes=1),
    "8 classes of positions": Variant.of(position_classes=8),
    "transforms in 8 bits": Variant.of(transform_bits=8),
    "regularization 0.03": Variant.of(regularization=0.03),
    "regularization 0.3": Variant.of(regularization=0.3),
    "1 probe an image": Variant.of(probes=1),
    "8 probes an image": Variant.of(probes=8),
    "4 table classes": Variant.of(classes=4),
    "16 table classes": Variant.of(classes=16),
    "Huffman coder, nothing predicted": Variant.of(coder="huffman"),
    "half of the calibration images": Variant(BASE, images=0.5),
    "layers scaled by measured sensitivity": Variant(BASE, _scale_by_noise),
    "Fisher metric (KL) instead of the outputs": Variant(BASE, _take_fisher_metric),
    "sensitivities at the operating point": Variant(BASE, _measure_where_coded),
}


def _parser() -> Parser:
    parser = add_eval_options(Parser("experiments.ablation_preset", description=__doc__))
    parser.add_argument(
        "--steps", type=float, nargs="+", default=list(STEPS), help="(default: %(default)s)"
    )
    parser.add_argument(
        "--snr-db", type=float, nargs="+", default=[11.0, 17.0], help="(default: %(default)s)"
    )
    parser.add_argument(
        "--variants", nargs="+", choices=list(VARIANTS), metavar="NAME", help="(default: all)"
    )
    return parser


if __name__ == "__main__":
    main()
