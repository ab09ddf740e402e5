"""Making AOTInductor packages: what those of whole and of split networks have in common."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import ExportError
from ..files import write_atomically
from ..network.inputs import packing_of

METADATA_KEY = "fmtc"


def check_example(model: nn.Module, example: Tensor) -> None:
    """Raise ValueError or ExportError where a model cannot be exported with this example."""
    if packing_of(model) is not None:
        raise ExportError("export: a package holds networks of one input; this one takes several")
    if not isinstance(example, Tensor) or example.dtype != torch.float32 or not example.numel():
        kind = getattr(example, "dtype", type(example).__name__)
        raise ValueError(f"export: the example must be a float32 tensor with images, got {kind}")
    try:
        with torch.no_grad():
            model(example[:1])
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"export: the network does not take the example {list(example.shape)}: {error}"
        ) from error


def with_batch(example: Tensor, dynamic_batch: bool) -> Tensor:
    """The example, of two images at least where the batch is to be any."""
    if dynamic_batch and len(example) == 1:
        example = example.expand(2, *example.shape[1:])  # a batch of one would be taken for fixed
    return example.contiguous()


@torch.no_grad()
def exported(model: nn.Module, inputs: tuple[Tensor, ...], dynamic_batch: bool):
    """The program of a model of these inputs. Raises ExportError."""
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} for _ in inputs) if dynamic_batch else None
    if shapes and len(inputs) > 1:
        shapes = (shapes,)  # type: ignore[assignment]  # of *inputs
    try:
        return torch.export.export(model.eval(), inputs, dynamic_shapes=shapes)
    except Exception as error:  # torch.export raises what it likes
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        raise ExportError(
            f"export: torch.export cannot express the network: {type(error).__name__}: {first}"
        ) from error


def write_package(path: Path, programs: dict, metadata: dict[str, str]) -> None:
    """Compile the programs and put them into one file, which is there as a whole or not at all."""
    from torch._inductor import aot_compile
    from torch._inductor.package import package_aoti

    options = {
        "aot_inductor.package": True,
        "aot_inductor.metadata": metadata,
        "cpp.dynamic_threads": True,  # as many as where it runs, not as here
        # Convolutions as in eager mode give the very same levels. Channels last gains little and
        # rounds otherwise: one level that it moves changes all that are coded after it.
        "layout_optimization": False,
    }
    # A folder of its own: in inductor's, another export would put its metadata there.
    with tempfile.TemporaryDirectory(prefix="fmtc-export-") as folder:
        files = {
            name: aot_compile(
                program.module(),
                program.example_inputs[0],
                options={**options, "aot_inductor.output_path": os.path.join(folder, name)},
            )
            for name, program in programs.items()
        }
        package = Path(folder) / "package.pt2"
        package_aoti(str(package), files)  # type: ignore[arg-type]  # of aot_compile's results
        write_atomically(path, package.read_bytes())
