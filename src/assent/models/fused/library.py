"""The compiled form of ``kernels.cpp``; :mod:`kernels` uses PyTorch where there is none."""

from __future__ import annotations

import ctypes
import functools
import platform
from pathlib import Path

from assent.models.native import compiled

_FLAGS = ("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffp-contract=fast")
_WIDE = ("-mprefer-vector-width=512",) if platform.machine() == "x86_64" else ()

_I, _L, _F, _P = ctypes.c_int, ctypes.c_int64, ctypes.c_float, ctypes.c_void_p
_ROWS = (_L, _P, _P, _P, _P)
_SHAPE = (_L, _L, _L, _L, _F, _P)
_ARGUMENTS = {
    "attention": (_I, *_ROWS, *_SHAPE, _P, _P),
    "attention_backward": (_I, _L, *_ROWS, *_SHAPE, _P, _P, _P),
    "add_norm": (_I, _L, _L, _P, _P, _P, _P, _F, _I, _P, _P, _P, _P),
    "add_norm_backward": (_I, _L, _L, _L, _P, _P, _P, _P, _P, _I, _P, _P, _P),
    "gate": (_I, _L, _L, _P, _P),
    "gate_backward": (_I, _L, _L, _P, _P, _P, _P),
    "lse_update": (_I, _L, _L, _P, _F, _P, _P, _P),
    "logits_gradient": (_I, _L, _L, _L, _P, _F, _P, _P, _P, _P, _P),
}


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled functions, or ``None`` where they cannot be had."""
    here = Path(__file__)
    loaded = compiled(here.with_name("kernels.cpp"), [here.with_name("attention.h")], (*_FLAGS, *_WIDE))
    if loaded is None:
        return None
    for name, arguments in _ARGUMENTS.items():
        for suffix in ("f32", "bf16"):
            function = getattr(loaded, f"{name}_{suffix}")
            function.argtypes, function.restype = arguments, None
    return loaded
