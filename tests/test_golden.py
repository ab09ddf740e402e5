"""Golden streams: every decoder reads the valid ones and refuses the malformed ones as it should,
and the encoder still writes the same bytes. See golden.py."""

import os
import subprocess
import sys
from pathlib import Path

import golden
import numpy as np
import pytest
from stream_decoder import Damaged, decode, read_header

from fmtc import ops

VALID, MALFORMED = golden.load()
WRITTEN = [name for name in VALID if VALID[name].written]
OF_OPERATORS = [name for name in VALID if VALID[name].operators_decode]
SIMD = ["scalar", "avx2", "avx512"]


@pytest.mark.parametrize("name", WRITTEN)
def test_the_encoder_still_writes_these_bytes(name):
    assert VALID[name].encode() == VALID[name].stream


@pytest.mark.parametrize("name", OF_OPERATORS)
def test_the_operators_read_it(name):
    valid = VALID[name]
    levels, status = valid.decode([valid.stream])
    assert status == [0] and np.array_equal(levels[0], valid.levels)
    info = ops.stream_info(valid.stream)
    assert (info["crop_h"], info["crop_w"]) == valid.crop and info["size"] == len(valid.stream)


@pytest.mark.parametrize("name", VALID)
def test_the_python_decoder_reads_it(name):
    valid = VALID[name]
    assert np.array_equal(decode(valid.stream, valid.codec, valid.levels.shape), valid.levels)
    assert read_header(valid.stream).crop == valid.crop


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_streams_are_refused_with_their_status(name):
    damaged = MALFORMED[name]
    valid = VALID[damaged.of]
    with pytest.raises(Damaged) as error:
        decode(damaged.stream, valid.codec, valid.levels.shape)
    assert error.value.status == damaged.status
    if valid.operators_decode:
        levels, status = valid.decode([damaged.stream])
        assert status == [damaged.status] and not levels.any()


def test_each_status_of_a_stream_is_there():
    assert {damaged.status for damaged in MALFORMED.values()} == set(range(1, 14))


@pytest.mark.parametrize("simd", SIMD)
def test_each_instruction_set_at_any_number_of_threads(simd):
    """All of it again by 1, 2 and 3 threads, as far as this CPU has the instruction set."""
    command = [sys.executable, golden.__file__, "--check"]
    path = os.pathsep.join([str(Path(golden.__file__).parent), *sys.path])
    environment = {**os.environ, "FMTC_SIMD": simd, "PYTHONPATH": path}
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert SIMD.index(run.stdout.strip()) <= SIMD.index(simd)


SMALL = [name for name in OF_OPERATORS if len(VALID[name].stream) < 1500]


@pytest.mark.parametrize("name", SMALL)
def test_every_flipped_bit_and_every_truncation_is_noticed(name):
    valid = VALID[name]
    flipped = []
    for bit in range(8 * len(valid.stream)):
        changed = bytearray(valid.stream)
        changed[bit // 8] ^= 1 << bit % 8
        flipped.append(bytes(changed))
    truncated = [valid.stream[:size] for size in range(len(valid.stream))]
    damaged = flipped + truncated
    for i in range(0, len(damaged), 256):
        levels, status = valid.decode(damaged[i : i + 256])
        assert all(status) and not levels.any()
