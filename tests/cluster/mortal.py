"""Workers that die, wait or count, for tests; they go to Ray's processes by value."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assent.cluster.engine import RolloutWorker
from assent.errors import DataError
from assent.rollout.engine import EncodedPrompt


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def first(marker: Path) -> bool:
    """Whether nobody asked this of the marker before, in whatever process."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class Clerk:
    """Does portions of plain work."""

    def __init__(self, folder: Path, deadly: Sequence[Any] = (), always: bool = False) -> None:
        """Dies of each of the ``deadly`` portions once, or ``always``."""
        self.folder, self.deadly, self.always = folder, deadly, always

    def work(self, seconds: float, portion: Any) -> tuple[Any, int]:
        """The portion, and the process that did it."""
        if portion in self.deadly and (self.always or first(self.folder / str(portion))):
            die()
        if portion == "wrong":
            raise DataError("row 7 is wrong", "file", 3)
        time.sleep(seconds)
        return portion, os.getpid()


class Stillborn:
    """Fails as it starts."""

    def __init__(self) -> None:
        raise ValueError("no such model")


class MortalWorker(RolloutWorker):
    """Dies in the middle of its portion where it finds the file ``deadly``; takes its time while ``slow`` is there."""

    folder = Path("/nonexistent")

    def draw(self, version: int, weights: Any, sampling: Any, n: int, prompts: Sequence[EncodedPrompt]) -> Any:
        if (self.folder / "slow").exists():
            time.sleep(0.3)
        if len(prompts) > 1 and self._is_told_to_die():
            super().draw(version, weights, sampling, n, prompts[:1])
            die()
        return super().draw(version, weights, sampling, n, prompts)

    def _is_told_to_die(self) -> bool:
        try:
            (self.folder / "deadly").unlink()
        except FileNotFoundError:
            return False
        return True
