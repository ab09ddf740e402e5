"""What only a GPU shows: streams, graphs, other devices, wrong values, both sides' streams."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_ops_library import outcome, registered
from test_ops_samples import CLOSE, SAMPLES
from torch.utils._pytree import tree_leaves, tree_map_only

import fmtc
from fmtc import ops
from fmtc.cli.demo import digits_data, digits_model
from fmtc.codec.coders import coders
from fmtc.ops.devices import copied_to

pytestmark = pytest.mark.cuda

# They wait for the device, so a graph cannot hold them.
WAITING = {"pca", "huffman_lengths", "huffman_tables", "rans_frequencies", "rans_tables"}
WAITING |= {"apack_frequencies"}


def on(device, args):
    return tree_map_only(torch.Tensor, lambda x: x.to(device), args)


def assert_as_on_the_cpu(name, args, results):
    expected = outcome(name, args, registered(name))
    for result, of_cpu in zip(results, expected, strict=True):
        tolerance = 1e-11 if name in CLOSE else 0
        torch.testing.assert_close(result.cpu(), of_cpu, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("name, args", SAMPLES)
def test_another_stream(name, args):
    """The inputs are written on it only after a while: work on any other stream would be early."""
    values = on("cuda", args)
    inputs = tree_map_only(torch.Tensor, torch.zeros_like, values)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(10_000_000)
        for to, value in zip(tree_leaves(inputs), tree_leaves(values), strict=True):
            if isinstance(to, torch.Tensor):
                to.copy_(value)
        assert_as_on_the_cpu(name, args, outcome(name, inputs))


@pytest.mark.parametrize("name, args", [s for s in SAMPLES if s[0] not in WAITING])
def test_a_graph_holds_all_the_work(name, args):
    """Capturing fails where an operator waits for the device."""
    inputs = on("cuda", args)
    outcome(name, inputs)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = outcome(name, inputs)
    for _ in range(2):
        for result in results:
            result.zero_()
        graph.replay()
        assert_as_on_the_cpu(name, args, results)


@pytest.mark.parametrize("name, args", SAMPLES)
def test_the_same_every_time(name, args):
    inputs = on("cuda", args)
    first, second = (outcome(name, inputs) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name, args", SAMPLES)
def test_another_device(name, args):
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one CUDA device only")
    results = outcome(name, on("cuda:1", args))
    assert all(result.device == torch.device("cuda:1") for result in results)
    assert_as_on_the_cpu(name, args, results)


def test_all_arguments_must_be_on_one_device():
    levels, groups = torch.zeros(1, 2, 3, 3, dtype=torch.int16).cuda(), torch.zeros(2).long()
    with pytest.raises(RuntimeError, match="histogram: groups must be on the device of the first"):
        ops.histogram(levels, 0, 1, groups, 1)


# -- Streams and networks --------------------------------------------------------------------------


def case(coder, images=3, device="cpu", size=40):
    """Tables of a coder, and levels [images, 16, size, size]."""
    generator = torch.Generator().manual_seed(1)
    levels = (torch.randn(images, 16, size, size, generator=generator) * 3).round()
    levels = levels.clamp(-31, 31).to(torch.int16)
    groups = torch.arange(16) % 4
    coder = coders[coder](-31, ops.histogram(levels, -31, 31, groups, 4), groups)
    return coder.to(device), levels.to(device)


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
