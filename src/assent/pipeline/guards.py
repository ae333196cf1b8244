"""Around whatever runs: signals that end it as Ctrl-C does, and a full disk told in one sentence."""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

from assent.errors import RunError, UserError


@contextlib.contextmanager
def terminable() -> Generator[None]:
    """Let SIGTERM and a closed terminal end the run as Ctrl-C does, so that the stage saves."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}  # nohup
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def disk_full_told(folder: Path) -> Generator[None]:
    """A full disk is the user's to put right.  Libraries that write from other languages raise their own exceptions."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not _tells_of_a_full_disk(error):
            raise
        raise RunError(f"{folder}: no space left on the disk; free some and run the same again to go on") from error


def _tells_of_a_full_disk(error: BaseException) -> bool:
    """Itself, or what it came from: torch's writer, closing a file that could not be written, raises one of its own."""
    while True:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):
            return True
        before = error.__cause__ or error.__context__
        if before is None:
            return False
        error = before
