"""The compiled form of ``kernels.cpp``: built by the machine's C++ compiler at first use (two seconds), then kept.

Without a compiler, or with ``ASSENT_KERNELS=off`` in the environment, there is none and :mod:`kernels` uses PyTorch.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("kernels.cpp")
_FLAGS = (
    "-O3 -march=native -fopenmp -shared -fPIC -fno-math-errno -fno-trapping-math -fno-signed-zeros -ffp-contract=fast"
).split()

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
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None or os.environ.get("ASSENT_KERNELS") == "off" or platform.system() != "Linux":
        return None
    flags = [*_FLAGS, *(["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else [])]
    try:
        path = _cache() / f"{_key(compiler, flags)}.so"
        if not path.exists():
            _build([compiler, *flags, str(SOURCE)], path)
        loaded = ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError):
        return None
    for name, arguments in _ARGUMENTS.items():
        for full in [name] if name in _ONE_TYPE else [f"{name}_f32", f"{name}_bf16"]:
            function = getattr(loaded, full)
            function.argtypes, function.restype = arguments, None
    return loaded


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "assent" / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _key(compiler: str, flags: list[str]) -> str:
    """Whatever the built file depends on: the source, the compiler and the processor it is built for."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = [line for line in lines if line.startswith(("flags", "Features", "model name"))][:2]
    parts = [SOURCE.read_bytes(), version, " ".join(flags).encode(), "\n".join(processor).encode()]
    return hashlib.sha256(b"\x1f".join(parts)).hexdigest()[:24]


def _build(command: list[str], path: Path) -> None:
    """Compile aside and rename, so that two processes at once do not read half a file."""
    handle, aside = tempfile.mkstemp(suffix=".so", dir=path.parent)
    os.close(handle)
    try:
        subprocess.run([*command, "-o", aside], capture_output=True, check=True, timeout=120)
        os.replace(aside, path)
    finally:
        Path(aside).unlink(missing_ok=True)
