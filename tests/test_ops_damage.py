"""Damaged streams of the coders that have tables, in a batch with good ones."""

import copy

import pytest
import test_ops_huffman
import test_ops_positions
import test_ops_rans
import torch
from damage import damaged_in_the_middle, message_of
from hypothesis import given
from hypothesis import strategies as st

from fmtc import ops
from fmtc.errors import StreamError

# Three images [5, 7, 6] or [5, 7, 5] each.
CASES = {
    "huffman": test_ops_huffman.CASES["several tables"],
    "rans": test_ops_rans.CASES["several tables"],
    "rans with classes": test_ops_positions.CASES["odd sides"],
}
of_each_coder = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@of_each_coder
def test_every_truncation_is_found(case):
    stream = case.streams()[1]
    for size in range(len(stream)):
        assert damaged_in_the_middle(case, stream[:size]) != 0, size


@of_each_coder
def test_every_flipped_bit_is_found(case):
    stream = case.streams()[1]
    for bit in range(8 * len(stream)):
        flipped = bytearray(stream)
        flipped[bit // 8] ^= 1 << bit % 8
        assert damaged_in_the_middle(case, bytes(flipped)) != 0, bit


@of_each_coder
def test_trailing_bytes_are_refused(case):
    assert "after the end" in message_of(case, case.streams()[0] + b"\0")


@of_each_coder
@given(tail=st.binary(max_size=200), keep=st.integers(0, 40))
def test_random_bytes_are_refused(case, tail, keep):
    stream = case.streams()[1]
    if stream[:keep] + tail != stream:
        assert damaged_in_the_middle(case, stream[:keep] + tail) != 0


@of_each_coder
def test_sizes_outside_the_buffer_are_refused(case):
    data, used = case.encode()
    for wrong in (-1, data.shape[1] + 1, 2**62):
        levels, status = case.decode(data, used.index_fill(0, torch.tensor([1]), wrong))
        assert (status != 0).tolist() == [False, True, False] and not levels[1].any()


@of_each_coder
def test_another_table_set_is_refused(case):
    other = copy.copy(case)
    other.TABLE_ID += 1
    levels, status = other.decode(*case.encode())
    assert (status != 0).all() and not levels.any()
    with pytest.raises(StreamError, match="image 0: .*table set"):
        ops.check_status(status)


@of_each_coder
@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 7, 4), (5, 42, 1), (5, 35, 1), (5, 5, 7)])
def test_another_shape_is_refused(case, shape):
    decode = ops.huffman_decode if case is CASES["huffman"] else ops.rans_decode
    _, status = decode(*case.decode_args(*case.encode())[:-3], *shape)
    with pytest.raises(StreamError, match="image 0: .*shape"):
        ops.check_status(status)
