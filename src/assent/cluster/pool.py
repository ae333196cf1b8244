"""Workers of one kind on a Ray cluster, which take portions of work as they become free.

A portion is redone by another worker when its worker dies, so a portion's result must hang on its arguments alone.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError

from assent.errors import AssentError, RunError

_QUEUED = 2
"""Portions that a worker holds at most: the one at work, and the next so that it never idles."""
DEATHS = 3
"""Workers that may die of one portion, or in starting one after another."""
_TICK = 0.5
"""Seconds between looks at whether the pool is closed or scaled."""


class Needs(NamedTuple):
    """What a worker takes of a node."""

    cpus: int = 1
    gpus: float = 0.0


ONE_CORE = Needs()


class Where(NamedTuple):
    """Where a worker runs."""

    node: str
    """Ray's id of the node."""
    pid: int


@ray.remote
class _Host:
    """The process of a worker."""

    def __init__(self, folder: str, make: Callable[..., Any], *given: Any) -> None:
        with contextlib.suppress(OSError):  # not every node has the folder that relative paths are meant from
            os.chdir(folder)
        self.worker = make(*given)

    def where(self) -> tuple[str, int]:
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.worker, method)(*arguments)


@dataclass(eq=False)
class _Member:
    """A worker as the pool knows it."""

    host: Any
    starting: Any
    """Tells where it is once it has started."""
    where: Where | None = None
    """``None`` while it starts."""
    held: dict[Any, int] = field(default_factory=dict)
    """What it works on: reference -> portion, the oldest first."""
    leaving: bool = False

    @property
    def watched(self) -> list[Any]:
        """References that something is waited for."""
        return [self.starting] if self.where is None else list(self.held)


class Pool:
    """``size`` workers, each made by ``make(*given)`` in a process of its own.

    ``given`` may hold references into Ray's object store, which a worker finds resolved.  Workers that the cluster has
    no room for now start when it has: when a node joins, or another worker leaves.  One call of :meth:`run` at a time;
    :meth:`scale` may be called from another thread meanwhile.
    """

    def __init__(
        self,
        name: str,
        make: Callable[..., Any],
        given: Sequence[Any],
        size: int,
        *,
        needs: Needs = ONE_CORE,
        timeout: float = 300.0,
        say: Callable[[str], None] = print,
    ) -> None:
        """``name`` in messages; ``timeout``: seconds without any worker after which :meth:`run` gives up."""
        self.name, self.make, self.given, self.needs = name, make, tuple(given), needs
        self.timeout, self.say = timeout, say
        self._lock = threading.RLock()
        self._members: list[_Member] = []
        self._size, self._closed = size, False
        self._failed_starts = 0
        self._adjust()

    @property
    def workers(self) -> tuple[Where, ...]:
        """Where the workers that have started run."""
        with self._lock:
            return tuple(member.where for member in self._members if member.where is not None)

    def scale(self, size: int) -> None:
        """Have ``size`` workers, one at least.  Those too many finish what they hold and leave."""
        with self._lock:
            self._size = max(1, size)
            self._adjust()

    def run(self, method: str, shared: Sequence[Any], portions: Sequence[Any]) -> list[Any]:
        """``worker.method(*shared, portion)`` of each portion, in their order.

        ``shared`` may be references.  An error that a worker raises is raised here.  Raises :class:`RunError` where
        workers die of a portion again and again, or none can start.
        """
        results: dict[int, Any] = {}
        waiting, deaths = deque(range(len(portions))), Counter[int]()
        since = time.monotonic()
        try:
            while len(results) < len(portions):
                with self._lock:
                    if self._closed:
                        raise RunError(f"the {self.name}s were closed while they worked")
                    self._adjust()
                    self._hand_out(waiting, lambda place: (method, *shared, portions[place]))
                    watched = [ref for member in self._members for ref in member.watched]
                if any(member.where for member in self._members):
                    since = time.monotonic()
                elif time.monotonic() - since > self.timeout:
                    raise RunError(self._no_room())
                for ref in ray.wait(watched, num_returns=1, timeout=_TICK)[0]:
                    self._take(ref, results, waiting, deaths)
        finally:
            with self._lock:
                for member in [member for member in self._members if member.held]:
                    self._dismiss(member)  # only where it failed: nobody waits for what they do
        return [results[place] for place in range(len(portions))]

    def close(self) -> None:
        """End the workers, whatever they do."""
        with self._lock:
            self._closed = True
            for member in list(self._members):
                self._dismiss(member)

    def _hand_out(self, waiting: deque[int], call: Callable[[int], tuple[Any, ...]]) -> None:
        ready = [member for member in self._members if member.where is not None and not member.leaving]
        while waiting and ready:
            member = min(ready, key=lambda each: len(each.held))
            if len(member.held) >= _QUEUED:
                return
            place = waiting.popleft()
            member.held[member.host.call.remote(*call(place))] = place

    def _take(self, ref: Any, results: dict[int, Any], waiting: deque[int], deaths: Counter[int]) -> None:
        """What has become of ``ref``: a worker that has started, a portion that is done, or a death."""
        with self._lock:
            member = next((m for m in self._members if ref in m.watched), None)
            if member is None:
                return
            try:
                found = ray.get(ref)
            except RayActorError as error:
                lost = list(member.held.values())
                self._dismiss(member)
                if member.where is None:
                    self._count_failed_start(error)
                    return
                self.say(f"a {self.name} died (process {member.where.pid}); another takes over what it held")
                waiting.extendleft(reversed(lost))
                deaths.update(lost[:1])  # the one at work
                if lost and deaths[lost[0]] >= DEATHS:
                    raise RunError(
                        f"{DEATHS} {self.name}s died one after another on the same work ({_cause(error)}); where "
                        "memory runs out, lower slots or cache_memory, or give each worker a larger node"
                    ) from None
            except ObjectLostError:
                waiting.appendleft(member.held.pop(ref))  # it was done, and its node is gone
            except RayTaskError as error:
                del member.held[ref]
                if isinstance(error.cause, AssentError):
                    raise error.cause from None
                raise
            else:
                if member.where is None:
                    member.where, self._failed_starts = Where(*found), 0
                else:
                    results[member.held.pop(ref)] = found

    def _count_failed_start(self, error: RayActorError) -> None:
        self._failed_starts += 1
        if self._failed_starts >= DEATHS:
            raise RunError(f"{DEATHS} {self.name}s failed one after another as they started: {_cause(error)}") from None

    def _adjust(self) -> None:
        """As many workers as wanted: begin new ones, and let those leave that are too many and hold nothing."""
        staying = [member for member in self._members if not member.leaving]
        idle_first = sorted(staying, key=lambda member: (member.where is not None, len(member.held)))
        for member in idle_first[: max(0, len(staying) - self._size)]:
            member.leaving = True
        for member in [member for member in self._members if member.leaving and not member.held]:
            self._dismiss(member)
        for _ in range(self._size - len(staying)):
            options = {"num_cpus": self.needs.cpus, "num_gpus": self.needs.gpus, "max_restarts": 0}
            kind: Any = _Host  # the decorator's work is beyond a type checker
            host = kind.options(**options).remote(os.getcwd(), self.make, *self.given)
            self._members.append(_Member(host, host.where.remote()))

    def _dismiss(self, member: _Member) -> None:
        self._members.remove(member)
        with contextlib.suppress(Exception):  # it may be dead, or Ray gone
            ray.kill(member.host)

    def _no_room(self) -> str:
        free = ray.available_resources()
        return (
            f"no {self.name} could start in {self.timeout:.0f} s: it needs {self.needs.cpus} CPUs and "
            f"{self.needs.gpus:g} GPUs, and the cluster has {free.get('CPU', 0):g} and {free.get('GPU', 0):g} free; "
            "lower cpus_per_worker, gpus_per_worker or the number of workers, or add a node"
        )


def _cause(error: Exception) -> str:
    """The last line of what Ray says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
