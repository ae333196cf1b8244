"""Programs that nobody has read, run in a process of their own with limits.

What holds: the process and those it starts have hard limits of CPU time, address space, size of a file and number of
open files; the whole lasts no longer than the wall time given, and then every process of its group is killed; it sees
an empty environment and works in a folder of its own that is deleted afterwards.

What holds where the system lets us (:func:`shield` says so): no network and no sight of other processes, by
``unshare`` (Linux with unprivileged user namespaces); no writing outside that folder, and no reading outside it but of
the system's programs and this Python, by Landlock (Linux 5.13 and newer; 6.7 also refuses TCP).

What this does not promise: it is no virtual machine.  The kernel is shared, so a hole in it is a way out; memory is
limited for each process and not for all together, up to the 64 it may start (as root, any number until the time is
over); without Landlock the program can read and write whatever the user can.  And a program that sets out to cheat can:
the tests run in its own process, so it may find the channel that results go through and claim what is not so.  Where
that matters, look at what earns high rewards, and run the whole of it in a container.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from assent.errors import RunError

_CHILD = Path(__file__).with_name("sandbox_child.py")
_UNSHARE = ("unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom")


@dataclass(frozen=True)
class Limits:
    """What a program may use."""

    seconds: float = 10.0
    """Wall time, and CPU time rounded up."""
    memory_mb: int = 512
    """Address space of one process."""
    written_mb: int = 8
    """Size of a file."""


@cache
def shield() -> tuple[str, ...]:
    """The words that are put before a command to keep it from the network; empty where the system cannot."""
    if shutil.which("unshare") is None:
        return ()
    done = subprocess.run([*_UNSHARE, sys.executable, "-I", "-S", "-c", "0"], capture_output=True, timeout=30)
    return _UNSHARE if done.returncode == 0 else ()


def run_tests(program: str, tests: Sequence[str], limits: Limits) -> list[bool]:
    """Whether each test, a piece of Python run after the program, ends without an exception: [tests].

    A program that fails, or is killed for what it used, passes none of the tests that were not done by then.
    Raises :class:`RunError` where no process can be started at all.
    """
    with tempfile.TemporaryDirectory(prefix="assent-code-", ignore_cleanup_errors=True) as folder:
        job = {
            "program": program,
            "tests": list(tests),
            "memory": limits.memory_mb << 20,
            "seconds": int(limits.seconds) + 1,
            "written": limits.written_mb << 20,
            "readable": [*_SYSTEM, sys.prefix, sys.base_prefix],
        }
        said = _run(json.dumps(job), folder, limits.seconds).split()
    passed = [word == b"1" for word in said[: len(tests)]]
    return passed + [False] * (len(tests) - len(passed))


def _run(job: str, folder: str, seconds: float) -> bytes:
    command = [*shield(), sys.executable, "-I", str(_CHILD)]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "HOME": folder, "LANG": "C.UTF-8"},
            start_new_session=True,
        )
    except OSError as error:
        raise RunError(f"no process can be started to run code in: {error.strerror}") from None
    try:
        return process.communicate(job.encode(), timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        _kill(process.pid)
        return process.communicate()[0]
    finally:
        _kill(process.pid)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
