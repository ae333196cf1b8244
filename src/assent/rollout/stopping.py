"""Completions that end where a text stands in them, whichever tokens spell it."""

from __future__ import annotations

from typing import Any

from tokenizers.decoders import DecodeStream

from assent.types import SamplingSettings


class StopTexts:
    """Follows the text of each row, token by token, until one of ``sampling.stop`` stands in it.

    A stop text that was whole before ``min_new_tokens`` were drawn does not count.
    """

    def __init__(self, tokenizer: Any, sampling: SamplingSettings, rows: int) -> None:
        self.tokenizer, self.sampling = tokenizer, sampling
        self.backend = getattr(tokenizer, "backend_tokenizer", None)
        self.streams = [DecodeStream(skip_special_tokens=True) for _ in range(rows)]
        self.tokens: list[list[int]] = [[] for _ in range(rows)]
        self.texts = [""] * rows
        self.cut: dict[int, str] = {}
        """The text before the stop text, of each row that ended by one."""

    def ends(self, row: int, token: int) -> bool:
        """Whether ``row`` ends with this token, the next of it."""
        before = len(self.texts[row])
        self.tokens[row].append(token)
        if self.backend is not None:
            self.texts[row] += self.streams[row].step(self.backend, token) or ""
        else:
            self.texts[row] = self.tokenizer.decode(self.tokens[row], skip_special_tokens=True)
        if len(self.tokens[row]) <= self.sampling.min_new_tokens:
            return False
        text = self.texts[row]
        places = [text.find(stop, max(0, before - len(stop) + 1)) for stop in self.sampling.stop]
        found = [place for place in places if place >= 0]
        if found:
            self.cut[row] = text[: min(found)]
        return bool(found)
