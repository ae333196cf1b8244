"""Which prompts a stage keeps apart for evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from assent.errors import DataError


def held_out_prompts(prompt_ids: Iterable[str], share: float, seed: int, source: str) -> set[str]:
    """The prompts held out, by a hash: all that is said of one prompt is on one side, new ones move no old one.

    Of a few prompts chance might hold out none or all; one at least is on either side.
    """
    if not share:
        return set()
    drawn = sorted((_fraction(prompt, seed), prompt) for prompt in set(prompt_ids))
    if len(drawn) < 2:
        raise DataError("has answers to one prompt only, so none can be held out; set held_out: 0", source)
    count = sum(fraction < share for fraction, _ in drawn)
    return {prompt for _, prompt in drawn[: min(max(count, 1), len(drawn) - 1)]}


def _fraction(prompt_id: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed} {prompt_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64
