"""``assent chat`` as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path


def test_ctrl_c_while_it_waits_leaves_with_status_0(workshop: Path) -> None:
    command = [sys.executable, "-m", "assent", "chat", str(workshop / "policy"), "--max-new-tokens", "2"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"The film\n")
    process.stdin.flush()
    process.stdout.readline()  # the first answer is there, so it waits for the next line
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors.decode()
