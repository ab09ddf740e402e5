"""What fmtc raises for reasons of its own. All are ValueErrors: something given cannot be used."""

from __future__ import annotations


class CalibrationError(ValueError):
    """Calibration data cannot be used.

    There are no images, say, or they have NaN or Inf.
    """


class ExportError(ValueError):
    """A network that cannot be exported."""


class ResultError(ValueError):
    """A document that is not a valid result."""


class StorageError(ValueError):
    """A saved codec cannot be used."""


class StreamError(ValueError):
    """Bytes that are no stream, or not the one that was expected."""


class TraceError(ValueError):
    """The network's graph is not usable."""


class UsageError(ValueError):
    """Arguments that a command does not understand."""


class UnknownNameError(ValueError, KeyError):
    """A name that is not registered; says which are, and which of them is nearest."""

    __str__ = ValueError.__str__  # KeyError's would show quotes
