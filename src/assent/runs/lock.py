"""The lock that keeps two processes out of one run folder."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import time
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any, cast

from assent.errors import RunError

try:
    import fcntl
except ImportError:  # not a POSIX system: two starts within the same millisecond are then not told apart
    fcntl = None


@contextlib.contextmanager
def lock(path: str | Path) -> Generator[None]:
    """Hold the lock file ``path``, which names the holder's process, host and time.

    Raises :class:`RunError` when another live process holds it.  The lock of a process that is dead is taken over.
    """
    file = Path(path)
    with _guarded(file) as stream:
        holder = _holder(stream)
        if holder is not None and _alive(holder):
            raise RunError(_in_use(file, holder))
        stream.seek(0)
        stream.truncate()
        stream.write(json.dumps(_myself()).encode())
        stream.flush()
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def lock_holder(path: str | Path) -> dict[str, Any] | None:
    """Who holds the lock now: ``pid``, ``host`` and ``since``; ``None`` when no live process does."""
    try:
        with open(path, "rb") as stream:
            holder = _holder(stream)
    except FileNotFoundError:
        return None
    return holder if holder is not None and _alive(holder) else None


@contextlib.contextmanager
def _guarded(file: Path) -> Generator[IO[bytes]]:
    """The lock file, opened, with every other process kept from looking at it until we are through."""
    while True:
        try:
            stream = open(file, "a+b")  # noqa: SIM115 - closed below, on every way out
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            raise RunError(f"{file.parent}: cannot be written: {error.strerror}; choose another --out") from None
        try:
            if fcntl is not None:
                fcntl.flock(stream, fcntl.LOCK_EX)
                current = os.stat(file) if file.exists() else None
                if current is None or current.st_ino != os.fstat(stream.fileno()).st_ino:
                    continue  # the holder deleted the file that we had opened
            yield stream
            return
        finally:
            stream.close()


def _holder(stream: IO[bytes]) -> dict[str, Any] | None:
    stream.seek(0)
    try:
        value: Any = json.loads(stream.read())
    except (ValueError, RecursionError):
        return None  # torn by a kill between opening and writing
    holder = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    pid, since = holder.get("pid"), holder.get("since")
    written = type(pid) is int and 0 < pid < 2**31 and isinstance(since, (int, float)) and 0 <= since < 1e11
    return holder if written else None


def _myself() -> dict[str, Any]:
    pid = os.getpid()
    return {"pid": pid, "host": platform.node(), "since": time.time(), "started": _start_time(pid)}


def _alive(holder: dict[str, Any]) -> bool:
    """Whether the holder still runs; one on another host is taken to, since we cannot look there."""
    if holder.get("host") != platform.node():
        return True
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return holder.get("started") == _start_time(holder["pid"])  # else the number was given to another process


def _start_time(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; ``None`` where /proc does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _in_use(file: Path, holder: dict[str, Any]) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.get("since", 0)))
    message = f"{file.parent}: in use by process {holder['pid']} on {holder.get('host')} since {since}"
    if holder.get("host") != platform.node():
        return f"{message}; wait for it, or delete {file} if that process is gone"
    return f"{message}; wait for it or stop it first"
