"""Measuring a network: accuracy, agreement, divergence and noise of outputs, rates of its tensors.

`evaluate` runs a plain or a compressed model over data once and returns one point of the result
schema ("fmtc.result/3", see `fmtc.results.result`). It is always compared with the uncompressed
network, which runs on the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn

from ..model.model import CompressedModel
from ..network.outputs import Choice, as_choice
from ..progress import Progress, stage
from ..results.result import RATES
from . import distributed
from .batches import InputFn, batches, count
from .measures import Measures
from .packed import for_model
from .reference import Reference, of_all_processes, run


def evaluate(
    model: nn.Module,
    data: Any,
    *,
    reference: Reference | nn.Module | None = None,
    batch: int = 25,
    mode: str | None = None,
    progress: Progress = False,
    input_fn: InputFn | None = None,
    outputs: str | Iterable[str] | Callable[[Any], Any] | None = None,
) -> dict[str, Any]:
    """Measure a model on images: one point of the result schema, as a dictionary.

    It is always compared with the uncompressed network. Data are gone through once, and both
    networks run on each batch.

    Args:
        model: A `CompressedModel`, whose statistics are reset first and then reported, or any
            module, whose rates are None.
        data: Images [N, C, H, W]; (images, labels [N]); an iterable of batches of either or of
            dictionaries, such as a DataLoader, a list or a generator; or a ``fmtc.data`` Dataset.
        reference: The uncompressed network, or its `Reference`, which remembers outputs that
            several evaluations need. Default: the compressed model's own; a plain model is its own
            reference.
        batch: Images at a time, where ``data`` does not bring its own batches. No figure depends on
            it.
        mode: "stream" or "simulate" for this evaluation; None keeps the compressed model's mode.
        progress: True shows a bar where this takes longer than 2 s, on a terminal; a function is
            called with ("evaluate", images done, images or None).
        input_fn: batch -> images or (images, labels), for other shapes of batch.
        outputs: Which of the network's outputs count: names or patterns of them ("boxes", "head.*";
            those of a tuple are "0", "1", ...), or a function that takes the whole output to a
            tensor, a tuple or a dictionary of tensors. Default: those of the reference or else of
            the compressed model, and all where these do not say either.

    Returns:
        The point. Accuracies are fractions; they are None without labels or where no output is [n,
        classes], of which the first counts. ``outputs`` has the SNR of each output and ``snr_db``
        that of the worst: signal is what deviates from the output's mean over the images that a
        compressed model was calibrated with. A plain model has no such mean, nor has one that was
        given another function as ``outputs``: it is then the mean of the reference over the images
        evaluated. ``snr_db_image`` is the first output's with the mean of each image's own
        elements. ``seconds.evaluate`` is the time in this model's forward passes, without reading
        images and without the reference's.

    Raises:
        ValueError: No images, outputs with NaN or Inf, an output that is no batch or has none of
            these names, a label out of range, and what ``fmtc.evaluation.batches`` says of data
            that it does not understand.

    Example:
        >>> point = fmtc.evaluate(compressed, (images, labels))
        >>> point["bits_per_value"].keys()
        dict_keys(['entropy', 'entropy_classes', 'cross_entropy', 'huffman', 'stream'])
        >>> 0 <= point["agreement"] <= 1
        True
    """
    compressed = model if isinstance(model, CompressedModel) else None
    plain = model if compressed is None else compressed.reference
    plain, data, input_fn = for_model(plain, data, input_fn)
    model = plain if compressed is None else compressed
    against: Reference | nn.Module = plain if reference is None else reference
    if not isinstance(against, Reference):
        against, _, _ = for_model(against, data)
    choice = _choice(as_choice(outputs), against, compressed)
    measures, seconds = Measures(compressed.output_means(choice) if compressed else {}), 0.0
    with nullcontext() if compressed is None else _measuring(compressed, mode):
        with stage(progress, "evaluate", count(data), "img") as advance:
            for images, labels in batches(data, batch, input_fn):
                numbers = range(measures.images, measures.images + len(images))
                made, took = run(model, images, numbers, choice)
                if isinstance(against, Reference):
                    known = against.outputs_of(images, measures.images)
                    # It may remember more than what counts here.
                    expected = {name: of for name, of in known.items() if name in made}
                elif against is model:
                    expected = made
                else:
                    expected, _ = run(against, images, numbers, choice)
                measures.add(made, expected, labels)
                seconds += took
                advance(len(images))
        sharded = isinstance(against, Reference) and against.sharded
        if sharded:
            measures, seconds = of_all_processes(measures, seconds)
        point = _point(measures, seconds)
        return point if compressed is None else _with_coding(point, compressed, sharded)


def _choice(
    given: Choice, against: Reference | nn.Module, compressed: CompressedModel | None
) -> Choice:
    """Which outputs count."""
    if given is None and isinstance(against, Reference):
        given = against.choice
    return compressed.outputs if given is None and compressed is not None else given


@contextmanager
def _measuring(compressed: CompressedModel, mode: str | None) -> Iterator[None]:
    """In this mode, counting, with what was counted before forgotten."""
    before = compressed.mode, compressed.statistics
    try:
        compressed.mode = before[0] if mode is None else mode
        compressed.statistics = True
        compressed.reset_statistics()
        yield
    finally:
        compressed.mode, compressed.statistics = before


def _point(measures: Measures, seconds: float | None) -> dict[str, Any]:
    """A point for an uncompressed model: None for all that it does not have."""
    return {
        "preset": None,
        "weight_bits": None,
        "setting": None,
        "block": None,
        "coder": None,
        "mode": None,
        **measures.summary(),
        "values": None,
        "clamped_fraction": None,
        "bits_per_value": _rates({}),
        "written": None,
        "bits_per_written_value": _rates({}),
        "joules_per_image": _rates({}),
        "multiply_adds": {"plain": None, "compressed": None},
        "seconds": {"calibrate": None, "evaluate": seconds},
        "layers": [],
    }


def _with_coding(
    point: dict[str, Any], compressed: CompressedModel, sharded: bool = False
) -> dict[str, Any]:
    """The point of a `CompressedModel`: how it codes and what its report counted."""
    report = compressed.report(distributed.gathered) if sharded else compressed.report()
    return point | {
        "preset": compressed.preset,
        "weight_bits": compressed.weight_bits,
        "setting": dict(compressed.setting),
        "block": compressed.block,
        "coder": compressed.coder,
        "mode": compressed.mode,
        "values": report.values,
        "clamped_fraction": report.clamped_fraction,
        "bits_per_value": _rates(report.bits_per_value),
        "written": {"uncoded_bits": report.uncoded_bits, **report.written.to_dict()},
        "bits_per_written_value": _rates(report.bits_per_written_value),
        "joules_per_image": _rates(report.joules_per_image),
        "multiply_adds": dict(compressed.multiply_adds),
        "seconds": {
            "calibrate": compressed.seconds_calibrate,
            "evaluate": point["seconds"]["evaluate"],
        },
        "layers": [_layer(layer) for layer in report.layers],
    }


def blank_point(compressed: CompressedModel) -> dict[str, Any]:
    """A `CompressedModel`'s point in mode "stream", with None for all that a run would measure."""
    point = _with_coding(_point(Measures(), None), compressed)
    layers = [layer | {"values": 0, "bits_per_value": _rates({})} for layer in point["layers"]]
    return point | {
        "mode": "stream",
        "values": None,
        "clamped_fraction": None,
        "bits_per_value": _rates({}),
        "bits_per_written_value": _rates({}),
        "joules_per_image": _rates({}),
        "layers": layers,
    }


def _layer(layer: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **layer,
        "shape": list(layer["shape"]),
        "bits_per_value": _rates(layer["bits_per_value"]),
    }


def _rates(bits_per_value: Mapping[str, float | None]) -> dict[str, float | None]:
    return {rate: bits_per_value.get(rate) for rate in RATES}
