"""What all commands share: a parser that raises, checked numbers, errors in a line each."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from ..errors import UsageError
from ..files import kept_to_one


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}{self._meant(message)} (see '{self.prog} --help')")

    def _meant(self, message: str) -> str:
        """What was probably meant by a choice or an option that there is not; else nothing."""
        wrong = re.search(r"invalid choice: '([^']*)'|unrecognized arguments: (-\S+)", message)
        if wrong is None:
            return ""
        choices = [str(name) for action in self._actions for name in action.choices or ()]
        known = choices if wrong[1] is not None else self._options()
        near = difflib.get_close_matches(wrong[1] or wrong[2], known, n=1)
        return f"; did you mean {near[0]}?" if near else ""

    def _options(self) -> list[str]:
        """Its options and those of its commands."""
        commands = [
            command
            for action in self._actions
            if isinstance(action.choices, dict)
            for command in action.choices.values()
        ]
        options = [option for command in commands for option in command._options()]
        return [*self._option_string_actions, *options]


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an option that takes whole numbers in this range."""
    allowed = f"{least} or more" if most is None else f"{least} to {most}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"must be a whole number, {allowed}; got {text!r}")
        return value

    return parse


def main_with_errors(name: str, command: Callable[[], None]) -> int:
    """Run a command, showing its errors and warnings in a line each; returns the exit code.

    0, 2 for an error of use, 130 when interrupted, 141 where nobody reads the output any more.
    FMTC_DEBUG=1 shows where an error came from.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            command()
            sys.stdout.flush()
    except BrokenPipeError:
        # So that Python, which flushes once more at its end, has nothing to complain about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print(f"{name}: interrupted; what was finished is saved", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        if os.environ.get("FMTC_DEBUG", "0") != "0":
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"{name}: error: {message}", file=sys.stderr)
        return 2
    return 0


@contextmanager
def out_folder(folder: str | Path, option: str = "--out") -> Iterator[None]:
    """The folder of an option, made if needed and kept to this process. Raises UsageError."""
    with ExitStack() as kept:
        try:
            kept.enter_context(kept_to_one(folder))
        except BlockingIOError as error:
            raise UsageError(
                f"{option} {folder}: {error.strerror}; wait for it, or give another folder"
            ) from error
        except OSError as error:
            raise UsageError(
                f"{option} {folder}: no file can be written there: {error.strerror}"
            ) from error
        yield


def say(message: str) -> None:
    """Tell the user something that is not the result."""
    print(message, file=sys.stderr)


def _show_warning(message: Warning | str, *where: object, **more: object) -> None:
    say(f"fmtc: warning: {message}")
