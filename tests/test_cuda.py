"""What holds for CUDA alone; the operators' own tests run on CUDA tensors as well (conftest.py)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fmtc
from fmtc import ops
from fmtc.demo import digits_data, digits_model
from fmtc.devices import copied_to, move_tensors
from fmtc.entropy_coding import Tables

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    if not ops.build_info()["cuda"]:
        pytest.skip("fmtc was built without its CUDA operators")


def case(coder, images=3, device="cpu", size=40):
    """Tables of a coder, and levels [images, 16, size, size]."""
    generator = torch.Generator().manual_seed(1)
    levels = (torch.randn(images, 16, size, size, generator=generator) * 3).round()
    levels = levels.clamp(-31, 31).to(torch.int16)
    groups = torch.arange(16) % 4
    tables = Tables(-31, ops.histogram(levels, -31, 31, groups, 4), groups, coder)
    move_tensors(tables, torch.device(device))
    return tables, levels.to(device)


CODERS = ("rans", "huffman", "ebpc", "dct-cm")


@pytest.mark.parametrize("coder", CODERS)
def test_a_stream_made_on_one_decodes_on_the_other(coder):
    here, levels = case(coder)
    there, levels_there = case(coder, device="cuda")
    data, used = here.encode(levels)
    data_there, used_there = there.encode(levels_there)
    assert torch.equal(data_there.cpu(), data) and torch.equal(used_there.cpu(), used)
    assert torch.equal(there.decode(data.cuda(), used.cuda(), 40, 40).cpu(), levels)
    assert torch.equal(here.decode(data_there.cpu(), used_there.cpu(), 40, 40), levels)


@pytest.mark.parametrize("coder", CODERS)
def test_work_is_done_on_the_current_stream(coder):
    tables, levels = case(coder, device="cuda", size=200)
    expected = tables.encode(levels)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)  # what the operators read is only there after that
        late = levels.clone()
        data, used = tables.encode(late)
        decoded, status = tables.decode_unchecked(data, used, 200, 200)
    stream.synchronize()
    assert torch.equal(data, expected[0]) and torch.equal(used, expected[1])
    assert torch.equal(decoded, levels) and not status.any()


@pytest.mark.parametrize("coder", CODERS)
def test_graphs_are_captured_and_replayed(coder):
    tables, levels = case(coder, device="cuda")
    x = levels.float()
    static = torch.zeros_like(x)

    def line():
        quantized, _ = ops.quantize(static, 1.0, -31, 31)
        data, used = tables.encode(quantized)
        planes, status = tables.decode_unchecked(data, used, 40, 40)
        return ops.dequantize(planes, 1.0), used, status

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        line()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y, used, status = line()
    for image in (x, -x, x.flip(0)):
        static.copy_(image)
        graph.replay()
        assert torch.equal(y, image) and not status.any()
        assert torch.equal(used, tables.encode(image.to(torch.int16))[1])


def test_operators_do_not_wait_for_the_device():
    tables, levels = case("rans", device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        quantized, _ = ops.quantize(levels.half(), 0.5, -31, 31)
        data, used = tables.encode(quantized)
        ops.dequantize(tables.decode_unchecked(data, used, 40, 40)[0], 0.5)
        ops.histogram(quantized, -31, 31, tables.table_of, 4)
        ops.channel_moments(levels.float())
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("coder", CODERS)
def test_damaged_streams_leave_the_device_usable(coder):
    tables, levels = case(coder, images=64, device="cuda")
    data, used = tables.encode(levels)
    generator = torch.Generator("cuda").manual_seed(0)
    for _ in range(20):
        damaged = data.clone()
        at = (torch.rand(len(used), generator=generator, device="cuda") * used).long()
        damaged[torch.arange(len(used), device="cuda"), at] ^= 0x55
        decoded, status = tables.decode_unchecked(damaged, used, 40, 40)
        assert bool(status.all()) and not decoded.any()
    random = torch.randint(0, 256, data.shape, dtype=torch.uint8, device="cuda")
    assert bool(tables.decode_unchecked(random, used, 40, 40)[1].all())
    assert torch.equal(tables.decode(data, used, 40, 40), levels)


def test_the_second_device():
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one CUDA device")
    tables, levels = case("rans", device="cuda:1")
    assert torch.cuda.current_device() == 0
    data, used = tables.encode(levels)
    assert data.device == torch.device("cuda:1")
    assert torch.equal(tables.decode(data, used, 40, 40), levels)


def test_a_network_runs_on_the_device():
    images = digits_data().train_images
    compressed = fmtc.compress(digits_model(), images[:64], target=fmtc.Step(0.001))
    there = copied_to(compressed, "cuda")
    expected, output = compressed(images[:16]), there(images[:16].cuda())
    assert output.device.type == "cuda"
    assert torch.equal(output.cpu().argmax(1), expected.argmax(1))
    rate = there.report().bits_per_value["stream"]
    assert rate == pytest.approx(compressed.report().bits_per_value["stream"], rel=0.01)
    there.mode = "simulate"
    assert torch.equal(there(images[:16].cuda()), output)


@pytest.mark.slow
def test_compute_sanitizer_finds_nothing():
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(sanitizer).exists():
        pytest.skip("compute-sanitizer of the CUDA toolkit is not there")
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_cuda import CODERS, case
for coder in CODERS:
    tables, levels = case(coder, images=2, device="cuda")
    data, used = tables.encode(levels)
    assert tables.decode(data, used, 40, 40).equal(levels)
    data[:, 20] ^= 1
    tables.decode_unchecked(data, used, 40, 40)
"""
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    for tool in ("memcheck", "racecheck"):
        command = [
            sanitizer,
            "--tool",
            tool,
            "--error-exitcode",
            "9",
            sys.executable,
            "-c",
            program,
        ]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
