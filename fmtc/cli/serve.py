"""`fmtc serve` and `fmtc send`: the two halves of a split network on two machines."""

from __future__ import annotations

import argparse
import csv
import io
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.datasets import Dataset, open_images
from ..data.models import load_model
from ..data.preprocess import parse_preprocess
from ..deploy.remote import RemoteTail
from ..deploy.split import Split, load_split
from ..errors import UsageError
from ..extras import require
from ..files import write_atomically
from ..network.fingerprint import fingerprint
from .command import say


def run_serve(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    for package in ("fastapi", "prometheus_client", "uvicorn"):
        require(package, "serve")
    from ..deploy.serve import ServeOptions, serve

    parts = _loaded(args)
    options = ServeOptions(
        max_body=args.max_body,
        max_images=args.max_images,
        workers=args.workers,
        waiting=args.waiting,
        seconds=args.seconds,
        sizes=tuple(args.sizes),
    )
    try:
        serve(parts, args.host, args.port, options, lambda url: say(f"fmtc serve: {url}"))
    except KeyboardInterrupt:  # the usual way to stop it
        pass
    say("fmtc serve: stopped")


def _loaded(args: argparse.Namespace) -> Split:
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    if not Path(args.parts).is_file():
        raise UsageError(f"no such file: {args.parts}; fmtc split writes it")
    model = load_model(args.model, args.weights, args.num_classes, args.seed)
    return load_split(args.parts, model)


@dataclass(frozen=True)
class Sent:
    """An image and what came back. share: of its best classes, none where outputs are none."""

    file: str
    bytes: int
    classes: list[int]
    shares: list[float]


def run_send(args: argparse.Namespace) -> None:
    """Send images; UsageError where the service has another network."""
    require("httpx", "serve")
    dataset = open_images(args.images, parse_preprocess(args.preprocess))
    names = Path(args.labels).read_text().splitlines() if args.labels else []
    parts = _loaded(args)
    with closing(RemoteTail(args.url, args.seconds)) as tail:
        _check_same(parts, tail, args.url)
        sender = Sender(parts, tail, args.topk)
        for batch in _batches(dataset, args.batch):
            for sent in sender.send(*batch):
                print(_line(sent, names))
    for name in dataset.skipped:
        say(f"{name} skipped: it cannot be read as an image")
    if not sender.sent:
        raise UsageError("none of the images could be read")
    print(sender.summary())
    _write(args, sender, names, dataset.skipped)


def _batches(dataset: Dataset, batch: int) -> Iterator[tuple[list[str], Tensor]]:
    """Names and images; those that cannot be read are left out."""
    for start in range(0, len(dataset), batch):
        part = dataset.subset(range(start, min(start + batch, len(dataset))))
        for images, _ in part.batches(batch):
            yield [name for name in part.names if name not in part.skipped], images


def _check_same(parts: Split, tail: RemoteTail, url: str) -> None:
    """UsageError where a service has another network, before anything is computed."""
    served = tail.health()
    mine = {"network": fingerprint(parts.compressed.reference), "at": list(parts.at)}
    for key, what in (("network", "a network with other weights"), ("at", "another cut")):
        if served.get(key) != mine[key]:
            raise UsageError(f"{url} serves {what}: both sides need the same model and PARTS")


class Sender:
    """Sends images and keeps what became of them."""

    def __init__(self, parts: Split, tail: RemoteTail, topk: int):
        self.parts, self.tail, self.topk = parts, tail, topk
        self.sent: list[Sent] = []
        self.outputs: dict[str, list[Tensor]] = {}
        self.seconds = {"head": 0.0, "answer": 0.0}

    def send(self, names: Sequence[str], images: Tensor) -> list[Sent]:
        began = time.perf_counter()
        data = self.parts.head(images)
        made = time.perf_counter()
        own = self.parts.compressed.input_shape[1:]
        size = () if tuple(images.shape[2:]) == tuple(own) else tuple(images.shape[2:])
        outputs = self.tail(data, size)
        self.seconds["head"] += made - began
        self.seconds["answer"] += time.perf_counter() - made
        for name, output in outputs.items():
            self.outputs.setdefault(name, []).append(output)
        shares = _shares(outputs, len(images))
        k = 0 if shares is None else min(self.topk, shares.shape[1])
        best = torch.zeros(len(images), 0) if shares is None else shares
        values, classes = best.topk(k)
        sent = [
            Sent(name, len(data) // len(images), c.tolist(), v.tolist())
            for name, c, v in zip(names, classes, values, strict=True)
        ]
        self.sent += sent
        return sent

    def summary(self) -> str:
        images = len(self.sent)
        kib = sum(sent.bytes for sent in self.sent) / images / 1024
        head, answer = (1000 * of / images for of in self.seconds.values())
        return f"{images} images, {kib:.2f} KiB each, head {head:.1f} ms, answer {answer:.1f} ms"


def _shares(outputs: dict[str, Tensor], images: int) -> Tensor | None:
    """Of each class, of the first output that is a classifier's, [N, classes]."""
    for output in outputs.values():
        if output.dim() == 2 and output.shape[0] == images and output.shape[1] > 1:
            return output.softmax(1)
    return None


def _line(sent: Sent, names: Sequence[str]) -> str:
    told = [
        f"{c}{' ' + names[c] if c < len(names) else ''} {share:.4f}"
        for c, share in zip(sent.classes, sent.shares, strict=True)
    ]
    return f"{sent.file}: {', '.join(told) or f'{sent.bytes} bytes'}"


def _write(
    args: argparse.Namespace, sender: Sender, names: Sequence[str], skipped: Sequence[str]
) -> None:
    if args.json:
        write_atomically(args.json, json.dumps(_document(args, sender, skipped), indent=1).encode())
    if args.csv:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", "bytes", "rank", "class", "name", "share"])
        for sent in sender.sent:
            for rank, (c, share) in enumerate(zip(sent.classes, sent.shares, strict=True), 1):
                name = names[c] if c < len(names) else ""
                writer.writerow([sent.file, sent.bytes, rank, c, name, f"{share:.6f}"])
        write_atomically(args.csv, text.getvalue().encode())
    if args.npz:
        file = io.BytesIO()
        arrays: dict[str, Any] = {name: torch.cat(of) for name, of in sender.outputs.items()}
        np.savez(file, **arrays)
        write_atomically(args.npz, file.getvalue())


def _document(args: argparse.Namespace, sender: Sender, skipped: Sequence[str]) -> dict[str, Any]:
    return {
        "url": args.url,
        "parts": args.parts,
        "images": [
            {
                "file": sent.file,
                "bytes": sent.bytes,
                "top": [
                    {"class": c, "share": share}
                    for c, share in zip(sent.classes, sent.shares, strict=True)
                ],
            }
            for sent in sender.sent
        ],
        "skipped": list(skipped),
        "seconds": sender.seconds,
    }
