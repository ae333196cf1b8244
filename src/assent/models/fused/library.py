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
_ARGUMENTS = {
    "causal_softmax": (_I, _L, _L, _L, _L, _F, _P),
    "softmax_backward": (_I, _L, _L, _F, _P, _P),
    "rotate": (_I, _L, _L, _L, _L, _L, _F, _P, _P),
    "gather_heads": (_I, _L, _L, _L, _P, _P, _P),
    "scatter_heads": (_I, _L, _L, _L, _L, _P, _P, _P, _P),
    "add_norm": (_I, _L, _L, _P, _P, _P, _P, _F, _I, _P, _P, _P, _P),
    "add_norm_backward": (_I, _L, _L, _L, _P, _P, _P, _P, _P, _I, _P, _P, _P),
    "gate": (_I, _L, _L, _P, _P),
    "gate_backward": (_I, _L, _L, _P, _P, _P),
    "lse_update": (_I, _L, _L, _P, _F, _P, _P, _P),
    "logits_gradient": (_I, _L, _L, _L, _P, _F, _P, _P, _P, _P, _P),
}
_ONE_TYPE = ("causal_softmax", "softmax_backward", "rotate", "gather_heads", "scatter_heads")
"""Functions of float32 alone; the others have a form for each precision."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled functions, or ``None`` where they cannot be had."""
    loaded = compiled(Path(__file__).with_name("kernels.cpp"), flags=(*_FLAGS, *_WIDE))
    if loaded is None:
        return None
    for name, arguments in _ARGUMENTS.items():
        for full in [name] if name in _ONE_TYPE else [f"{name}_f32", f"{name}_bf16"]:
            function = getattr(loaded, full)
            function.argtypes, function.restype = arguments, None
    return loaded
