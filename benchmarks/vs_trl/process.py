"""A side's run as a process of its own: its environment variables, its peak memory, what went wrong."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TUNED_ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
"""glibc keeps freed memory in the process: TRL runs up to three times as fast with large temporaries."""
_QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """A timed run.  Of each step, in order: seconds, and tokens (as the work counts them)."""

    seconds: tuple[float, ...]
    tokens: tuple[int, ...]
    peak: int
    """Bytes of the process's peak resident set."""
    others: float
    """Cores that other processes kept busy meanwhile: a run with much of it says little."""

    def rate(self) -> float:
        """Tokens per second without the first step, which warms up."""
        return sum(self.tokens[1:]) / sum(self.seconds[1:])


def run_job(
    python: str | Path, words: Sequence[str], log: Path, extra: Mapping[str, str] | None = None
) -> tuple[int, float]:
    """Run ``python words ...`` to its end: its peak resident set in bytes, and the cores that others used meanwhile.

    A failure ends the program with the end of the ``log``.
    """
    environment = {**os.environ, **_QUIET, **(extra or {})}
    begun, busy, own = time.perf_counter(), _busy_seconds(), _children_seconds()
    with open(log, "w", encoding="utf-8") as out:
        process = subprocess.Popen([python, *words], stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
        peak = 0
        try:
            while process.poll() is None:
                peak = max(peak, _peak(process.pid))
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        sys.exit(f"{' '.join(map(str, words))} failed with status {process.returncode}; the end of {log}:\n{tail}")
    others = (_busy_seconds() - busy) - (_children_seconds() - own)
    return peak, max(0.0, others) / (time.perf_counter() - begun)


def _busy_seconds() -> float:
    """Seconds that all cores together have worked, since the machine started."""
    with open("/proc/stat", encoding="ascii") as stream:
        user, nice, system = map(int, stream.readline().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _children_seconds() -> float:
    """The same of this process's ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peak(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path
