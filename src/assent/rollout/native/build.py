"""The kernels in ``kernels/``, compiled for this machine where they are first needed."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from assent.models.native import compiled

_SOURCE = Path(__file__).parent / "kernels"
_INT, _FLOAT, _POINTER = ctypes.c_int64, ctypes.c_float, ctypes.c_void_p
_SIGNATURES = {
    "vector_length": (),
    "has_bfloat16": (),
    "head_numbers": (_INT,),
    "pack": (_POINTER, _INT, _INT, _INT, _INT, _POINTER, ctypes.c_int, ctypes.c_int),
    "forward": (_POINTER, _INT, _POINTER, _POINTER, _POINTER),
    "copy_slot": (_POINTER, _INT, _INT, _INT),
    "logits": (_POINTER, _INT, _POINTER, _POINTER),
    "draw": (_POINTER, _POINTER),
}


@cache
def kernels() -> ctypes.CDLL | None:
    """The compiled kernels; ``None`` where there is no C++ compiler with OpenMP."""
    library = compiled(_SOURCE / "decoder.cpp", sorted(_SOURCE.iterdir()))
    if library is None:
        return None
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = _INT
    return library
