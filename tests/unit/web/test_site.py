"""Values that take long to make: one thread makes them, nobody else waits."""

import threading
import time

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
        calls.append(threading.current_thread())
        if len(calls) > 1:
            begun.set()
            assert go_on.wait(5)
        return len(calls)

    assert kept.get(0.0, make) == 1
    assert kept.get(0.0, make) == 1
    assert begun.wait(5)
    assert [kept.get(0.0, make) for _ in range(3)] == [1, 1, 1]
    assert len(calls) == 2, "one makes it, the others do not"
    assert threading.current_thread() not in calls[1:]
    go_on.set()
    wait_until(lambda: kept.get(60.0, make) >= 2)


def test_first_to_ask_at_the_same_time_make_it_once():
    kept, made = Kept(), []

    def make():
        time.sleep(0.02)
        made.append(1)
        return "x"

    threads = [threading.Thread(target=kept.get, args=(60.0, make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_store_that_is_away_leaves_the_old_value():
    kept, calls = Kept(), []

    def make():
        calls.append(1)
        if len(calls) == 2:
            raise StoreAwayError("gone")
        return len(calls)

    assert kept.get(0.0, make) == 1
    assert kept.get(0.0, make) == 1
    wait_until(lambda: kept.get(60.0, make) >= 3)
