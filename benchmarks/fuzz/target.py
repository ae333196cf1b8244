"""What a target of the fuzzer is, and how one is run."""

from __future__ import annotations

import signal
import traceback
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.strategies import SearchStrategy

from assent.errors import AssentError

Outcome = Literal["taken", "refused"]
PATIENCE = 30
"""Seconds of processor time that one input may take."""


@dataclass(frozen=True)
class Target:
    """One part of the package that reads what others wrote."""

    name: str
    drawn: SearchStrategy[Any]
    attempt: Callable[[Any, Path], Outcome]
    """Given an input and a folder to work in, which holds what earlier inputs left.  Raises what is a fault."""


@dataclass
class Found:
    """What became of the inputs of a target."""

    counts: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])
    """Each with the smallest input that shows it."""


def hunt(target: Target, examples: int, seed: int, folder: Path) -> Found:
    """Try so many inputs; the same ones for the same seed."""
    found = Found()
    try:
        attempts(target, folder, found, examples, seed)()
    except BaseExceptionGroup as several:
        found.faults += [_told(error) for error in several.exceptions]
    except Exception as error:
        found.faults.append(_told(error))
    return found


def attempts(target: Target, folder: Path, found: Found, examples: int = 1, seed: int = 0) -> Any:
    """The target as a test of hypothesis, which counts into ``found``."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @hypothesis.given(target.drawn)
    def attempt(drawn: Any) -> None:
        with _patience():
            found.counts[target.attempt(drawn, folder)] += 1

    return attempt


def refusal(error: BaseException, *names: str | Path) -> Outcome:
    """That an error is a sentence for people: of this package, on one line, printable, and naming all of ``names``."""
    if not isinstance(error, AssentError):
        raise error
    said = str(error)
    said.encode()
    assert said.strip(), "an error without words"
    assert len(said.splitlines()) == 1, f"more than one line: {said!r}"
    assert len(said) < 2_000, f"{len(said)} characters: {said[:200]!r}"
    for name in names:
        assert str(name) in said, f"{name} is not named: {said}"
    return "refused"


def demand(holds: bool, otherwise: str) -> None:
    """Find a fault where something does not hold."""
    if not holds:
        raise AssertionError(otherwise)


def _told(error: BaseException) -> str:
    lines = traceback.format_exception(error)
    return "".join(lines[-12:]) + "\n".join(getattr(error, "__notes__", ()))


@contextmanager
def _patience() -> Generator[None]:
    def hangs(number: int, frame: Any) -> None:
        raise TimeoutError(f"more than {PATIENCE} s for one input")

    before = signal.signal(signal.SIGPROF, hangs)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
