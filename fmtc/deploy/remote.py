"""The tail of a split network that is served elsewhere, as if it were here."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..extras import require

MOST_ANSWER = 2**30  # bytes
MOST_WAITING = 60.0  # seconds, whatever Retry-After says


class RemoteError(RuntimeError):
    """What a service answered instead of outputs, or why there was no answer.

    status: of the answer, None without one.
    """

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class RemoteTail:
    """``RemoteTail(url)(data)`` gives what ``parts.tail(data)`` would, by name.

    url: of `fmtc serve`, or of `fmtc_infer --listen`. seconds: for an answer. retries: how often a
    request is sent again to a service that has no place for it or cannot be reached.
    """

    def __init__(self, url: str, seconds: float = 60, retries: int = 5):
        self._httpx = require("httpx", "serve")
        try:
            self._client = self._httpx.Client(base_url=url, timeout=seconds)
        except (self._httpx.InvalidURL, TypeError) as error:
            raise ValueError(f"{url!r} is no URL: {error}") from None
        self.url, self.retries = url, retries

    def __call__(self, data: bytes, size: Sequence[int] = ()) -> dict[str, Tensor]:
        """The network's outputs, float32. Raises RemoteError."""
        parameters = {"size": "x".join(map(str, size))} if size else {}
        answer = self._asked("POST", "/infer", content=data, params=parameters)
        try:
            return {
                name: torch.tensor(_numbers(output["values"])).reshape(output["shape"])
                for name, output in answer["outputs"].items()
            }
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
            raise RemoteError(f"{self.url}: the answer holds no outputs") from None

    def health(self) -> dict[str, Any]:
        """What is served. Raises RemoteError."""
        return self._asked("GET", "/health")

    def close(self) -> None:
        self._client.close()

    def _asked(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        for attempt in range(self.retries + 1):
            last = attempt == self.retries
            try:
                with self._client.stream(method, path, **request) as answer:
                    content = self._read(answer)
            except self._httpx.HTTPError as error:
                if last or isinstance(error, self._httpx.UnsupportedProtocol):
                    raise RemoteError(f"{self.url}: {error or type(error).__name__}") from None
                time.sleep(0.1 * 2**attempt)
                continue
            if answer.status_code != 503 or last:
                break
            time.sleep(_waiting(answer.headers.get("retry-after")))
        status = answer.status_code
        try:
            document = json.loads(content)
            if answer.is_success and isinstance(document, dict):
                return document
            sentence = document["error"]
        except (ValueError, KeyError, TypeError, RecursionError):
            sentence = "this is no answer of fmtc; is the URL that of `fmtc serve`?"
        raise RemoteError(f"{self.url}: {sentence} ({status})", status)

    def _read(self, answer: Any) -> bytes:
        content = bytearray()
        for part in answer.iter_bytes():
            content += part
            if len(content) > MOST_ANSWER:
                raise RemoteError(f"{self.url}: an answer of more than {MOST_ANSWER} bytes")
        return bytes(content)


def _waiting(header: str | None) -> float:
    try:
        return min(MOST_WAITING, max(0.0, float(header or 1)))
    except ValueError:  # a date
        return 1.0


def _numbers(values: Any) -> Any:
    """Nested lists with NaN for null."""
    if isinstance(values, list):
        return [_numbers(value) for value in values]
    return math.nan if values is None else float(values)
