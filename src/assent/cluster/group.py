"""The training itself in a process of the cluster, where a stage asks for that."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayTaskError

from assent.cluster.pool import DEATHS, Needs
from assent.errors import RunError

_DONE, _SAY = "done", "say"


class Hearing(Protocol):
    """A progress display, as :class:`assent.pipeline.stage.Progress`."""

    def start(self, label: str, total: int | None, done: int = 0) -> None: ...
    def advance(self, amount: int = 1, **figures: float) -> None: ...
    def stop(self) -> None: ...


Work = Callable[[Hearing, Callable[[str], None]], Any]
"""What is done, given a progress display and what says a line."""


class _Told:
    """A progress display whose calls are passed on."""

    def __init__(self, messages: SimpleQueue[tuple[str, Any, Any]]) -> None:
        self.messages = messages

    def start(self, label: str, total: int | None, done: int = 0) -> None:
        self.messages.put(("start", (label, total, done), {}))

    def advance(self, amount: int = 1, **figures: float) -> None:
        self.messages.put(("advance", (amount,), figures))

    def stop(self) -> None:
        self.messages.put(("stop", (), {}))


@ray.remote
class _Process:
    """The process that trains."""

    def run(self, threads: int, folder: str, work: Work) -> Generator[tuple[str, Any, Any]]:
        """What the work tells, as it does; its result comes last."""
        import torch

        torch.set_num_threads(threads)
        os.chdir(folder)
        messages: SimpleQueue[tuple[str, Any, Any]] = SimpleQueue()
        problems: list[BaseException] = []

        def whole() -> None:
            result = None
            try:
                result = work(_Told(messages), lambda text: messages.put((_SAY, (text,), {})))
            except BaseException as error:
                problems.append(error)
            messages.put((_DONE, (result,), {}))

        working = threading.Thread(target=whole)
        working.start()
        while (message := messages.get())[0] != _DONE:
            yield message
        working.join()
        for problem in problems:
            raise problem
        yield message


def run_on_cluster(work: Work, needs: Needs, hearing: Hearing, say: Callable[[str], None]) -> Any:
    """What ``work`` gives, done in a process of the cluster that this one is connected to.

    It must go on from where it was when it is begun again: that is done where its process or its node dies.  What is
    interrupted here ends there.  Raises what the work raises, and :class:`RunError` where its process dies time and
    again.
    """
    for _ in range(DEATHS):
        actor: Any = _Process  # the decorator's work is beyond a type checker
        process = actor.options(num_cpus=needs.cpus, num_gpus=needs.gpus).remote()
        try:
            for ref in process.run.options(num_returns="streaming").remote(needs.cpus, os.getcwd(), work):
                kind, given, named = ray.get(ref)
                if kind == _DONE:
                    return given[0]
                (say if kind == _SAY else getattr(hearing, kind))(*given, **named)
        except RayActorError:
            say("the process that trained died; another goes on from the last checkpoint")
        except RayTaskError as error:
            raise (error.cause or error) from None
        finally:
            with contextlib.suppress(Exception):  # it may be dead
                ray.kill(process)
    raise RunError(f"{DEATHS} processes that trained died one after another; Ray's logs say more")
