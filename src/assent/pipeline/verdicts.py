"""What a person says of two answers in ``assent chat``, and how it is kept in the feedback store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from assent.errors import StoreError
from assent.feedback.answers import Answer, kind_of
from assent.feedback.questions import Question
from assent.feedback.responses import STRONGEST, Preference
from assent.feedback.store import FeedbackStore
from assent.types import Prompt, short_id

PROJECT = "chat"
"""The project of the store that these questions belong to; each is answered by the one who saw it."""
EXPECTED = "a or b (aa clearly, aaa by far), = a tie, x both failed, nothing for no verdict"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, in the order of the models on the command line."""

    prompt: Prompt
    sources: tuple[str, str]
    """The models: folders or hub names."""
    texts: tuple[str, str]
    order: tuple[int, int]
    """Indices into ``texts`` as they were shown, A first."""


def parse(typed: str) -> Preference | None:
    """A verdict on the answers in the order shown; ``None`` for none.  Raises ``ValueError`` for anything else."""
    word = typed.strip().lower()
    if not word:
        return None
    if word == "=":
        return Preference(0)
    if word == "x":
        return Preference(0, (True, True))
    if len(word) <= STRONGEST and set(word) in ({"a"}, {"b"}):
        return Preference(-len(word) if word[0] == "a" else len(word))
    raise ValueError(f"'{typed.strip()}' is no verdict: {EXPECTED}")


class Verdicts:
    """Keeps verdicts in a store, and counts them for each model."""

    def __init__(self, store: FeedbackStore | None, annotator: str) -> None:
        """``store``: where they go; ``None`` only counts them.

        Raises :class:`~assent.errors.StoreError` for a name that is kept for programs.
        """
        if kind_of(annotator) != "people":
            prefix = annotator.partition(":")[0]
            raise StoreError(f"annotator '{annotator}': names that begin with '{prefix}:' are programs; give --name")
        self.store, self.annotator = store, annotator
        self.wins, self.ties, self.failed = [0, 0], 0, 0
        self._last: tuple[int, Preference, Pair] | None = None

    def keep(self, pair: Pair, verdict: Preference, seconds: float) -> None:
        """Keep one verdict, given ``seconds`` after both answers stood there."""
        self._count(pair, verdict, 1)
        self._last = (self._store(pair, verdict, seconds), verdict, pair)

    def undo(self) -> bool:
        """Take the last verdict back; false where there is none."""
        if self._last is None:
            return False
        event, verdict, pair = self._last
        if self.store is not None:
            self.store.undo(event, self.annotator)
        self._count(pair, verdict, -1)
        self._last = None
        return True

    def tally(self, sources: Sequence[str]) -> str:
        """The verdicts so far, in a line."""
        won = ", ".join(f"{source} {count}" for source, count in zip(sources, self.wins, strict=True))
        failed = f", both failed {self.failed}" if self.failed else ""
        return f"preferred: {won}, ties {self.ties}{failed}"

    def _count(self, pair: Pair, verdict: Preference, by: int) -> None:
        if all(verdict.failed):
            self.failed += by
        elif verdict.strength == 0:
            self.ties += by
        else:
            self.wins[preferred(pair, verdict)] += by

    def _store(self, pair: Pair, verdict: Preference, seconds: float) -> int:
        if self.store is None:
            return 0
        question = _question(pair)
        self.store.add_questions([question])
        before = self.store.last_answer(self.annotator, question.id)
        return self.store.add_answer(
            Answer(question.id, self.annotator, verdict, pair.order, round(seconds, 3), supersedes=before)
        )


def preferred(pair: Pair, verdict: Preference | None) -> int:
    """Index of the better answer; of the one shown first where neither is."""
    return pair.order[1] if verdict is not None and verdict.strength > 0 else pair.order[0]


def _question(pair: Pair) -> Question:
    # The ids lead back to the models; the store shows them to nobody who judges.
    named = [os.path.abspath(source) if os.path.exists(source) else source for source in pair.sources]
    ids = tuple(
        f"{name}#{short_id(pair.prompt.id, text, place)}"
        for place, (name, text) in enumerate(zip(named, pair.texts, strict=True))
    )
    return Question(
        id="q" + short_id(PROJECT, pair.prompt.id, ids),
        prompt=pair.prompt,
        completion_ids=ids,
        texts=pair.texts,
        task="pairwise",
        project=PROJECT,
        overlap=1,
    )
