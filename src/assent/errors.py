"""Every exception that assent raises on purpose.

A user's mistake is a :class:`UserError`: the command line prints its one sentence and exits with status 2, without a
traceback.  Anything else that escapes is a fault of ours and exits with status 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

_MOST = 1_500
"""Characters of a sentence; what is longer quotes data, and is cut in its middle."""


class AssentError(Exception):
    """Base of all exceptions of this package.

    Its words are one line that any terminal can print, whatever they quote: line ends, control characters and halves of
    surrogate pairs are shown by their escapes.
    """

    def __init__(self, *words: object) -> None:
        super().__init__(*(one_line(word) if isinstance(word, str) else word for word in words))


def one_line(text: str) -> str:
    """``text`` as one printable line of bounded length."""
    if len(text) > _MOST:
        text = f"{text[: _MOST - 300]} … {text[-300:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class UserError(AssentError):
    """Something the user can put right: says what was wrong, where, what was expected and what to do."""

    exit_status = 2


class RecipeError(UserError):
    """A recipe, or a setting on the command line, that cannot be understood."""


class DataError(UserError):
    """A data file, or one row of it, that cannot be used."""

    def __init__(self, message: str, path: str | Path | None = None, line: int | None = None) -> None:
        """``line`` counts from 1, as editors do."""
        where = "" if path is None else f"{path}" + ("" if line is None else f", line {line}") + ": "
        super().__init__(where + message)
        self.path, self.line = path, line


class ModelError(UserError):
    """A model folder or hub name that cannot be loaded as what it was asked to be."""


class StoreError(UserError):
    """A feedback store that cannot be opened, or an answer that it refuses."""


class StoreAwayError(StoreError):
    """A feedback store whose database does not answer now; what was asked of it may be asked again."""


class ExchangeError(UserError):
    """Another labelling tool that is away, refuses, or gives what cannot be used."""


class RunError(UserError):
    """A run folder that is in use, damaged or in the way."""


class NonFiniteError(AssentError):
    """A loss or gradient that is not finite: the run stops with the batch saved, never a silent skip."""

    exit_status = 1


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known word nearest to ``word``, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
