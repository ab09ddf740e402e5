"""What decoders make of damaged streams, for the tests of all coders.

A case has ``levels``, ``streams()`` of its images, and ``decode(bytes, used)``.
"""

import pytest
import torch
from streams import to_rows

from fmtc import ops
from fmtc.errors import StreamError


def message_of(case, stream):
    """What check_status says of a stream, None where it is fine. Its levels must then be 0."""
    levels, status = case.decode(*to_rows([stream]))
    if int(status[0]) == 0:
        return None
    assert not levels.any()
    with pytest.raises(StreamError, match="stream of image 0: ") as error:
        ops.check_status(status)
    return str(error.value)


def damaged_in_the_middle(case, damaged):
    """Decodes the case's streams with another one for image 1; the others must not change."""
    batch = case.streams()
    batch[1] = damaged
    levels, status = case.decode(*to_rows(batch))
    assert int(status[0]) == int(status[2]) == 0
    assert torch.equal(levels[0], case.levels[0]) and torch.equal(levels[2], case.levels[2])
    if int(status[1]) != 0:
        assert not levels[1].any()
        with pytest.raises(StreamError, match="stream of image 1: "):
            ops.check_status(status)
    return int(status[1])
