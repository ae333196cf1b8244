"""Group commit: what several threads want to write at the same time is written in one transaction.

Each of them still returns only when its own is on the disk, but they wait for the disk once, not one after the other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from assent.errors import StoreAwayError, UserError

Job = TypeVar("Job")
Done = TypeVar("Done")
AT_ONCE = 64
"""Jobs in one transaction: those that come later wait for it."""


class Together(Generic[Job, Done]):
    """Calls ``write`` with all jobs that wait, from whichever of their threads is first.

    ``write`` does all of its jobs or none, and is called by one thread at a time.  Where it refuses several (raises
    :class:`UserError`), each is tried by itself, so that nobody fails for another's mistake.
    """

    def __init__(self, write: Callable[[list[Job]], list[Done]]) -> None:
        self._write = write
        self._waiting: deque[_Waiting[Job, Done]] = deque()
        self._turn = threading.Lock()

    def __call__(self, job: Job) -> Done:
        """Do one job; returns or raises when it is done or has failed."""
        mine = _Waiting[Job, Done](job)
        self._waiting.append(mine)
        with self._turn:
            while mine.outcome is None:  # else another thread, which had the turn before, did it too
                self._do([self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))])
        return mine.result()

    def _do(self, some: list[_Waiting[Job, Done]]) -> None:
        try:
            results = self._write([waiting.job for waiting in some])
        except UserError as error:
            # A database that is away is away for all of them.
            if len(some) > 1 and not isinstance(error, StoreAwayError):
                for waiting in some:
                    self._do([waiting])
            else:
                self._fail(some, error)
        except BaseException as error:
            self._fail(some, error)
        else:
            for waiting, result in zip(some, results, strict=True):
                waiting.outcome = (result,)

    @staticmethod
    def _fail(some: list[_Waiting[Job, Done]], error: BaseException) -> None:
        for waiting in some:
            waiting.outcome = error


class _Waiting(Generic[Job, Done]):
    def __init__(self, job: Job) -> None:
        self.job = job
        self.outcome: tuple[Done] | BaseException | None = None

    def result(self) -> Done:
        assert self.outcome is not None
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome[0]
