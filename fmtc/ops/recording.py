"""Whether code runs, or is only written down to run later."""

from __future__ import annotations

import torch


def recording() -> bool:
    """True inside of torch.compile, torch.export and the capture of a CUDA graph.

    Nothing can then be read of a tensor, so that what is wrong in its values is not raised.
    """
    if torch.compiler.is_compiling():
        return True
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
