"""The processes that :mod:`benchmarks.crash` starts, watches and kills."""

from __future__ import annotations

import itertools
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assent.pipeline.run import run_stage
from assent.runs.folder import CHECKPOINTS
from assent.training import loop
from benchmarks.crash_jobs import Job

SEED = 5
_ASIDE = re.compile(rf".*/{CHECKPOINTS}/step-[^/]*\.tmp")
"""A folder that a checkpoint is being written into."""


class _Quiet:
    """Says what the stage says into a file."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def say(self, text: str) -> None:
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(text + "\n")

    def start(self, label: str, total: int | None, done: int = 0) -> None: ...
    def advance(self, amount: int = 1, **figures: float) -> None: ...
    def stop(self) -> None: ...


def start(job: Job, out: Path, inside: Callable[[], None] = lambda: None) -> int:
    """Fork a process that runs the job into ``out``; its id.  ``inside`` is called there first.

    Beside ``out`` lie what it says (``log``), and the step that it begins at, once it does (``begun``).
    """
    log, begun = out.with_name("log"), out.with_name("begun")
    log.unlink(missing_ok=True)
    begun.unlink(missing_ok=True)
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setpgid(0, 0)
        note_beginning(begun)
        inside()
        quiet = _Quiet(log)
        run_stage(job.kind, job.settings, out, seed=SEED, say=quiet.say, progress=quiet)
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def note_beginning(file: Path) -> None:
    """Within a run: write the step that it begins or goes on at."""
    restore = loop.Training.restore

    def restored(self: loop.Training) -> None:
        restore(self)
        file.write_text(str(self.step))

    loop.Training.restore = restored


def finish(process: int) -> int:
    """Wait for a process; minus the number of the signal that ended it, or its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_after(process: int, seconds: float) -> bool:
    """Kill it when so much time has gone; false when it had ended by itself."""
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return was_killed(process)


def was_killed(process: int) -> bool:
    """Wait for a process; false when it ended by itself."""
    status = finish(process)
    if status > 0:
        raise SystemExit("a run failed by itself; see the traceback above")
    return status == -signal.SIGKILL


def watch_checkpoints(seen: Callable[[bool], None]) -> None:
    """Within a run: call ``seen`` just before each thing that it does to its checkpoints, with whether one is being
    written there.

    These are events of the interpreter's audit: a file is opened, a folder made, renamed or deleted.
    """

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link"):
            paths = [str(x) for x in given if isinstance(x, (str, os.PathLike)) and CHECKPOINTS in str(x)]
            asides = [found[0] for path in paths if (found := _ASIDE.match(path))]
            if paths:
                seen(any(os.path.isdir(aside) for aside in asides))

    sys.addaudithook(hook)


def count_events(job: Job, out: Path) -> tuple[int, int]:
    """How many such events an unkilled run has, and how many of them while a checkpoint is being written."""
    reader, writer = os.pipe()

    def seen(saving: bool) -> None:
        os.write(writer, b"s" if saving else b"-")

    process = start(job, out, lambda: watch_checkpoints(seen))
    os.close(writer)
    found = b""
    while chunk := os.read(reader, 65536):
        found += chunk
    os.close(reader)
    assert finish(process) == 0
    return len(found), found.count(b"s")


def kill_at(job: Job, out: Path, at: int, in_save: bool, delay: float | None) -> bool:
    """Start the job and kill it just before event ``at`` (of those while a checkpoint is being written, if
    ``in_save``), or ``delay`` seconds after; false when it ended before."""
    reader, writer = os.pipe()
    counted = itertools.count(1)

    def seen(saving: bool) -> None:
        if (saving or not in_save) and next(counted) == at:
            if delay is None:
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(writer, b"+")

    process = start(job, out, lambda: watch_checkpoints(seen))
    os.close(writer)
    told = os.read(reader, 1)  # nothing when it has ended
    os.close(reader)
    return kill_after(process, delay or 0.0) if told else was_killed(process)
