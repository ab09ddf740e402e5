"""What only a GPU shows of the operators: streams, graphs, other devices, wrong values."""

import pytest
import torch
from test_ops_library import registered
from test_ops_samples import CLOSE, ON_CPU, SAMPLES
from torch.utils._pytree import tree_leaves, tree_map_only

from fmtc import ops

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

# They wait for the device, so a graph cannot hold them.
WAITING = {"pca", "huffman_lengths", "huffman_tables", "rans_frequencies", "rans_tables"}
ON_GPU = [sample for sample in SAMPLES if sample[0] not in ON_CPU]


def on(device, args):
    return tree_map_only(torch.Tensor, lambda x: x.to(device), args)


def assert_as_on_the_cpu(name, args, results):
    expected = tree_leaves(registered(name)(*args))
    for result, of_cpu in zip(tree_leaves(results), expected, strict=True):
        tolerance = 1e-11 if name in CLOSE else 0
        torch.testing.assert_close(result.cpu(), of_cpu, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("name, args", ON_GPU)
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
        assert_as_on_the_cpu(name, args, getattr(ops, name)(*inputs))


@pytest.mark.parametrize("name, args", [s for s in ON_GPU if s[0] not in WAITING])
def test_a_graph_holds_all_the_work(name, args):
    """Capturing fails where an operator waits for the device."""
    operator, inputs = getattr(ops, name), on("cuda", args)
    operator(*inputs)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = operator(*inputs)
    for _ in range(2):
        for result in tree_leaves(results):
            result.zero_()
        graph.replay()
        assert_as_on_the_cpu(name, args, results)


@pytest.mark.parametrize("name, args", ON_GPU)
def test_the_same_every_time(name, args):
    inputs = on("cuda", args)
    first, second = (tree_leaves(getattr(ops, name)(*inputs)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name, args", ON_GPU)
def test_another_device(name, args):
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one CUDA device only")
    results = getattr(ops, name)(*on("cuda:1", args))
    assert all(result.device == torch.device("cuda:1") for result in tree_leaves(results))
    assert_as_on_the_cpu(name, args, results)


def test_all_arguments_must_be_on_one_device():
    levels, groups = torch.zeros(1, 2, 3, 3, dtype=torch.int16).cuda(), torch.zeros(2).long()
    with pytest.raises(RuntimeError, match="histogram: groups must be on the device of the first"):
        ops.histogram(levels, 0, 1, groups, 1)
