"""`fmtc report`: results as one page to look at or to send."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from ..files import write_atomically
from ..results.page import html_page
from ..results.result import load_result


def run_report(files: Sequence[str], out: str) -> None:
    """Write the page of these result files, evaluations or experiments.

    UsageError: the page would replace one; ResultError: one is no result; OSError; ImportError: a
    package of the extra is missing.
    """
    if any(Path(file).resolve() == Path(out).resolve() for file in files):
        raise UsageError(f"{out} is a result that is read: give another -o")
    write_report(files, out)
    print(f"wrote {out}")


def write_report(files: Sequence[str | Path], out: str | Path) -> None:
    """The same without a word."""
    page = html_page([(str(file), load_result(file)) for file in files])
    write_atomically(out, page.encode())
