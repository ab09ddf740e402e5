"""`fmtc serve` beside the same tail called in a loop, with damaged requests between the others.

    python -m experiments.bench.serve --model mobilenet_v2 --weights FILE --data IMAGES \
        --at features.10 --requests 10000 --damaged 0.05 --out build/serve.json

The network is split at a step, 32 images become as many bundles, and 1 in 20 bodies is cut or has a
bit flipped. The server is a process of its own; --clients keep a connection each and send the next
request when the last is answered. Loop and server take turns, --rounds each, so that what else the
machine does falls on both. A right body must give its own outputs, bit for bit, a damaged one a
400; the server's memory is read between rounds. Exit code 1 where an answer is wrong.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch

import fmtc
from fmtc.data.datasets import open_dataset, split
from fmtc.data.models import load_model
from fmtc.files import write_atomically
from fmtc.targets import parse_targets

from .coders import machine, machine_line

BODIES = 32


@dataclass(frozen=True)
class Body:
    """A request; expected: the outputs, None where it is damaged."""

    data: bytes
    expected: np.ndarray | None


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write JSON; 1 where an answer was wrong."""
    args = _parser().parse_args(arguments)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory(prefix="fmtc-serve-") as folder:
        file = Path(folder) / "parts.safetensors"
        parts, images = prepared(args)
        parts.save(file)
        result = measure(args, parts, images, file)
    result |= {"machine": machine(), "command": " ".join(sys.argv[1:])}
    print(machine_line(result["machine"]))
    print(told(result))
    if args.out:
        write_atomically(args.out, json.dumps(result, indent=1).encode())
    return 1 if result["wrong"] else 0


def prepared(args: argparse.Namespace) -> tuple[fmtc.Split, torch.Tensor]:
    """The split network, and images that it was not calibrated with."""
    model = load_model(args.model, args.weights, args.num_classes)
    data = open_dataset(args.data, args.labels, preprocess=args.preprocess)
    calibration, test = (data.subset(part) for part in split(data, 32, BODIES, seed=0))
    [target] = parse_targets(args.target)
    parts = fmtc.split(model, args.at, calibration.tensor()[0], target)
    parts.compressed.statistics = False
    return parts, test.tensor()[0]


def bodies_of(parts: fmtc.Split, images: torch.Tensor) -> list[Body]:
    """Right ones: of one image each."""
    made = [parts.head(image[None]) for image in images]
    return [Body(data, parts.tail(data).numpy()) for data in made]


def damaged(body: Body, rng: random.Random) -> Body:
    """Cut, or with a bit flipped, anywhere."""
    data = bytearray(body.data)
    at = rng.randrange(len(data))
    if rng.random() < 0.5:
        return Body(bytes(data[:at]), None)
    data[at] ^= 1 << rng.randrange(8)
    return Body(bytes(data), None)


class Server:
    """`fmtc serve` as a process."""

    def __init__(self, args: argparse.Namespace, file: Path):
        words = [str(file), "--model", args.model, "--weights", args.weights or "none"]
        words += ["--port", "0", "--threads", str(args.threads), "--workers", str(args.workers)]
        if args.num_classes:
            words += ["--num-classes", str(args.num_classes)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fmtc", "serve", *words], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        if not line.startswith("fmtc serve: http://"):
            raise RuntimeError(line + self.process.stderr.read())
        url = urlsplit(line.split()[-1])
        self.host, self.port = str(url.hostname), int(url.port or 0)

    def memory(self) -> int:
        """Bytes that are resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]

    def processor(self) -> float:
        """Seconds of processors that it has had."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


class Client:
    """One connection, which asks and compares. outcomes: how often what became of a request."""

    def __init__(self, server: Server, bodies: list[Body]):
        self.connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        self.bodies, self.outcomes = bodies, Counter[str]()
        self.seconds: list[float] = []

    def run(self) -> Client:
        for body in self.bodies:
            began = time.perf_counter()
            status, content = self.ask(body.data)
            self.seconds.append(time.perf_counter() - began)
            self.outcomes[outcome(body, status, content)] += 1
        self.connection.close()
        return self

    def ask(self, data: bytes) -> tuple[int, bytes]:
        while True:
            headers = {"Accept": "application/x-npy"}
            self.connection.request("POST", "/infer", data, headers)
            answer = self.connection.getresponse()
            status, content = answer.status, answer.read()
            if status != 503:
                return status, content
            self.outcomes["told to come again"] += 1
            time.sleep(0.05)


def outcome(body: Body, status: int, content: bytes) -> str:
    if body.expected is None:
        return "refused" if status == 400 else "damaged, not refused"
    if status != 200:
        return "lost"
    same = np.array_equal(np.load(io.BytesIO(content)), body.expected)
    return "right" if same else "mixed up"


def measure(args: argparse.Namespace, parts: fmtc.Split, images: torch.Tensor, file: Path) -> dict:
    rng, right = random.Random(0), bodies_of(parts, images)
    server = Server(args, file)
    outcomes, latencies, rounds = Counter[str](), [], []
    try:
        for _ in range(args.rounds):
            count = args.requests // args.rounds
            bodies = [rng.choice(right) for _ in range(count)]
            bodies = [damaged(b, rng) if rng.random() < args.damaged else b for b in bodies]
            loop, loop_took = loop_rate(
                parts, [rng.choice(right).data for _ in range(args.loop // args.rounds)]
            )
            shares = [bodies[i :: args.clients] for i in range(args.clients)]
            began, before = time.perf_counter(), server.processor()
            with ThreadPoolExecutor(args.clients) as pool:
                clients = list(pool.map(lambda share: Client(server, share).run(), shares))
            seconds = time.perf_counter() - began
            answered = sum(client.outcomes["right"] for client in clients)
            for client in clients:
                outcomes += client.outcomes
                latencies += client.seconds
            memory, took = server.memory(), (server.processor() - before) / answered
            served = answered / seconds
            rounds.append({"loop": loop, "served": served, "memory": memory, "processor": took})
            rounds[-1]["loop_processor"] = loop_took
            print(f"loop {loop:.1f}/s, served {answered / seconds:.1f}/s, "
                  f"{memory / 2**20:.0f} MiB", file=sys.stderr)  # fmt: skip
        code = server.stop()
    finally:
        server.process.kill()
    wrong = sum(outcomes[what] for what in ("lost", "mixed up", "damaged, not refused"))
    return {
        "rounds": rounds,
        "ratio": statistics.median(r["served"] / r["loop"] for r in rounds),
        "outcomes": dict(outcomes),
        "bytes": statistics.mean(len(body.data) for body in right),
        "latency": {"median": statistics.median(latencies), "most": max(latencies)},
        "growth": rounds[-1]["memory"] - rounds[min(1, len(rounds) - 1)]["memory"],
        "exit": code,
        "wrong": wrong + (code != 0),
    }


def loop_rate(parts: fmtc.Split, bodies: list[bytes]) -> tuple[float, float]:
    """Images a second of the tail called in a loop, and seconds of processors for each."""
    began, before = time.perf_counter(), time.process_time()
    for data in bodies:
        parts.tail(data)
    took = time.process_time() - before
    return len(bodies) / (time.perf_counter() - began), took / len(bodies)


def told(result: dict) -> str:
    rounds, latency = result["rounds"], result["latency"]
    loop, served = (statistics.median(r[what] for r in rounds) for what in ("loop", "served"))
    alone, there = (
        1000 * statistics.median(r[what] for r in rounds)
        for what in ("loop_processor", "processor")
    )
    outcomes = ", ".join(f"{count} {what}" for what, count in sorted(result["outcomes"].items()))
    return (
        f"tail in a loop {loop:.1f} images/s, served {served:.1f}: {result['ratio']:.1%} "
        f"(medians of {len(rounds)} rounds); of processors {alone:.2f} ms an image in the loop, "
        f"{there:.2f} ms served\n"
        f"{outcomes}; {result['wrong']} wrong; an answer takes {1000 * latency['median']:.1f} ms "
        f"(most: {1000 * latency['most']:.0f})\n"
        f"memory {rounds[-1]['memory'] / 2**20:.0f} MiB, {result['growth'] / 2**20:+.1f} MiB since "
        f"the second round"
    )


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--weights", help="as for fmtc eval; default: none")
    parser.add_argument("--num-classes", type=int)
    parser.add_argument("--data", required=True)
    parser.add_argument("--labels")
    parser.add_argument("--preprocess")
    parser.add_argument("--at", default="features.10")
    parser.add_argument("--target", default="step=0.05")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--damaged", type=float, default=0.05, help="share of the requests")
    parser.add_argument("--loop", type=int, default=2000, help="calls in the loop, in all")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=3, help="requests at a time")
    parser.add_argument("--workers", type=int, default=2, help="of the server")
    parser.add_argument("--threads", type=int, default=1, help="of torch, also in the loop")
    parser.add_argument("--out", metavar="FILE", help="write JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
