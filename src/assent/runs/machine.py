"""What this machine was measured to do at most; kept in the user's cache folder, one file for all machines.

`assent doctor --measure` measures it.  Runs set the work that they did in a second against it.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from assent.runs.folder import atomic_write_text


@dataclass(frozen=True)
class Peak:
    """Rates of one device."""

    device: str
    float32: float
    """Floating-point operations per second of matrix products."""
    bfloat16: float
    bandwidth: float
    """Bytes per second that a copy of a large tensor reads and writes."""
    measured: str
    """The day."""


def cache_file() -> Path:
    """Where the measurements are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "assent" / "machines.json"


@cache
def cpu_name() -> str:
    """The processor and the cores that this process may use."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            model = next((line.split(":", 1)[1].strip() for line in stream if line.startswith("model name")), model)
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores"


def read_peak(device: str) -> Peak | None:
    """What was measured of the device of this name; ``None`` where nothing was, or the file cannot be read."""
    found = _read().get(device)
    try:
        return Peak(**found) if found else None
    except TypeError:  # written by another version
        return None


def write_peak(peak: Peak) -> Path:
    """Keep a measurement, in place of an older one of the same device."""
    path = cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, json.dumps({**_read(), peak.device: asdict(peak)}, indent=2) + "\n")
    return path


def _read() -> dict[str, dict[str, Any]]:
    try:
        found: Any = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast(dict[str, dict[str, Any]], found) if isinstance(found, dict) else {}
