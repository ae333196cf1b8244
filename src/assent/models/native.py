"""C++ of the package, compiled for this machine where it is first needed, and kept.

Compiling takes two or three seconds once; a library is kept in ``$XDG_CACHE_HOME/assent`` (``~/.cache/assent``) under a
name made of its source, the compiler, the flags and the processor.  Where there is no C++ compiler with OpenMP, or with
``ASSENT_KERNELS=off`` in the environment, there is none, and what needs it has a form in PyTorch.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-w")


def compiled(source: Path, parts: Sequence[Path] = (), flags: Sequence[str] = ()) -> ctypes.CDLL | None:
    """The library of ``source``, which includes ``parts``, with these ``flags`` besides the usual ones."""
    compiler = next(filter(None, map(shutil.which, filter(None, (os.environ.get("CXX"), "c++", "g++")))), None)
    if compiler is None or os.environ.get("ASSENT_KERNELS") == "off":
        return None
    try:
        return ctypes.CDLL(str(_library(compiler, source, parts, (*_FLAGS, *flags))))
    except (OSError, subprocess.SubprocessError):
        return None


def _library(compiler: str, source: Path, parts: Sequence[Path], flags: Sequence[str]) -> Path:
    texts = [path.read_text(encoding="utf-8") for path in (source, *parts)]
    what = [os.path.realpath(compiler), *flags, _processor(), *texts]
    name = hashlib.sha256("\x1f".join(what).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assent"
    library = folder / f"{source.stem}-{name}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as aside:  # renamed when whole: two processes may build at once
            made = Path(aside) / library.name
            subprocess.run(
                [compiler, *flags, "-o", str(made), str(source)], check=True, capture_output=True, timeout=120
            )
            made.rename(library)
    return library


def _processor() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.platform() + platform.processor()
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features"))))
