"""fmtc_infer --head and --tail beside Python: the same bytes and outputs in all pairings."""

from __future__ import annotations

import http.client
import io
import json
import math
import os
import signal
import socket
import subprocess
import threading
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
from fmtc.network.outputs import named_outputs

PREPROCESS = "mean=0.5,std=0.25"


@pytest.fixture(scope="module")
def program(build_tree) -> Path:
    path = build_tree / "csrc" / "infer" / "fmtc_infer"
    if not path.exists():
        pytest.skip("fmtc_infer was not built: `make build-programs`")
    for option, library in (("--head x --send x y", "libcurl"), ("--tail x --listen 0", "httplib")):
        done = subprocess.run([path, *option.split()], capture_output=True, text=True)
        if "was built without" in done.stderr:
            pytest.skip(f"fmtc_infer was built without {library}")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A network split where two tensors cross, its packages, and pictures."""
    folder = tmp_path_factory.mktemp("split")
    (folder / "net.py").write_text(SERVED_NET)
    model = load_model(f"{folder}/net.py:make_forked")
    parts = fmtc.split(model, ["a", "b"], images(24, size=16), fmtc.Step(0.004))
    parts.save(folder / "parts.safetensors")
    fmtc.export(parts, folder, images(2, size=16), preprocess=PREPROCESS)
    (folder / "pictures").mkdir()
    pixels = (images(5, size=16, seed=9) * 40 + 128).clamp(0, 255).to(torch.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / "pictures" / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def parts(folder) -> fmtc.Split:
    return fmtc.load_split(folder / "parts.safetensors", load_model(f"{folder}/net.py:make_forked"))


@pytest.fixture(scope="module")
def x(folder) -> torch.Tensor:
    """The pictures as inputs."""
    preprocess = parse_preprocess(PREPROCESS)
    files = sorted((folder / "pictures").iterdir())
    pixels = [np.asarray(Image.open(file)).transpose(2, 0, 1).copy() for file in files]
    return torch.stack([preprocess(torch.from_numpy(image)) for image in pixels])


class Recorder:
    """A service in Python that keeps what it was sent, and says first that it has no place."""

    def __init__(self, parts: fmtc.Split):
        self.bodies: list[bytes] = []
        self.refused = 0
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                network = fmtc.fingerprint(parts.compressed.reference)
                self.answer(200, {"network": network, "at": list(parts.at)})

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if not recorder.refused:
                    recorder.refused += 1
                    self.answer(503, {"error": "later"})
                    return
                recorder.bodies.append(body)
                outputs = {
                    name: {"shape": list(of.shape), "values": of.tolist()}
                    for name, of in named_outputs(parts.tail(body)).items()
                }
                self.answer(200, {"outputs": outputs})

            def answer(self, status: int, document: dict):
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def run(program: Path, *words, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [program, *map(str, words), "--threads", "1"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def url(program, folder):
    """The tail in C++, as a service."""
    process = subprocess.Popen(
        [program, "--tail", folder / "tail.pt2", "--listen", "0", "--threads", "1",
         "--max-images", "4", "--max-body", "20000"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    line = process.stderr.readline()
    assert line.startswith("fmtc_infer: http://127.0.0.1:"), line + process.stderr.read()
    yield line.split()[-1]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert process.stderr.read() == "fmtc_infer: stopped\n"


def ask(url: str, data: bytes, path: str = "/infer", **headers) -> tuple[int, dict, bytes]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request("POST", path, data, headers)
    answer = connection.getresponse()
    made = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return made


def tops(document: dict) -> list[list[int]]:
    return [[top["class"] for top in image["top"]] for image in document["images"]]


def test_head_in_cpp_tail_in_python(program, folder, parts, x, tmp_path):
    """The bytes are those of Python's head, also after the service had no place."""
    service = Recorder(parts)
    done = run(
        program, "--head", folder / "head.pt2", "--send", service.url, folder / "pictures",
        "--batch", 2, "--topk", 3, "--json", tmp_path / "sent.json",
    )  # fmt: skip
    expected = [parts.head(part) for part in x.split(2)]
    assert service.refused == 1 and service.bodies == expected
    classes = torch.cat([parts.tail(data)["classes"] for data in expected])
    document = json.loads((tmp_path / "sent.json").read_text())
    assert tops(document) == classes.topk(3).indices.tolist()
    shares = [top["share"] for image in document["images"] for top in image["top"]]
    wanted = classes.softmax(1).topk(3).values.flatten().tolist()
    assert all(math.isclose(a, b, rel_tol=1e-5) for a, b in zip(shares, wanted, strict=True))
    assert "5 images, " in done.stdout.splitlines()[-1]
    service.server.shutdown()


def test_head_in_python_tail_in_cpp(url, folder, parts, x, monkeypatch, capsys, tmp_path):
    pytest.importorskip("httpx", reason="of the extra fmtc[serve]")
    monkeypatch.chdir(folder)
    words = [
        "send", "parts.safetensors", "--model", "net.py:make_forked", "--url", url, "pictures",
        "--preprocess", PREPROCESS, "--batch", "2", "--npz", str(tmp_path / "sent.npz"),
    ]  # fmt: skip
    assert main(words) == 0, capsys.readouterr().err
    made = np.load(tmp_path / "sent.npz")
    expected = [parts.tail(parts.head(part)) for part in x.split(2)]
    for name in ("classes", "map"):
        whole = torch.cat([output[name] for output in expected])
        assert torch.allclose(torch.from_numpy(made[name]), whole, rtol=1e-5, atol=1e-5)


def test_both_in_cpp(program, url, folder, parts, x, tmp_path):
    run(program, "--head", folder / "head.pt2", "--send", url, folder / "pictures",
        "--topk", 3, "--json", tmp_path / "sent.json")  # fmt: skip
    expected = torch.cat([parts.tail(parts.head(one[None]))["classes"] for one in x])
    document = json.loads((tmp_path / "sent.json").read_text())
    assert tops(document) == expected.topk(3).indices.tolist()
    assert [one["bytes"] for one in document["images"]] == [len(parts.head(one[None])) for one in x]


def test_the_service_in_cpp_answers_as_that_in_python(url, parts, x):
    data, npy = parts.head(x[:3]), {"Accept": "application/x-npy"}
    expected = parts.tail(data)
    for name in ("classes", "map"):
        status, headers, content = ask(url, data, f"/infer?output={name}", **npy)
        assert status == 200 and headers["Content-Type"] == npy["Accept"]
        made = torch.from_numpy(np.load(io.BytesIO(content)))
        assert torch.allclose(made, expected[name], rtol=1e-5, atol=1e-5)
        status, _, content = ask(url, data, f"/infer?output={name}")
        output = json.loads(content)["outputs"][name]
        assert output["shape"] == list(made.shape)
        assert torch.equal(torch.tensor(output["values"]), made)
    status, _, content = ask(url, parts.head(x[:0]))
    assert status == 200 and json.loads(content)["outputs"]["classes"]["shape"] == [0, 10]
    cases = [
        (data, "/infer", npy, 406, "name one with ?output="),
        (data, "/infer", {"Accept": "image/png"}, 406, "the answer can be application/json"),
        (data, "/infer?output=x", {}, 422, "no output 'x'; there are: "),
        (data, "/infer?size=9x9", {}, 422, "images of size '9x9' are not served"),
        (parts.head(x), "/infer", {}, 413, "5 images, and 4 are taken at a time"),
        (bytes(30_000), "/infer", {}, 413, "the body has more than 20000 bytes"),
        (data, "/other", {}, 404, "this is not served: POST /infer"),
    ]
    for body, path, headers, expected_status, sentence in cases:
        status, _, content = ask(url, body, path, **headers)
        assert status == expected_status and sentence in json.loads(content)["error"]


def test_the_service_in_cpp_refuses_damage_and_foreign_bundles(url, folder, parts, x):
    data = parts.head(x[:2])
    for i in range(0, len(data), 17):
        for damaged in (data[:i], data[:i] + bytes([data[i] ^ 8]) + data[i + 1 :]):
            status, _, content = ask(url, damaged)
            assert status == 400, (i, content)
            assert json.loads(content)["error"].endswith("; send them again")
    model = load_model(f"{folder}/net.py:make_forked")
    finer = fmtc.split(model, ["a", "b"], images(24, size=16), fmtc.Step(0.001))
    larger = parts.head(images(1, size=20))
    streams = fmtc.Bundle.of(data)
    other = bytes(fmtc.Bundle({"other": streams[parts.at[0]]}))
    longer = bytes(fmtc.Bundle({name: [bytes(10_000 if i else 9)] for i, name in
                                enumerate(parts.at)}))  # fmt: skip
    for foreign in (finer.head(x[:1]), larger, other, longer):
        status, _, content = ask(url, foreign)
        assert status == 422, content
        assert "head and tail must be of the same file" in json.loads(content)["error"]
    assert ask(url, data)[0] == 200


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "name a package and images; --help says more"),
        (["--head", "head.pt2", "pictures"], "--head and --send belong together"),
        (["--tail", "tail.pt2"], "--tail and --listen belong together"),
        (["--tail", "tail.pt2", "--listen", "0", "x"], "--tail takes no images"),
        (
            ["--tail", "head.pt2", "--listen", "0"],
            "head.pt2 is the head of a split network, not "
            "the tail of a split network: give it to fmtc_infer with --head",
        ),
        (
            ["--head", "tail.pt2", "--send", "http://127.0.0.1:1", "pictures"],
            "tail.pt2 is the tail of a split network, not the head",
        ),
        (["head.pt2", "pictures"], "head.pt2 is the head of a split network, not a compressed"),
        (["tail.pt2", "pictures"], "give it to fmtc_infer with --tail"),
        (["--head", "head.pt2", "--send", "http://127.0.0.1:1", "pictures"], "127.0.0.1:1: "),
        (["--head", "head.pt2", "--send", "file:///etc/passwd", "pictures"], "file:///etc/passwd"),
        (["m.pt2"], "name images, or folders of them, behind m.pt2"),
    ],
)
def test_what_the_program_says(program, folder, words, message):
    done = subprocess.run([program, *words], capture_output=True, text=True, cwd=folder, timeout=60)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("fmtc_infer: ") and message in last


def test_a_port_that_is_taken(program, folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(program, "--tail", folder / "tail.pt2", "--listen", port, code=2)
    assert "it is taken, or not of this machine" in done.stderr


def test_two_services_at_one_port(program, folder, url):
    port = url.rpartition(":")[2]
    done = run(program, "--tail", folder / "tail.pt2", "--listen", port, code=2)
    assert "it is taken, or not of this machine" in done.stderr


@pytest.mark.parametrize(
    "method, path, status",
    [("POST", "/infer", 400), ("POST", "/health", 404), ("PUT", "/infer", 404),
     ("DELETE", "/other", 404), ("PATCH", "/", 404), ("OPTIONS", "/infer", 404),
     ("GET", "/infer", 404), ("GET", "/health", 200)],
)  # fmt: skip
def test_requests_without_a_body_are_answered_at_once(method, path, status, url):
    """As those of an empty one, also several on a connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        for _ in range(2):
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            answer = http.client.HTTPResponse(connection, method=method)
            answer.begin()
            document = json.loads(answer.read())
            assert answer.status == status and ("error" in document) == (status != 200)
    if (method, path) == ("POST", "/infer"):
        assert document == json.loads(ask(url, b"")[2])


def test_export_of_a_split_network_takes_nothing_for_fmtc_eval(parts, tmp_path):
    with pytest.raises(ValueError, match="takes nothing that is for fmtc_eval"):
        fmtc.export(parts, tmp_path, images(2, size=16), statistics=True)
    with pytest.raises(ValueError, match="unknown step"):
        fmtc.export(parts, tmp_path, images(2, size=16), preprocess="turn=3")
    assert os.listdir(tmp_path) == []
