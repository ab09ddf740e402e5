"""Saying what goes on: progress of long work, warnings at the user's line, the logger "fmtc"."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tqdm import tqdm

logger = logging.getLogger("fmtc")

# What functions with a `progress` argument take: True shows bars where stderr is a terminal, False
# nothing; a function is called with (stage, done, total), total None where it is not known.
Callback = Callable[[str, int, "int | None"], None]
Progress = bool | Callback


@contextmanager
def stage(
    progress: Progress, name: str, total: int | None = None, unit: str = "it"
) -> Iterator[Callable[[int], None]]:
    """While it is entered, work called ``name`` is under way; gives a function to advance by n."""
    done = 0
    if callable(progress):
        progress(name, done, total)
    # disable=None: no bar where stderr is no terminal.
    bar = tqdm(
        total=total,
        desc=name,
        unit=unit,
        delay=2,
        leave=False,
        disable=None if progress is True else True,
    )

    def advance(count: int = 1) -> None:
        nonlocal done
        done += count
        if callable(progress):
            progress(name, done, total)
        bar.update(count)

    with bar:
        yield advance
    logger.info("%s: done (%d %s)", name, done, unit)


def warn(message: str) -> None:
    """Warn at the line of the user's that called into fmtc, and tell the logger."""
    logger.info("%s", message)
    frame: FrameType | None = sys._getframe(1)
    level, users = 2, 2
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "fmtc":
            users = level + 1
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=users)
