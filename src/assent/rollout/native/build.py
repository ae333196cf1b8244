"""The kernels in ``kernels/``, compiled for this machine where they are first needed."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

_SOURCE = Path(__file__).parent / "kernels"
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-w")
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
    """The compiled kernels; ``None`` where there is no C++ compiler with OpenMP.

    Compiling takes two or three seconds once; the library is kept in ``$XDG_CACHE_HOME/assent`` (``~/.cache/assent``)
    under a name made of the source, the compiler and the processor.
    """
    compiler = next(filter(None, map(shutil.which, filter(None, (os.environ.get("CXX"), "c++", "g++")))), None)
    if compiler is None or os.environ.get("ASSENT_KERNELS") == "off":
        return None
    try:
        library = ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, subprocess.SubprocessError):
        return None
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = _INT
    return library


def _compiled(compiler: str) -> Path:
    sources = sorted(_SOURCE.iterdir())
    what = [os.path.realpath(compiler), *_FLAGS, _processor(), *(path.read_text() for path in sources)]
    name = hashlib.sha256("\x1f".join(what).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assent"
    library = folder / f"kernels-{name}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            made = Path(aside) / "kernels.so"
            command = [compiler, *_FLAGS, "-o", str(made), str(_SOURCE / "decoder.cpp")]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
            made.rename(library)
    return library


def _processor() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.platform() + platform.processor()
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features"))))
