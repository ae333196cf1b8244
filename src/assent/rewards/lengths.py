"""The scale on which an answer's length is measured, for people's and models' preference for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def doublings(lengths: ArrayLike) -> NDArray[np.float64]:
    """log2(1 + length) of lengths [n] in characters: what a reader sees, whatever the tokenizer."""
    return np.log2(1.0 + np.asarray(lengths, dtype=np.float64))
