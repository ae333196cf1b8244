"""Ctrl-C and SIGTERM as a wish that the loop grants where it can save."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType, TracebackType
from typing import Any

from assent.training import distributed


class StopAsked:
    """Within the ``with`` block the first signal only sets ``asked``; a second one interrupts at once."""

    def __enter__(self) -> StopAsked:
        self.asked = False
        self._at_once = False
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def at_once(self) -> Generator[None]:
        """Work that changes nothing worth keeping, and may take minutes: a signal interrupts it.

        ``KeyboardInterrupt`` comes out of it, also for a wish from before.
        """
        self._at_once = True
        try:
            self.raise_if_asked()
            yield
        finally:
            self._at_once = False

    def agreed(self) -> bool:
        """Whether a signal came, to any of the processes that train together: all hear the same answer."""
        return distributed.any_of(self.asked)

    def raise_if_asked(self) -> None:
        if self.asked:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if again or self._at_once:
            raise KeyboardInterrupt
