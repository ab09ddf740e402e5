"""The tail of a split network as an HTTP service: bundles in, the network's outputs out.

``POST /infer``   the body is what a head made; the answer, as ``Accept`` says, is JSON,
                  {"images": N, "outputs": {name: {"shape": [...], "values": nested lists}}}, where
                  NaN and Inf are null, or ``application/x-npy``: one output, exactly as it is, of a
                  network of several that of ``?output=NAME``. ``?size=HxW``: of the head's images.
``GET /health``   what is served: fingerprint of the network, layers of the cut, limits.
``GET /metrics``  for Prometheus.

What is refused is answered by {"error": a sentence}: 400 damaged or cut bytes, 422 bytes of another
head or image size, 413 more than a limit, 408 a body that does not arrive, 406 an unknown format,
503 with Retry-After where as many requests wait as may, 404 and 405 another path or method. Nothing
of one request is kept for another.
"""

from __future__ import annotations

import asyncio
import io
import json
import signal
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..codec.bundle import Bundle
from ..errors import StreamError
from ..extras import require
from ..network.fingerprint import fingerprint
from ..network.outputs import named_outputs
from .split import Split

fastapi = require("fastapi", "serve")
prometheus = require("prometheus_client", "serve")
exceptions = require("starlette.exceptions", "serve")
requests = require("starlette.requests", "serve")
uvicorn = require("uvicorn", "serve")

JSON, NPY = "application/json", "application/x-npy"
FORMATS = {JSON: JSON, NPY: NPY, "application/*": JSON, "*/*": JSON}  # as Accept may ask for them
RETRY_SECONDS = 1
GRACE_SECONDS = 30  # for requests that are there when the service is stopped
GONE = 499  # the client, before its request had arrived: nginx's number
DRAINED_BODIES = 4  # of what is too long is read, so that the client listens when it is told


@dataclass(frozen=True)
class ServeOptions:
    """Limits of a service.

    max_body: bytes of a request. max_images: in it. workers: requests computed side by side.
    waiting: how many more may be there. seconds: in which a body must arrive. sizes: H and W of
    images that are taken besides those of calibration; each is a graph that is kept.
    """

    max_body: int = 2**24
    max_images: int = 64
    workers: int = 1
    waiting: int = 32
    seconds: float = 30
    sizes: tuple[tuple[int, int], ...] = ()


class Refused(Exception):
    """A request that is answered by an error; the sentence says what is wrong and what to do."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None):
        super().__init__(sentence)
        self.status, self.headers = status, dict(headers or {})


class Service:
    """What answers requests; ``application`` puts it behind HTTP."""

    def __init__(self, parts: Split, options: ServeOptions):
        self.parts, self.options = parts, options
        self.present = 0  # requests that are computed, wait or arrive
        # OpenMP has a number of threads for each thread that calls it.
        self.pool = ThreadPoolExecutor(
            options.workers, "tail", torch.set_num_threads, (torch.get_num_threads(),)
        )
        self.metrics = Metrics(self)
        self._outputs = self._warmed()

    def _warmed(self) -> list[str]:
        """Runs the tail once for each size, so that no request pays for it; names of outputs."""
        parts, outputs = self.parts, None
        parts.compressed.statistics = False
        for size in ((), *self.options.sizes):
            shape = parts.graphs(size).input_shape
            parameter = next(parts.compressed.network.parameters())
            x = torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device)
            outputs = parts.tail(parts.head(x), size=size)
        return list(named_outputs(outputs))

    def health(self) -> dict[str, Any]:
        return {
            "status": "ok",
            "network": fingerprint(self.parts.compressed.reference),
            "at": list(self.parts.at),
            "input_shape": list(self.parts.compressed.input_shape),
            "outputs": self._outputs,
            "limits": asdict(self.options),
        }

    async def infer(self, request: Any) -> Any:
        """The answer to a request. Raises Refused."""
        answer = self._format(request)
        size = self._size(request.query_params.get("size"))
        if self.present >= self.options.workers + self.options.waiting:
            await self._body(request, keep=False)
            raise Refused(
                503,
                f"{self.present} requests are being worked on: try again later",
                {"Retry-After": str(RETRY_SECONDS)},
            )
        self.present += 1
        try:
            body = await self._body(request)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.pool, self._computed, body, size, answer)
        finally:
            self.present -= 1

    def _format(self, request: Any) -> Callable[[dict[str, Tensor], int], Any]:
        """What makes an answer of outputs, as the request asks for it."""
        wanted, output = accepted(request.headers.get("accept")), request.query_params.get("output")
        if output is not None and output not in self._outputs:
            raise Refused(
                422, f"there is no output {output!r}; there are: {', '.join(self._outputs)}"
            )
        if wanted is None:
            raise Refused(406, f"the answer can be {JSON} or {NPY}: name one in Accept")
        if wanted == JSON:
            names = self._outputs if output is None else [output]
            return lambda outputs, images: as_json({name: outputs[name] for name in names}, images)
        if output is None and len(self._outputs) > 1:
            raise Refused(
                406,
                f"a .npy holds one tensor, and there are {', '.join(self._outputs)}: name one "
                f"with ?output=, or accept {JSON}",
            )
        name = output or self._outputs[0]
        return lambda outputs, images: as_npy(outputs[name])

    def _size(self, text: str | None) -> tuple[int, ...]:
        if not text:
            return ()
        own = self.parts.graphs(()).input_shape[1:]
        known = {"x".join(map(str, size)): size for size in (own, *self.options.sizes)}
        if text not in known:
            raise Refused(
                422,
                f"images of size {text!r} are not served, but those of {', '.join(known)}; the "
                "service is told of others by --sizes",
            )
        return known[text]

    async def _body(self, request: Any, keep: bool = True) -> bytes:
        """The request's body; with keep=False it is only waited for."""
        try:
            kept, length = await asyncio.wait_for(
                self._arrived(request, keep), self.options.seconds
            )
        except asyncio.TimeoutError:
            sentence = f"the body did not arrive within {self.options.seconds:g} s: send it again"
            raise Refused(408, sentence, {"Connection": "close"}) from None
        most = self.options.max_body
        if length > most:
            raise Refused(
                413,
                f"the body has more than {most} bytes: send fewer images at a time, or serve with "
                "a larger --max-body",
            )
        return bytes(kept)

    async def _arrived(self, request: Any, keep: bool) -> tuple[bytearray, int]:
        """The body, unless it is too long, and its length, as far as it was read."""
        most, kept, length = self.options.max_body, bytearray(), 0
        async for chunk in request.stream():
            length += len(chunk)
            self.metrics.received.inc(len(chunk))
            if length > DRAINED_BODIES * most:
                break
            if length > most:
                keep, kept = False, bytearray()
            if keep:
                kept += chunk
        return kept, length

    def _computed(self, body: bytes, size: tuple[int, ...], answer: Callable) -> Any:
        """The answer to a body: in a thread of the pool."""
        began = time.perf_counter()
        bundle = self._opened(body)
        try:
            output = self.parts.tail(bundle, size=size)
        except StreamError as error:  # behind right checksums
            raise Refused(
                422,
                f"{error}; head and tail must load the same file of fmtc.split, and images be of "
                "the size that is served",
            ) from None
        self.metrics.images.inc(bundle.images)
        self.metrics.seconds.observe(time.perf_counter() - began)
        return answer(named_outputs(output), bundle.images)

    def _opened(self, body: bytes) -> Bundle:
        """The bundle, whose checksums are right. Raises Refused."""
        try:
            bundle = Bundle.of(body)
            if bundle.images > self.options.max_images:
                raise Refused(
                    413,
                    f"{bundle.images} images, and {self.options.max_images} are taken at a time: "
                    "send them in parts",
                )
            for name in bundle.names:
                bundle[name]
        except StreamError as error:
            raise Refused(
                400, f"the bytes are damaged or no bundle of fmtc: {error}; send them again"
            ) from None
        return bundle


class Metrics:
    """What /metrics shows, of this service alone."""

    def __init__(self, service: Service):
        self.registry = prometheus.CollectorRegistry()
        here = {"registry": self.registry}
        self.requests = prometheus.Counter(
            "fmtc_requests", "Requests to /infer, by the status of the answer", ["status"], **here
        )
        self.received = prometheus.Counter("fmtc_received_bytes", "Bytes of bodies", **here)
        self.images = prometheus.Counter("fmtc_images", "Images whose outputs were given", **here)
        self.seconds = prometheus.Histogram(
            "fmtc_tail_seconds",
            "Decoding and the tail, of a request",
            buckets=[2.0**k / 1000 for k in range(14)],
            **here,
        )
        present = prometheus.Gauge("fmtc_present_requests", "Computed, waiting, arriving", **here)
        present.set_function(lambda: service.present)

    def text(self) -> bytes:
        return prometheus.generate_latest(self.registry)


def application(parts: Split, options: ServeOptions | None = None) -> Any:
    """The service of a split network's tail as an ASGI application, for any server of these."""
    service = Service(parts, options or ServeOptions())

    @asynccontextmanager
    async def lifespan(_: Any):
        yield
        service.pool.shutdown(wait=True)

    app = fastapi.FastAPI(title="fmtc", lifespan=lifespan)

    @app.exception_handler(exceptions.HTTPException)
    async def elsewhere(request: fastapi.Request, error: Any):  # type: ignore[name-defined]
        """A path or method that there is not."""
        sentence = f"{error.detail}: there are POST /infer, GET /health and GET /metrics"
        return _refusal(sentence, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(request: fastapi.Request, error: Exception):  # type: ignore[name-defined]
        """The error itself is raised once more, for the log."""
        return _refusal("the service failed; its log says why", 500)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return service.health()

    @app.get("/metrics")
    async def metrics():
        return fastapi.Response(service.metrics.text(), media_type=prometheus.CONTENT_TYPE_LATEST)

    @app.post("/infer")
    async def infer(request: fastapi.Request):  # type: ignore[name-defined]  # of require()
        try:
            content, kind = await service.infer(request)
            response = fastapi.Response(content, media_type=kind)
        except Refused as refused:
            response = _refusal(str(refused), refused.status, refused.headers)
        except requests.ClientDisconnect:
            response = fastapi.Response(status_code=GONE)  # which nobody reads
        except Exception:
            service.metrics.requests.labels(500).inc()
            raise
        service.metrics.requests.labels(response.status_code).inc()
        return response

    return app


def _refusal(sentence: str, status: int, headers: Mapping[str, str] | None = None) -> Any:
    text = json.dumps({"error": sentence})
    return fastapi.Response(text, status, dict(headers or {}), JSON)


def accepted(header: str | None) -> str | None:
    """The format that an Accept header prefers of those that there are; None without one."""
    found: list[tuple[float, str]] = []
    for part in (header or "*/*").split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        weights = [p.removeprefix("q=") for p in parameters if p.startswith("q=")]
        try:
            weight = float(weights[0]) if weights else 1.0
        except ValueError:
            weight = 0.0
        if kind in FORMATS and weight > 0:
            found.append((weight, FORMATS[kind]))
    return max(found, key=lambda one: one[0])[1] if found else None


def as_json(outputs: Mapping[str, Tensor], images: int) -> tuple[bytes, str]:
    """Numbers are written so that float32 comes back as it was; JSON has no NaN and no Inf."""
    values = {
        name: {"shape": list(output.shape), "values": _values(output)}
        for name, output in outputs.items()
    }
    return json.dumps({"images": images, "outputs": values}, allow_nan=False).encode(), JSON


def _values(output: Tensor) -> Any:
    if output.isfinite().all():
        return output.tolist()
    numbers = output.double().cpu().numpy().astype(object)
    numbers[~np.isfinite(numbers.astype(float))] = None
    return numbers.tolist()


def as_npy(output: Tensor) -> tuple[bytes, str]:
    """A .npy file; what NumPy has no type for becomes float32."""
    file = io.BytesIO()
    array = output.float() if output.dtype == torch.bfloat16 else output
    np.save(file, array.cpu().numpy(), allow_pickle=False)
    return file.getvalue(), NPY


def serve(
    parts: Split,
    host: str,
    port: int,
    options: ServeOptions | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests that are there then are answered first.

    port: 0 for a free one. ready: is told the URL when requests are taken. Raises OSError where the
    address cannot be had.
    """
    app = application(parts, options)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once only on sockets that say TCP, as those of create_server do not; others
    # wait 40 ms between the head of an answer and its body.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        # uvicorn stops at SIGTERM and then raises it again, for who was there before: nobody.
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            if ready is not None:
                name = f"[{host}]" if ":" in host else host
                ready(f"http://{name}:{listening.getsockname()[1]}")
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            signal.signal(signal.SIGTERM, before)
