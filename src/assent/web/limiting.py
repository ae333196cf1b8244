"""How often one may try: against guessing secrets and tokens, and against a page that sends without end."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

Given = ParamSpec("Given")
Made = TypeVar("Made")


class Limits:
    """Counters of one process; they are forgotten when it ends."""

    def __init__(self) -> None:
        self._hashing = CapacityLimiter(max(1, (os.cpu_count() or 1) // 2))
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._attempt = parse("20/minute")
        self._answer = parse("240/minute")

    def attempt(self, *keys: str) -> None:
        """One try to get in, counted for each of the keys (an address, a name); status 429 when there were too many."""
        for key in keys:
            if not self._limiter.hit(self._attempt, "attempt", key):
                raise HTTPException(429, "Too many attempts. Wait a minute and try again.", {"Retry-After": "60"})

    def change(self, name: str) -> None:
        """One form sent by someone signed in."""
        if not self._limiter.hit(self._answer, "change", name):
            raise HTTPException(429, "Too much at once. Wait a moment and try again.", {"Retry-After": "5"})

    async def hashing(self, do: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        """Call what checks or changes a secret, few at a time and in threads of their own.

        A hash takes a good part of a second and 64 MiB by intent; however many come in at once, answers go on.
        """
        return await to_thread.run_sync(partial(do, *args, **kwargs), limiter=self._hashing)
