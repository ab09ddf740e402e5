"""Evaluation by several processes, as torchrun starts them: each measures its share of the images.

Without torchrun there is one process, and nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun has started (by its environment variables) while entered."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """True in the one process that writes files and speaks."""
    return not dist.is_initialized() or dist.get_rank() == 0


def share(items: Sequence[T]) -> Sequence[T]:
    """This process's part of the items: every n-th of them."""
    return items[dist.get_rank() :: dist.get_world_size()] if dist.is_initialized() else items


def gathered(value: T) -> list[T]:
    """What every process has given, in the same order everywhere."""
    values: list[T] = [value] * processes()
    if dist.is_initialized():
        dist.all_gather_object(values, value)
    return values
