"""A process beside this one that runs stages, so that answers are learned meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from assent.errors import RunError

_LESS_URGENT = 10
"""Added to the niceness of the process beside: answers come first."""


@dataclass(frozen=True, slots=True)
class Work:
    """A stage to be run alone, by :func:`assent.pipeline.run.run_stage`."""

    kind: str
    settings: Mapping[str, Any]
    out: Path
    seed: int


class Beside:
    """One process that runs one job at a time, a few stages.  It ends with this one, also where this one is killed:
    the stages' folders are whole or to be gone on from."""

    def __init__(self, threads: int) -> None:
        """``threads`` that the process computes with."""
        self._held, theirs = Pipe()
        self._pool = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_begin, initargs=(theirs, threads)
        )
        self._job: Future[None] | None = None

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def busy(self) -> bool:
        """Whether a job is at work, or its end was not heard yet."""
        return self._job is not None

    @property
    def ended(self) -> bool:
        """Whether a job ended whose end was not heard yet."""
        return self._job is not None and self._job.done()

    def begin(self, job: Sequence[Work]) -> None:
        """Have the stages run one after the other."""
        assert self._job is None
        with _killed_told():
            self._job = self._pool.submit(_run, list(job))

    def hear(self) -> None:
        """Raise what the job raised, if it did."""
        assert self._job is not None
        job, self._job = self._job, None
        with _killed_told():
            job.result()


@contextlib.contextmanager
def _killed_told() -> Generator[None]:
    try:
        yield
    except BrokenProcessPool:
        raise RunError(
            "the process that refreshes the policy and samples questions was killed, perhaps for want of memory; run "
            "the same again to go on"
        ) from None


def _run(job: list[Work]) -> None:
    from assent.pipeline.run import run_stage
    from assent.pipeline.stage import NoProgress

    for work in job:
        # Overwrite: what a kill left of a batch of questions may be about an older policy.
        run_stage(work.kind, work.settings, work.out, seed=work.seed, overwrite=True, say=_say, progress=NoProgress())


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def _begin(held: Connection, threads: int) -> None:
    """In the new process: end when the other end of ``held`` is closed, by its owner or by the death of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first one decides
    with contextlib.suppress(AttributeError, OSError):
        os.nice(_LESS_URGENT)

    def end() -> None:
        with contextlib.suppress(EOFError, OSError):
            held.recv()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
    torch.set_num_threads(threads)


@contextlib.contextmanager
def half_the_threads() -> Generator[int]:
    """Compute with half of this process's threads in the block, the other half being the other process's.

    Two that each want all cores wait for one another in every operation: learning an answer took seven times as long.
    """
    before = torch.get_num_threads()
    half = max(1, before // 2)
    torch.set_num_threads(half)
    try:
        yield half
    finally:
        torch.set_num_threads(before)
