"""Work in portions on processes that die, are too many or too few, or have no room."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mortal
import pytest

from assent.cluster.pool import Needs, Pool
from assent.errors import DataError, RunError


@pytest.fixture
def pool_of(cluster: Any) -> Iterator[Callable[..., Pool]]:
    made: list[Pool] = []

    def make(size: int, *given: Any, make: Any = mortal.Clerk, **options: Any) -> Pool:
        made.append(Pool("clerk", make, given, size, say=options.pop("say", said.append), **options))
        return made[-1]

    said: list[str] = []
    yield make
    for pool in made:
        pool.close()


def test_results_come_in_order_and_no_worker_holds_more_than_two(pool_of: Any, tmp_path: Path):
    pool, held = pool_of(2, tmp_path), []
    while len(pool.workers) < 2:
        pool.run("work", (0.05,), [1])
    hand_out = pool._hand_out

    def watched(*given: Any) -> None:
        hand_out(*given)
        held.append([len(member.held) for member in pool._members])

    pool._hand_out = watched
    done = pool.run("work", (0.05,), list(range(12)))
    assert [portion for portion, _ in done] == list(range(12))
    assert len({process for _, process in done}) == 2
    assert max(max(row) for row in held) == 2
    assert pool.run("work", (0.0,), []) == []


def test_a_worker_that_dies_is_replaced_and_what_it_held_is_redone(pool_of: Any, tmp_path: Path):
    said: list[str] = []
    pool = pool_of(2, tmp_path, (1,), say=said.append)
    assert [portion for portion, _ in pool.run("work", (0.05,), list(range(8)))] == list(range(8))
    assert len(said) == 1
    assert said[0].startswith("a clerk died (process ")
    while len(pool.workers) < 2:  # the new one may still be starting
        pool.run("work", (0.05,), [0, 2])


def test_work_that_every_worker_dies_of_is_told(pool_of: Any, tmp_path: Path):
    with pytest.raises(RunError, match="3 clerks died one after another on the same work"):
        pool_of(1, tmp_path, (2,), True).run("work", (0.0,), [1, 2, 3])


def test_workers_that_cannot_start_are_told(pool_of: Any):
    with pytest.raises(RunError, match=r"3 clerks failed one after another as they started: .*no such model"):
        pool_of(1, make=mortal.Stillborn).run("work", (0.0,), [1])


def test_a_cluster_without_room_is_told(pool_of: Any, tmp_path: Path):
    pool = pool_of(1, tmp_path, needs=Needs(64, 0.0), timeout=0.6)
    with pytest.raises(RunError, match="no clerk could start in 1 s: it needs 64 CPUs and 0 GPUs"):
        pool.run("work", (0.0,), [1])


def test_an_error_of_the_users_comes_as_itself_and_the_pool_goes_on(pool_of: Any, tmp_path: Path):
    pool = pool_of(1, tmp_path)
    with pytest.raises(DataError, match=r"^file, line 3: row 7 is wrong$"):
        pool.run("work", (0.0,), [1, "wrong", 2])
    assert pool.run("work", (0.0,), [4])[0][0] == 4


def test_it_grows_and_shrinks_in_the_middle_of_work(pool_of: Any, tmp_path: Path):
    said: list[str] = []
    pool = pool_of(1, tmp_path, say=said.append)
    found: list[Any] = []
    running = threading.Thread(target=lambda: found.extend(pool.run("work", (0.15,), list(range(40)))))
    running.start()
    sizes: list[int] = []
    for size in (2, 1):
        pool.scale(size)
        until = time.monotonic() + 120
        while len(pool.workers) != size and time.monotonic() < until:
            time.sleep(0.01)
        sizes.append(len(pool.workers))
    still = running.is_alive()
    running.join()
    assert sizes == [2, 1]
    assert still, "the work was over before the workers had left"
    assert [portion for portion, _ in found] == list(range(40))
    assert len({process for _, process in found}) == 2
    assert said == []  # those that left had finished what they held: nobody redid it


def test_a_pool_that_is_closed_gives_up_what_it_does(pool_of: Any, tmp_path: Path):
    pool = pool_of(1, tmp_path)
    threading.Timer(1.0, pool.close).start()
    with pytest.raises(RunError, match="closed"):
        pool.run("work", (30.0,), [1, 2, 3])
    assert pool.workers == ()
