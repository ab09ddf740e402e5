"""A second device without a GPU: tensors that are elsewhere, and refuse to meet those of the CPU.

`There` is a tensor that says it is on DEVICE. Its values are in a tensor of the CPU that nothing
else sees; an operator on such tensors runs on their values, and what it gives is there, too. While
`OtherDevice` is entered,

- tensors made for DEVICE (``torch.zeros(..., device=x.device)``) are there, all others are not;
- ``to``, ``cpu`` and ``cuda`` move a tensor, ``item``, ``tolist`` and ``float`` wait for one, and
  ``numpy`` raises;
- an operator on tensors of both raises MixedDevices, but for a number of the CPU: a tensor without
  dimensions.

So it is as on a GPU, and stricter: what torch moves by itself, as an index or what is copied into
another tensor, raises, too, because it waits. ``moved`` has what was moved to the CPU. fmtc's
operators without a CUDA kernel (CPU_ONLY) raise. The others are those of the CPU, whose results
those of CUDA have, too (``tests/test_ops_*.py``).

While `capturing` is entered, torch says that a CUDA graph is being captured, and what waits raises
Waited, as it cannot be in a graph.

torch's C++ takes such a tensor for one of the CPU, so that autograd runs without a GPU; it is
Python that is told otherwise. Seen are therefore the tensors that Python makes and moves, and what
operators are called with. A function of C++ that makes a tensor on the device of its arguments
makes one of the CPU here: where it is then used with others, that is no fault (COMPOSED).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

DEVICE = torch.device("cuda:0")
CPU = torch.device("cpu")
CPU_ONLY = {"fmtc::encode_point", "fmtc::decode_point", "fmtc::simulate_point"}
# Operators of fmtc that wait for the device, so that a graph cannot hold them; and torch's.
WAITING = {"pca", "huffman_lengths", "huffman_tables", "rans_frequencies", "rans_tables"}
WAITING |= {"apack_frequencies"}
WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::_unique2"}
WAITS |= {f"fmtc::{name}" for name in WAITING}
COMPOSED = {torch.linalg.matrix_rank, torch.linalg.cholesky}


class MixedDevices(RuntimeError):
    """An operator was called with tensors of both devices, or is not there on the other one."""


class Waited(RuntimeError):
    """A value was read while a graph was being captured."""


class There(Tensor):
    """A tensor on DEVICE."""

    values: Tensor
    device, is_cuda, is_cpu = DEVICE, True, False
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> There:
        layout = {"strides": values.stride(), "storage_offset": values.storage_offset()}
        made = Tensor._make_wrapper_subclass(cls, values.shape, dtype=values.dtype, **layout)
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, given = func.name(), {}
        if name in CPU_ONLY:
            raise MixedDevices(f"{name} is for the CPU alone")
        if name in WAITS:
            _wait(name)

        def value(x: Tensor) -> Tensor:
            if isinstance(x, There):
                given[id(x.values)] = x
                return x.values
            if x.dim():
                raise MixedDevices(
                    f"{name}: a tensor {list(x.shape)} of the CPU, beside others on {DEVICE}"
                )
            return x

        made = func(*_mapped(value, args), **_mapped(value, kwargs or {}))
        # What an operator changes in place it gives back: the same tensor, not one more.
        return _mapped(lambda x: given[id(x)] if id(x) in given else There(x), made)

    def data_ptr(self) -> int:
        return self.values.data_ptr()

    def tolist(self) -> Any:
        _wait("tolist")
        return self.values.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"there is no numpy array of a tensor on {DEVICE}")

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            made: Tensor = There(self.values.clone())
            if isinstance(self, nn.Parameter):
                made = nn.Parameter(made, self.requires_grad)
            memo[id(self)] = made
        return memo[id(self)]

    def __repr__(self, **_: Any) -> str:
        return f"There({self.values})"


_capturing: list[bool] = []


def _wait(what: str) -> None:
    if _capturing:
        raise Waited(f"{what} reads values on {DEVICE}")


@contextmanager
def capturing() -> Iterator[None]:
    """As while a CUDA graph is captured."""
    _capturing.append(True)
    try:
        with (
            mock.patch.object(torch.cuda, "is_initialized", lambda: True),
            mock.patch.object(torch.cuda, "is_current_stream_capturing", lambda: True),
        ):
            yield
    finally:
        _capturing.pop()


def _mapped(change: Callable[[Tensor], Tensor], x: Any) -> Any:
    """An operator's arguments or results with other tensors."""
    if isinstance(x, Tensor):
        return change(x)
    if isinstance(x, (list, tuple)):
        return type(x)(_mapped(change, item) for item in x)
    return {key: _mapped(change, of) for key, of in x.items()} if isinstance(x, dict) else x


def _value(x: Tensor) -> Tensor:
    return x.values if isinstance(x, There) else x


class OtherDevice(TorchFunctionMode):
    """While it is entered, tensors can be made on DEVICE, and moved. moved: to the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[Tensor] = []
        self._usable = mock.patch("fmtc.calibration.compressor.usable", torch.device)

    def __enter__(self) -> OtherDevice:
        # `Module.to` makes new parameters: a tensor of the CPU cannot become a `There` in place.
        self._before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        self._usable.start()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        torch.__future__.set_overwrite_module_params_on_conversion(self._before)
        self._usable.stop()
        super().__exit__(*exception)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return self._moved(args[0], *_where(func, *args, **kwargs))
        if func in COMPOSED:
            return There(func(*_mapped(_value, args), **_mapped(_value, kwargs)))
        if kwargs.get("device") is None or not _is_there(kwargs["device"]):
            return func(*args, **kwargs)
        made = func(*args, **kwargs | {"device": CPU})
        return made if isinstance(made, There) else There(made)

    def _moved(self, x: Tensor, device: torch.device, dtype: torch.dtype, again: bool) -> Tensor:
        """x on a device, in this type: a copy, unless it is both and not wanted ``again``."""
        there = isinstance(x, There)
        if there == _is_there(device):
            if there:
                return torch.ops.aten._to_copy(x, dtype=dtype) if again or dtype != x.dtype else x
            return x.to(device, dtype, copy=again)
        if there:
            _wait("cpu")
            self.moved.append(x.values)
            return x.values.detach().to(dtype, copy=True)
        return There(x.detach().to(dtype, copy=True))


def _is_there(device: torch.device | str) -> bool:
    """Whether a device is DEVICE, of which "cuda" is another name."""
    return torch.device(device).type == DEVICE.type


def _where(func: Any, x: Tensor, *args: Any, **kwargs: Any) -> tuple[torch.device, Any, bool]:
    """The device and type that x shall have, and whether it shall be a copy in any case."""
    if func is not Tensor.to:
        return (CPU if func is Tensor.cpu else DEVICE), x.dtype, False
    again = kwargs.pop("copy", False)
    if args and isinstance(args[0], Tensor):
        args = args[0].device, args[0].dtype
    device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
    return device or x.device, dtype or x.dtype, again
