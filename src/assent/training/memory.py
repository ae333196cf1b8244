"""What to do when a microbatch does not fit: the same gradient in smaller ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from assent.errors import RunError

T = TypeVar("T")

_HOST = ("can't allocate memory", "not enough memory", "Cannot allocate memory")


class TokenBudget:
    """The padded tokens of a microbatch; halved, and the work done again, when memory runs out."""

    def __init__(self, tokens: int, say: Callable[[str], None], together: bool = False) -> None:
        """``together``: processes work pass by pass together, so that none can begin again alone."""
        self.tokens, self.say, self.together = tokens, say, together

    def within(self, work: Callable[[int], T], longest: int) -> T:
        """``work(tokens)``, from the start each time.  ``longest``: the row that no budget can split.

        Raises :class:`RunError` when memory runs out for that row alone.
        """
        while True:
            try:
                return work(self.tokens)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self.together:
                    raise RunError(
                        "out of memory in one of the processes that hold the model in shards; lower token_budget, or "
                        "take more processes"
                    ) from error
                if self.tokens <= longest:
                    raise RunError(
                        f"out of memory for a single row of {longest} tokens; shorten the rows (max_length, "
                        "max_new_tokens), switch gradient_checkpointing on, or take a smaller model"
                    ) from error
                self.tokens = max(longest, self.tokens // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.say(f"out of memory: going on with microbatches of {self.tokens} tokens, and the same gradient")


def out_of_memory(error: Exception) -> bool:
    """Whether torch could not get memory, on whichever device."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(words in str(error) for words in _HOST)
