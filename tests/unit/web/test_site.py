"""Values that take long to make: one thread makes them, nobody else waits."""

import threading
import time

import pytest

from assent.errors import StoreAwayError
from assent.web.site import Kept


def wait_until(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to pass")


def test_value_is_made_once_while_it_is_young():
    kept, made = Kept(), []
    for _ in range(3):
        assert kept.get(60.0, lambda: made.append(1) or len(made)) == 1


def test_old_value_is_given_while_one_thread_makes_it_anew():
    kept, begun, go_on, calls = Kept(), threading.Event(), threading.Event(), []

    def make():
        calls.append(1)
        if len(calls) > 1:
            begun.set()
            assert go_on.wait(5)
        return len(calls)

    assert kept.get(0.0, make) == 1
    assert kept.get(0.0, make) == 1
    assert begun.wait(5)
    assert [kept.get(0.0, make) for _ in range(3)] == [1, 1, 1]
    assert len(calls) == 2, "one makes it, the others do not"
    go_on.set()
    wait_until(lambda: kept.get(60.0, make) >= 2)


def test_first_value_is_waited_for_as_long_as_one_likes():
    kept, go_on = Kept(), threading.Event()
    assert kept.get(60.0, lambda: go_on.wait(5) and "x", wait=0.001) is None
    go_on.set()
    assert kept.get(60.0, lambda: "another") == "x"


def test_first_to_ask_at_the_same_time_make_it_once():
    kept, made, given = Kept(), [], []

    def make():
        time.sleep(0.02)
        made.append(1)
        return "x"

    threads = [threading.Thread(target=lambda: given.append(kept.get(60.0, make))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (made, given) == ([1], ["x"] * 8)


def test_store_that_is_away_is_told_first_and_leaves_the_old_value_later():
    kept, calls = Kept(), []

    def make():
        calls.append(1)
        if len(calls) in (1, 3):
            raise StoreAwayError("gone")
        return len(calls)

    with pytest.raises(StoreAwayError, match="gone"):
        kept.get(0.0, make)
    assert kept.get(0.0, make) == 2
    assert kept.get(0.0, make) == 2
    wait_until(lambda: kept.get(60.0, make) >= 4)
