"""What a package says of itself, a JSON text: all that runs and measures it needs besides code.

``input_shape``, ``batch``, ``preprocess``: how an image becomes an input. ``outputs``: shapes;
``measured``: those that count and their means over the calibration images; ``shown``: the number of
the one whose classes are. ``point``: of the result schema, with figures that are None until the
package runs; its layers are the coding points. ``counted``: for each of them what makes rates of
the symbols that a package with statistics counts. ``calibration``: by what images it was calibrated
with are known. ``plain``: where the plain network is, if not in the package itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..codec.codec import TensorCodec
from ..data.datasets import Dataset
from ..evaluation.evaluate import blank_point
from ..evaluation.measures import classifier
from ..model.model import CompressedModel
from ..model.points import CodingPoint
from ..network.fingerprint import fingerprint
from ..network.outputs import chosen_outputs, tensors
from ..results.energy import read_joules, write_joules
from ..results.result import PLAIN_BITS
from .streaming import Streaming

SCHEMA = "fmtc.package/2"


def package_metadata(
    compressed: CompressedModel,
    streaming: Streaming,
    example: Tensor,
    *,
    batch: int | None = None,
    preprocess: str | None = None,
    classes: Sequence[str] | None = None,
    plain: str | None = None,
    name: str | None = None,
    calibration: Dataset | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Of a package by `export`. streaming: has seen the example. batch: the only one it takes."""
    with torch.no_grad():
        output = compressed.reference(example[:1])
    measured = measured_outputs(compressed, output)
    point = blank_point(compressed)
    for layer, shape in zip(point["layers"], streaming.shapes, strict=True):
        layer["shape"] = shape
        del layer["histogram"]  # of the calibration; the programs do not write one
    counting = streaming.notes.counting
    return {
        **plain_metadata(compressed.reference, example, batch),
        "model": name or type(compressed.reference).__name__,
        "plain": plain,
        "measured": measured,
        "shown": shown_output(measured, output),
        "preprocess": preprocess,
        "classes": None if classes is None else list(classes),
        # As fmtc eval counts them: with those that a target holds back.
        "calibration_images": (
            compressed.calibration_images if calibration is None else len(calibration)
        ),
        "calibration": None if calibration is None else {
            "seed": seed, "contents": calibration.contents()
        },
        "joules_per_bit": {"write": write_joules(1), "read": read_joules(1)},
        "point": point,
        "counted": list(map(_counted, compressed.points.values())) if counting else None,
    }  # fmt: skip


def plain_metadata(model: nn.Module, example: Tensor, batch: int | None) -> dict[str, Any]:
    """What packages of a network and of its points have in common."""
    with torch.no_grad():
        output = model(example[:1])
    return {
        "schema": SCHEMA,
        "network": fingerprint(model),
        "device": example.device.type,
        "torch": torch.__version__,
        "input_shape": list(example.shape[1:]),
        "batch": batch,
        "outputs": [list(of.shape[1:]) for of in tensors(output)],
    }


def measured_outputs(compressed: CompressedModel, output: Any) -> list[dict[str, Any]]:
    """The outputs whose SNR counts, each by its number, with its mean over calibration images.

    What a function makes of the outputs is not exported; all of them count then.
    """
    choice = None if callable(compressed.outputs) else compressed.outputs
    means = compressed.output_means(choice)
    numbers = {id(tensor): number for number, tensor in enumerate(tensors(output))}
    return [
        {
            "name": name,
            "index": numbers[id(tensor)],
            "mean": None if name not in means else {
                "shape": list(means[name].shape), "values": means[name].flatten().tolist()
            },
        }
        for name, tensor in chosen_outputs(output, choice).items()
    ]  # fmt: skip


def shown_output(measured: list[dict[str, Any]], output: Any) -> int:
    """The number of the output whose classes are shown, or of the first where there are none."""
    outputs = tensors(output)
    name = classifier({str(of["index"]): outputs[of["index"]] for of in measured})
    return measured[0]["index"] if name is None else int(name)


def _counted(point: CodingPoint) -> dict[str, Any]:
    """Of a coding point: plain_bits of a value that is not coded, or what rates are made of.

    kind_of_class, table_of_class: of each row of the histogram. cross_entropy_bits, huffman_bits:
    [tables][L], of each symbol.
    """
    codec = point.codec
    if not isinstance(codec, TensorCodec):
        return {"plain_bits": PLAIN_BITS}
    return {
        "kind_of_class": codec.kind_of_class.tolist(),
        "table_of_class": codec.table_of_class.tolist(),
        "cross_entropy_bits": codec.coder.cross_entropy_bits().tolist(),
        "huffman_bits": codec.coder.lengths.tolist(),
    }
