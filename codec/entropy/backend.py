"""The coder of words: constriction where it is installed, elsewhere the portable one. Both write the same words."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.entropy import portable_range_coder

try:
    import constriction
except ImportError:
    constriction = None

Categorical = Any
"""The coder's model of a frequency table."""
_queue = portable_range_coder if constriction is None else constriction.stream.queue
WordEncoder, WordDecoder = _queue.RangeEncoder, _queue.RangeDecoder


def categorical(frequencies: np.ndarray) -> Categorical:
    """The coder's model of ``frequencies`` (n,), integers with the sum 2**16."""
    if constriction is None:
        return portable_range_coder.Categorical(frequencies)
    # Exact doubles: the same model on every machine.
    return constriction.stream.model.Categorical(frequencies / (1 << 16), perfect=False)
