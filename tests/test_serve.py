"""`fmtc serve` and `fmtc send`: the two halves of a split network, with HTTP between them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import SERVED_NET, images
from PIL import Image

import fmtc
from fmtc.cli.main import main
from fmtc.data.models import load_model
from fmtc.data.preprocess import parse_preprocess

fastapi = pytest.importorskip("fastapi", reason="of the extra fmtc[serve]")
httpx = pytest.importorskip("httpx", reason="of the extra fmtc[serve]")
pytest.importorskip("uvicorn", reason="of the extra fmtc[serve]")
pytest.importorskip("prometheus_client", reason="of the extra fmtc[serve]")

from fastapi.testclient import TestClient  # noqa: E402

from fmtc.deploy.remote import RemoteError, RemoteTail  # noqa: E402
from fmtc.deploy.serve import (  # noqa: E402
    JSON,
    NPY,
    ServeOptions,
    accepted,
    application,
    as_json,
    as_npy,
)

ROOT = Path(__file__).resolve().parents[1]
PREPROCESS = "mean=0.5,std=0.25"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """net.py, what was split of it, and pictures, of which one is damaged."""
    folder = tmp_path_factory.mktemp("serve")
    (folder / "net.py").write_text(SERVED_NET)
    for name, at in (("make", "a"), ("make_two", "a")):
        model = load_model(f"{folder}/net.py:{name}")
        parts = fmtc.split(model, at, images(24, size=16), fmtc.Step(0.004))
        parts.save(folder / f"{name}.safetensors")
    (folder / "pictures").mkdir()
    pixels = (images(5, size=16, seed=9) * 40 + 128).clamp(0, 255).to(torch.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / "pictures" / f"{i}.png")
    (folder / "pictures" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    return folder


def load(folder: Path, name: str = "make") -> fmtc.Split:
    return fmtc.load_split(folder / f"{name}.safetensors", load_model(f"{folder}/net.py:{name}"))


@pytest.fixture(scope="module")
def parts(folder) -> fmtc.Split:
    return load(folder)


def client(parts: fmtc.Split, **options) -> TestClient:
    return TestClient(application(parts, ServeOptions(**options)))


@pytest.fixture(scope="module")
def here(parts):
    """A service in this process."""
    with client(parts) as here:
        yield here


def asked(here, data: bytes, **headers) -> httpx.Response:
    return here.post("/infer", content=data, headers=headers)


def sentence(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status and list(answer.json()) == ["error"], answer.text
    return answer.json()["error"]


def npy(answer: httpx.Response) -> torch.Tensor:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == NPY
    return torch.from_numpy(np.load(io.BytesIO(answer.content)))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_answers_are_those_of_the_tail(parts, here, count):
    data = parts.head(images(count, size=16, seed=count))
    expected = parts.tail(data)
    assert torch.equal(npy(asked(here, data, accept=NPY)), expected)
    answer = asked(here, data)
    assert answer.status_code == 200 and answer.headers["content-type"] == JSON
    [output] = answer.json()["outputs"].values()
    assert answer.json()["images"] == count and output["shape"] == [count, 10]
    assert torch.equal(torch.tensor(output["values"]).reshape(count, 10), expected)


def test_outputs_by_name(folder):
    parts = load(folder, "make_two")
    data = parts.head(images(2, size=16))
    expected = parts.tail(data)
    with client(parts) as here:
        made = asked(here, data).json()["outputs"]
        assert {name: of["shape"] for name, of in made.items()} == {
            "classes": [2, 10], "map": [2, 6, 8, 8]
        }  # fmt: skip
        assert "name one with ?output=" in sentence(asked(here, data, accept=NPY), 406)
        answer = here.post("/infer?output=map", content=data, headers={"accept": NPY})
        assert torch.equal(npy(answer), expected["map"])
        answer = here.post("/infer?output=other", content=data)
        assert "no output 'other'; there are: " in sentence(answer, 422)


@pytest.mark.parametrize(
    "header, expected",
    [
        (None, JSON), ("", JSON), ("*/*", JSON), ("application/x-npy", NPY), ("text/html", None),
        ("application/json;q=0.5, application/x-npy", NPY), ("text/html, */*;q=0.1", JSON),
        ("application/x-npy;q=0", None), ("Application/X-NPY; q=x, application/*", JSON),
    ],
)  # fmt: skip
def test_accepted(header, expected):
    assert accepted(header) == expected


def test_numbers_that_json_lacks():
    x = torch.tensor([[1.5, torch.nan], [torch.inf, 1 / 3]])
    made = json.loads(as_json({"y": x}, 2)[0])["outputs"]["y"]["values"]
    assert made[0] == [1.5, None] and made[1][0] is None
    assert np.float32(made[1][1]) == np.float32(1 / 3)
    assert np.array_equal(np.load(io.BytesIO(as_npy(x)[0])), x.numpy(), equal_nan=True)
    assert np.load(io.BytesIO(as_npy(x.bfloat16())[0])).dtype == np.float32


def test_damage_is_refused_wherever_it_is(parts, here):
    data = parts.head(images(2, size=16))
    for i in range(0, len(data), 11):
        for damaged in (data[:i], data[:i] + bytes([data[i] ^ 4]) + data[i + 1 :]):
            told = sentence(asked(here, damaged), 400)
            assert told.startswith("the bytes are damaged or no bundle of fmtc: ")
            assert told.endswith("; send them again")
    sentence(asked(here, data + b"\0"), 400)
    sentence(asked(here, b"GET / HTTP/1.1"), 400)
    assert torch.equal(npy(asked(here, data, accept=NPY)), parts.tail(data))


def test_foreign_bundles_are_refused(folder, parts, here):
    model = load_model(f"{folder}/net.py:make")
    finer = fmtc.split(model, "a", images(24, size=16), fmtc.Step(0.001))
    deeper = fmtc.split(model, "b", images(24, size=16), fmtc.Step(0.004))
    x = images(2, size=16)
    must = "; head and tail must load the same file of fmtc.split, and images be of the size"
    for data, why in (
        (finer.head(x), "stream of image 0"),
        (deeper.head(x), "the bundle holds b.0, and this tail takes a.0"),
        (parts.head(images(2, size=20)), "where the tail takes"),
        (bytes(fmtc.Bundle({"a.0": [b"no stream"]})), "stream of image 0"),
    ):
        told = sentence(asked(here, data), 422)
        assert why in told and must in told


def test_limits(parts):
    data = parts.head(images(3, size=16))
    with client(parts, max_images=2, max_body=len(data)) as here:
        assert "3 images, and 2 are taken at a time" in sentence(asked(here, data), 413)
        told = sentence(asked(here, data + b"\0"), 413)
        assert told.startswith(f"the body has more than {len(data)} bytes: send fewer images")
        assert sentence(asked(here, bytes(9 * len(data))), 413) == told
        assert asked(here, parts.head(images(2, size=16))).status_code == 200


def test_what_a_header_asks_for_is_not_allocated(parts, here, monkeypatch):
    """A right stream of a huge image is refused before it is decoded."""
    [codec] = parts.compressed.codecs.values()
    data = bytes(fmtc.Bundle({"a.0": codec.streams(torch.zeros(1, 8, 900, 900))}))
    monkeypatch.setattr(
        type(codec), "levels_of", lambda *_: pytest.fail("decoded what was too large")
    )
    assert "where the tail takes [8, 16, 16]" in sentence(asked(here, data), 422)


def test_other_sizes_where_they_are_served(parts, here):
    x = images(2, size=20)
    data = parts.head(x)
    answer = here.post("/infer?size=20x20", content=data)
    assert "'20x20' are not served, but those of 16x16" in sentence(answer, 422)
    with client(parts, sizes=((20, 20),)) as two:
        answer = two.post("/infer?size=20x20", content=data, headers={"accept": NPY})
        assert torch.equal(npy(answer), parts.tail(data, size=(20, 20)))
        own = two.post("/infer?size=16x16", content=parts.head(images(1, size=16)))
        assert own.status_code == 200


def test_a_full_service_says_when_to_come_again(parts, monkeypatch):
    """One request is computed and one waits; the third is sent away, and later taken."""
    data, entered, leave = parts.head(images(1, size=16)), threading.Semaphore(0), threading.Event()

    with client(parts, waiting=1) as here, ThreadPoolExecutor(2) as pool:
        tail = parts.tail

        def slow(*arguments, **options):
            entered.release()
            leave.wait(30)
            return tail(*arguments, **options)

        monkeypatch.setattr(parts, "tail", slow)
        first = [pool.submit(asked, here, data) for _ in range(2)]
        entered.acquire()
        while "fmtc_present_requests 2.0" not in here.get("/metrics").text:
            pass
        answer = asked(here, data)
        assert "2 requests are being worked on" in sentence(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
        leave.set()
        assert [one.result().status_code for one in first] == [200, 200]
        assert asked(here, data).status_code == 200


def test_many_at_once_get_their_own(parts, here):
    """Damaged requests between others change nothing, and each gets its own outputs."""
    bodies = [parts.head(images(1 + i % 2, size=16, seed=i)) for i in range(40)]
    expected = [parts.tail(data) for data in bodies]

    def ask(i: int) -> bool:
        if i % 4 == 0:
            return asked(here, bodies[i][: -1 - i]).status_code == 400
        return torch.equal(npy(asked(here, bodies[i], accept=NPY)), expected[i])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(len(bodies))))


def test_health_and_metrics(parts):
    data = parts.head(images(2, size=16))
    with client(parts) as here:
        health = here.get("/health").json()
        assert health["status"] == "ok" and health["at"] == ["a.0"]
        assert health["input_shape"] == [3, 16, 16] and health["limits"]["max_images"] == 64
        assert health["network"] == fmtc.fingerprint(parts.compressed.reference)
        asked(here, data), asked(here, data[1:]), asked(here, data, accept="image/png")
        text = here.get("/metrics").text
        for line in (
            'fmtc_requests_total{status="200"} 1.0', 'fmtc_requests_total{status="400"} 1.0',
            'fmtc_requests_total{status="406"} 1.0', "fmtc_images_total 2.0",
            "fmtc_tail_seconds_count 1.0", "fmtc_present_requests 0.0",
            f"fmtc_received_bytes_total {2 * len(data) - 1:.1f}",
        ):  # fmt: skip
            assert f"\n{line}\n" in text
        assert "POST /infer" in sentence(here.get("/infer"), 405)
        assert "GET /health" in sentence(here.get("/nothing"), 404)


def test_what_fails_within_is_said_in_the_log_alone(parts, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("a secret")

    data = parts.head(images(1, size=16))
    for raises in (False, True):  # what the server puts into its log
        with monkeypatch.context() as patched:
            service = application(parts, ServeOptions())
            patched.setattr(parts, "tail", fails)
            with TestClient(service, raise_server_exceptions=raises) as here:
                if raises:
                    with pytest.raises(RuntimeError, match="a secret"):
                        asked(here, data)
                else:
                    answer = sentence(asked(here, data), 500)
                    assert answer == "the service failed; its log says why"


@pytest.fixture(scope="module")
def server(folder):
    """`fmtc serve` as a process, and its URL."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
    }
    words = ["make.safetensors", "--model", "net.py:make", "--port", "0", "--seconds", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fmtc", "serve", *words, "--threads", "1"],
        cwd=folder, env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    line = process.stderr.readline()
    assert line.startswith("fmtc serve: http://127.0.0.1:"), line + process.stderr.read()
    yield process, line.split()[-1]
    process.kill()
    process.wait()


def test_send(folder, server, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "names.txt").write_text("\n".join(f"class {i}" for i in range(10)))
    words = [
        "send", "make.safetensors", "--model", "net.py:make", "--url", server[1], "--batch", "2",
        "--preprocess", PREPROCESS, "--topk", "3", "--labels", "names.txt", "pictures",
        "--json", "sent.json", "--csv", "sent.csv", "--npz", "sent.npz",
    ]  # fmt: skip
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "pictures/3.png skipped" in err
    parts, preprocess = load(folder), parse_preprocess(PREPROCESS)
    names = [f"pictures/{i}.png" for i in (0, 1, 2, 4)]
    x = [np.asarray(Image.open(name)).transpose(2, 0, 1).copy() for name in names]
    x = torch.stack([preprocess(torch.from_numpy(image)) for image in x])
    expected = torch.cat([parts.tail(parts.head(part)) for part in (x[:2], x[2:3], x[3:])])
    assert torch.equal(torch.from_numpy(np.load("sent.npz")["output"]), expected)
    classes = expected.topk(3).indices.tolist()
    result = json.loads((folder / "sent.json").read_text())
    assert [one["file"] for one in result["images"]] == names
    assert [[top["class"] for top in one["top"]] for one in result["images"]] == classes
    rows = list(csv.DictReader((folder / "sent.csv").open()))
    assert [int(row["class"]) for row in rows] == sum(classes, [])
    assert rows[0]["name"] == f"class {classes[0][0]}" and rows[1]["rank"] == "2"
    lines = out.splitlines()
    assert lines[0].startswith(f"{names[0]}: {classes[0][0]} class {classes[0][0]} 0.")
    assert re.fullmatch(r"4 images, [\d.]+ KiB each, head [\d.]+ ms, answer [\d.]+ ms", lines[-1])


@pytest.mark.parametrize(
    "words, message",
    [
        (["--url", "nothing"], "nothing: "),
        (["--url", "http://127.0.0.1:1"], "http://127.0.0.1:1: "),
        (["pictures/3.png"], "none of the images could be read"),
        (["nowhere"], "no such file or folder: nowhere"),
        (["--model", "net.py:make_two"], "was made for another model"),
    ],
)
def test_send_says_what_is_wrong(folder, server, capsys, monkeypatch, words, message):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    last = {"--url": server[1], "--model": "net.py:make"}
    paths = [] if words[0].startswith("--") else words
    if not paths:
        last[words[0]] = words[1]
    given = [word for pair in last.items() for word in pair]
    assert main(["send", "make.safetensors", *given, *(paths or ["pictures"])]) == 2
    error = capsys.readouterr().err
    last_line = error.splitlines()[-1]
    assert last_line.startswith("fmtc: error: ") and re.search(message, last_line)


def test_remote_tail(parts, server):
    tail, data = RemoteTail(server[1]), parts.head(images(3, size=16))
    assert torch.equal(tail(data)["output"], parts.tail(data))
    with pytest.raises(RemoteError, match=r"damaged or no bundle.*\(400\)") as caught:
        tail(data[:-1])
    assert caught.value.status == 400
    with pytest.raises(RemoteError, match=r"'9x9' are not served.*\(422\)"):
        tail(data, size=(9, 9))


@pytest.mark.parametrize(
    "status, body, message",
    [
        (200, b"hello", "this is no answer of fmtc"),
        (200, b"[1]", "this is no answer of fmtc"),
        (404, b"", "this is no answer of fmtc"),
        (500, b'{"error": "its log says why"}', r"its log says why \(500\)"),
        (200, b"{}", "holds no outputs"),
        (200, b'{"outputs": {"y": {"shape": [3], "values": [1, "x", 2]}}}', "holds no outputs"),
        (200, b'{"outputs": {"y": {"shape": [3], "values": [1, 2]}}}', "holds no outputs"),
        (200, b"x" * 2000, "more than 1000 bytes"),
    ],
)
def test_answers_that_are_none(monkeypatch, status, body, message):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

    monkeypatch.setattr("fmtc.deploy.remote.MOST_ANSWER", 1000)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(RemoteError, match=message):
            RemoteTail(f"http://127.0.0.1:{server.server_port}")(b"data")
        server.shutdown()


def test_a_body_that_does_not_arrive(server):
    import socket

    host, port = server[1].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as slow:
        slow.sendall(b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        answer = b""
        while b"send it again" not in answer:
            part = slow.recv(4096)
            assert part, answer
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_stops_when_told(folder, parts, server):
    """Last of this file: what is there is answered, and the exit is a clean one."""
    process, url = server
    data = parts.head(images(8, size=16))
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(httpx.post, f"{url}/infer", content=data) for _ in range(4)]
        assert all(answer.result().status_code == 200 for answer in answers)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert process.stderr.read().splitlines() == ["fmtc serve: stopped"]


@pytest.mark.parametrize("cores, workers", [(1, 1), (3, 3), (64, 8)])
def test_a_worker_of_one_thread_for_each_core(folder, monkeypatch, cores, workers):
    served = []

    def serve(parts, host, port, options, ready):
        served.append((options.workers, torch.get_num_threads()))

    monkeypatch.chdir(folder)
    monkeypatch.setattr("fmtc.deploy.serve.serve", serve)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    threads = torch.get_num_threads()
    try:
        words = ["serve", "make.safetensors", "--model", "net.py:make"]
        assert main(words) == 0 and main([*words, "--workers", "2", "--threads", "3"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert served == [(workers, 1), (2, 3)]


def test_addresses_that_cannot_be_had(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["serve", "make.safetensors", "--model", "net.py:make", "--port", "0"]
    assert main([*words, "--host", "192.0.2.1"]) == 2
    assert main(["serve", "nothing.safetensors", "--model", "net.py:make"]) == 2
    error = capsys.readouterr().err
    assert "annot assign requested address" in error and "fmtc split writes it" in error
