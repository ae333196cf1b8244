"""The labelling app beside a run that waits for people."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Generator

from assent.errors import RunError

PATIENCE = 10.0
"""Seconds that the app has to end by itself."""


@contextlib.contextmanager
def labelling_app(store: str, port: int, say: Callable[[str], None]) -> Generator[Callable[[], None]]:
    """Serve the app over ``store`` by a process of its own; yields a check that raises :class:`RunError` once it ended.

    Where something answers at the port already, such as the app that a killed run left, that one is taken for it.
    """
    if _answers(port):
        say(f"something serves at http://127.0.0.1:{port}/ already: it is taken for the labelling app")

        def check_taken() -> None:
            if not _answers(port):
                raise RunError(_ended(port, ""))

        yield check_taken
        return
    command = [sys.executable, "-m", "assent", "label", "serve", store, "--port", str(port)]
    process = subprocess.Popen(command)

    def check() -> None:
        if process.poll() is not None:
            raise RunError(_ended(port, f" (exit status {process.returncode})"))

    try:
        yield check
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ended(port: int, how: str) -> str:
    return (
        f"the labelling app at port {port} ended{how}; the answers that it acknowledged are kept: run the same again "
        "to go on"
    )


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False
