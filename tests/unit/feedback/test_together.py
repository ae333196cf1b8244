"""Group commit: what waits at the same time is written at once, and everybody hears what became of their own."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from assent.errors import StoreAwayError, StoreError
from assent.feedback.together import AT_ONCE, Together


class Writing:
    """Writes numbers, doubled; the first call waits until all others are in the queue."""

    def __init__(self, jobs, refuse=(), raising=StoreError):
        self.calls, self.refuse, self.raising = [], refuse, raising
        self.together = Together(self.write)
        with ThreadPoolExecutor(len(jobs)) as pool:
            self.begun, self.go_on = threading.Event(), threading.Event()
            first = pool.submit(self.ask, jobs[0])
            assert self.begun.wait(5)
            others = [pool.submit(self.ask, job) for job in jobs[1:]]
            while len(self.together._waiting) < len(others):
                time.sleep(0.001)
            self.go_on.set()
            self.outcomes = [task.result() for task in (first, *others)]

    def ask(self, job):
        try:
            return self.together(job)
        except (StoreError, RuntimeError) as error:
            return error

    def write(self, jobs):
        self.begun.set()
        assert self.go_on.wait(5)
        self.calls.append(list(jobs))
        for job in jobs:
            if job in self.refuse:
                raise self.raising(f"not {job}")
        return [2 * job for job in jobs]


def test_those_who_wait_are_written_at_once():
    writing = Writing(range(8))
    assert writing.outcomes == [2 * job for job in range(8)]
    assert [len(call) for call in writing.calls] == [1, 7]


def test_what_is_refused_fails_alone():
    writing = Writing(range(8), refuse={3})
    assert [str(one) for one in writing.outcomes] == ["0", "2", "4", "not 3", "8", "10", "12", "14"]
    assert sorted(len(call) for call in writing.calls) == [1] * 8 + [7]


@pytest.mark.parametrize("raising", [StoreAwayError, RuntimeError])
def test_what_is_nobodys_mistake_is_not_tried_one_by_one(raising):
    writing = Writing(range(8), refuse={3}, raising=raising)
    assert writing.outcomes[0] == 0
    assert [type(one) for one in writing.outcomes[1:]] == [raising] * 7
    assert [len(call) for call in writing.calls] == [1, 7]


def test_more_than_a_transaction_holds_are_written_in_turn():
    writing = Writing(range(AT_ONCE + 5))
    assert writing.outcomes == [2 * job for job in range(AT_ONCE + 5)]
    assert [len(call) for call in writing.calls] == [1, AT_ONCE, 4]
