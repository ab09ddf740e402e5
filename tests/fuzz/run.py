"""Run all fuzz targets of a build for some time in total, each from golden and conformance files.

``python tests/fuzz/run.py build/fuzz --seconds 60 [--corpus DIR] [TARGET ...]``. Prints executions
and covered edges; where a target fails, its message, and the file with the input that it can be
called with again. With --corpus a run goes on from the inputs that earlier ones found.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "data" / "golden"
CONFORMANCE = TESTS / "data" / "conformance"
sys.path.insert(0, str(TESTS))
import stream_decoder  # noqa: E402
from stream_decoder import DCT_CM, EBPC, HUFFMAN, RANS  # noqa: E402

CHUNK_TARGETS = {
    HUFFMAN: "huffman_chunk",
    RANS: "rans_chunk",
    EBPC: "ebpc_chunk",
    DCT_CM: "dct_cm_chunk",
}
LARGE_TARGETS = {HUFFMAN: "huffman_large", RANS: "rans_large"}
FILE_TARGETS = {"npy": "npy", "safetensors": "safetensors", "codec": "codec", "image": "image"}
TARGETS = (
    "bundle", "stream", *CHUNK_TARGETS.values(), *LARGE_TARGETS.values(), "tables", "counts",
    "round_trip", "stream_file", *FILE_TARGETS, "zip", "csv",
)  # fmt: skip
# Of an input; 512 for those that are not here.
MAX_BYTES = {
    "huffman_large": 1 << 16, "rans_large": 1 << 16, "npy": 1 << 12, "safetensors": 1 << 12,
    "codec": 1 << 14, "image": 1 << 12, "stream_file": 1 << 11, "zip": 1 << 11,
}  # fmt: skip
WORDS = TESTS / "fuzz"  # NAME.dict holds what a target's inputs are made of


def codec_bytes(codec: dict) -> bytes:
    """A codec as FuzzCodec of input.h reads it."""
    tables = codec.get("lengths") or [row[:-1] for row in codec.get("frequencies", [[0, 0]])]
    bits = 0
    if codec["coder"] == RANS:
        bits = sum(codec["frequencies"][0]).bit_length() - 9
    if "word_bits" in codec:
        bits = codec["word_bits"] - 1
    head = struct.pack("<BhBB", bits, codec["lo"], len(tables) - 1, len(tables[0]) - 1)
    if "word_bits" in codec:
        return head
    number = "B" if codec["coder"] == HUFFMAN else "H"
    return head + b"".join(struct.pack(f"<{len(row)}{number}", *row) for row in tables)


def chunk_seed(codec: dict, stream: bytes) -> bytes:
    """The first chunk of a good stream, as chunk_fuzzer.cpp reads it."""
    header = stream_decoder.read_header(stream)
    begin, end, _ = header.payloads[0]
    plane = min(header.shape[1] * header.shape[2], 256)
    lanes, values = header.lanes.bit_length() - 1, min(header.values_of(0), 65535)
    fields = struct.pack("<BBHBB", lanes, 0, values, plane - 1, 0)
    return codec_bytes(codec) + fields + stream[begin:end]


def table_seeds(codec: dict):
    """Targets and seeds, as tables_fuzzer.cpp and counts_fuzzer.cpp read them."""
    for lengths in codec.get("lengths", []):
        yield "tables", bytes([0, *lengths])
        yield "counts", bytes([15, 4, 1, *lengths])
    for row in codec.get("frequencies", []):
        head = bytes([1, sum(row).bit_length() - 8, 0, 0])
        yield "tables", head + struct.pack(f"<{len(row)}i", *row)


def zip_seeds():
    """Archives of an array each, and of two, as numpy.savez and savez_compressed write them."""
    arrays = sorted((CONFORMANCE / "npy").glob("*.npy"))
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        for first, second in zip(arrays, arrays[1:], strict=False):
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w", packing) as archive:
                archive.write(first, "images.npy")
                archive.write(second, "labels.npy")
            yield f"{first.stem}.{packing}", file.getvalue()


CSV_SEEDS = (
    b"file,label\na.png,3\n", b'"file","label"\r\n"a ""b"".png",0\r\n\r\n',
    b"\xef\xbb\xbfa;b\rc,,\r", b'"a\nb","\r\n"\n""\n,\n', b'"open',
)  # fmt: skip


def write_seeds(folder: Path) -> None:
    """A folder of seeds for each target."""
    index = json.loads((GOLDEN / "golden.json").read_text())
    for target in TARGETS:
        (folder / target).mkdir(parents=True, exist_ok=True)

    def write(target: str, name: str, seed: bytes) -> None:
        if len(seed) <= MAX_BYTES.get(target, 512):
            (folder / target / name).write_bytes(seed)

    for bundle in GOLDEN.glob("*.bundle"):
        write("bundle", bundle.stem, bundle.read_bytes())
        write("stream_file", bundle.stem, bundle.read_bytes())
    for name, seed in zip_seeds():
        write("zip", name, seed)
    for i, seed in enumerate(CSV_SEEDS):
        write("csv", str(i), seed)
    for kind, target in FILE_TARGETS.items():
        for file in (CONFORMANCE / kind).iterdir():
            write(target, file.name, file.read_bytes())
    for kind in ("valid", "malformed"):
        for name, entry in index[kind].items():
            codec = index["valid"][entry.get("of", name)]["codec"]
            stream = (GOLDEN / f"{name}.stream").read_bytes()
            prefix = bytes([codec["coder"] - 1]) + codec_bytes(codec)
            write("stream", name, prefix + stream)
            write("stream_file", name, stream)
            if kind == "malformed":
                continue
            write("round_trip", name, prefix + bytes([2, 9, 11, 0, 1, 0, 0, 0, 3, 2]) + stream)
            if stream_decoder.read_header(stream).payloads:
                seed = chunk_seed(codec, stream)
                write(CHUNK_TARGETS[codec["coder"]], name, seed)
                if codec["coder"] in LARGE_TARGETS:
                    write(LARGE_TARGETS[codec["coder"]], name, seed)
            for i, (target, seed) in enumerate(table_seeds(codec)):
                write(target, f"{name}.{i}", seed)


def run(build: Path, target: str, seconds: int, corpus: Path) -> int:
    """Executions of a target; exits where it finds something."""
    seeds = len(list(corpus.iterdir()))
    command = [
        str(build / "tests" / "fuzz" / f"{target}_fuzzer"),
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES.get(target, 512)}",
        f"-artifact_prefix={build}/{target}-",
        "-print_final_stats=1",
        "-print_funcs=0",
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-malloc_limit_mb=256",
        str(corpus),
    ]
    if (words := WORDS / f"{target}.dict").exists():
        command.insert(1, f"-dict={words}")
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode != 0:
        print("\n".join(made.stderr.splitlines()[-60:]), file=sys.stderr)
        sys.exit(f"{target}_fuzzer found something; its input is in {build}")
    executions = int(re.search(r"number_of_executed_units: (\d+)", made.stderr)[1])
    coverage = re.findall(r"cov: (\d+)", made.stderr)[-1]
    rate = executions // max(seconds, 1)
    print(f"{target:14} {executions:12,} {rate:10,}/s {seeds:6} {coverage:>9}", flush=True)
    return executions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path, help="a build with FMTC_BUILD_FUZZERS")
    parser.add_argument("--seconds", type=int, default=60, help="of all targets together")
    parser.add_argument("--corpus", type=Path, help="a folder to keep and to go on from")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    args = parser.parse_intermixed_args()
    build = args.build.resolve()
    chosen = [target for target in args.targets or TARGETS if is_built(build, target)]
    with tempfile.TemporaryDirectory() as folder:
        corpus = args.corpus or Path(folder)
        write_seeds(corpus)
        print(f"{'target':14} {'executions':>12} {'':>12} {'inputs':>6} {'edges':>9}")
        seconds = max(1, args.seconds // len(chosen))
        total = sum(run(build, target, seconds, corpus / target) for target in chosen)
    print(f"{'all':14} {total:12,} executions in {seconds * len(chosen)} s, nothing found")


def is_built(build: Path, target: str) -> bool:
    """Those of files need the programs' libraries; without, a line says that they are left out."""
    if (build / "tests" / "fuzz" / f"{target}_fuzzer").exists():
        return True
    if target not in (*FILE_TARGETS, "stream_file", "zip", "csv"):
        sys.exit(f"{target}_fuzzer was not built")
    print(f"{target:14} left out: it needs nlohmann_json, CLI11, zlib, libjpeg and libpng")
    return False


if __name__ == "__main__":
    main()
