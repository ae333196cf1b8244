"""Many questions and answers into the store: what is there already is known, what does not fit is told, one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import OperationalError

from assent.errors import DataError, StoreError
from assent.feedback.answers import Answer
from assent.feedback.questions import Question
from assent.feedback.responses import fields_of, in_store_order
from assent.feedback.store import FeedbackStore
from assent.types import short_id

Refuse = Callable[[str], None]
"""Told why an item is not kept; it knows where the item came from."""
BATCH = 1_000


@dataclass(frozen=True)
class Item:
    """A question and, where there is one, an answer to it, on their way into the store."""

    question: Question
    answer: Answer | None
    refuse: Refuse


@dataclass
class Kept:
    """What became of items."""

    questions: int = 0
    """New ones."""
    answers: int = 0
    """New ones."""
    known: int = 0
    """Answers that were there already."""


@dataclass
class Keeper:
    """Takes items and writes them in batches.  :meth:`finish` writes the rest."""

    store: FeedbackStore
    kept: Kept = field(default_factory=Kept)
    _waiting: list[Item] = field(default_factory=list[Item])

    def take(self, item: Item) -> None:
        """Keep one item, at the latest when the batch is full."""
        self._waiting.append(item)
        if len(self._waiting) >= BATCH:
            self.finish()

    def finish(self) -> None:
        """Write what waits."""
        batch, self._waiting = self._waiting, []
        known = self.store.find_questions({item.question.id for item in batch})
        fresh: dict[str, Item] = {}
        settled: list[Item] = []
        for item in batch:
            there = known.get(item.question.id)
            if there is None:
                there = fresh.setdefault(item.question.id, item).question
            try:
                settled.append(_settled(item, there))
            except DataError as error:
                item.refuse(str(error))
        refused: set[str] = set()

        def refuse_question(item: Item, reason: str) -> None:
            refused.add(item.question.id)
            for other in settled:
                if other.question.id == item.question.id:
                    other.refuse(reason)

        questions = [fresh[item.question.id] for item in settled if item.question.id in fresh]
        once = list({item.question.id: item for item in questions}.values())
        self.kept.questions += sum(
            _halved(once, lambda part: [self.store.add_questions([i.question for i in part])], refuse_question)
        )
        self._answers([item for item in settled if item.answer and item.question.id not in refused])

    def _answers(self, items: list[Item]) -> None:
        first: dict[tuple[str, str], Item] = {}
        for item in items:
            assert item.answer is not None
            earlier = first.setdefault((item.question.id, item.answer.annotator), item)
            if earlier is item:
                continue
            if earlier.answer is not None and earlier.answer.key == item.answer.key:
                self.kept.known += 1
            else:
                item.refuse(_ANSWERED.format(item.answer.annotator))
        before = self.store.last_event()
        events = _halved(list(first.values()), self._add, self._refuse_answer)
        self.kept.answers += sum(event > before for event in events)
        self.kept.known += sum(event <= before for event in events)

    def _add(self, part: Sequence[Item]) -> list[int]:
        return self.store.add_answers([item.answer for item in part if item.answer])

    def _refuse_answer(self, item: Item, reason: str) -> None:
        answer = item.answer
        assert answer is not None
        event = self.store.last_answer(answer.annotator, answer.question_id)
        if event is None or answer.supersedes is not None:
            item.refuse(reason)
            return
        standing = self.store.answer(event)
        if standing is not None and said(standing.response, standing.order) == said(answer.response, answer.order):
            self.kept.known += 1
        else:
            item.refuse(_ANSWERED.format(answer.annotator))


_ANSWERED = "'{}' answered this question before, and otherwise; the first answer stands"


def said(response: Any, order: Sequence[int] | None) -> Any:
    """What a response says, whatever order it was shown in.  One that does not fit its order stays as it is: the store
    refuses it, and says why."""
    try:
        return response if order is None else in_store_order(response, order)
    except (KeyError, IndexError):
        return response


def named(answer: Answer, prefix: str, *more: Any) -> Answer:
    """The answer with a key made of its content, so that the same one sent again is kept once."""
    response = said(answer.response, answer.order)
    content = (answer.question_id, answer.annotator, response.kind, fields_of(response), answer.note)
    return dataclasses.replace(answer, key=f"{prefix}:{short_id(*content, *more)}")


def _settled(item: Item, there: Question) -> Item:
    """The item as an answer to the question that the store has (or will have) under this id.

    Its answers may stand in another order, and its prompt may have other metadata: files say one and the same thing
    with more or less beside it.  Raises :class:`DataError` where it is another question.
    """
    mine = item.question
    if mine is there or mine == there:
        return item
    places = {pair: index for index, pair in enumerate(zip(there.completion_ids, there.texts, strict=True))}
    pairs = list(zip(mine.completion_ids, mine.texts, strict=True))
    alike = ("criterion", "task", "criteria", "labels", "project")
    words = mine.prompt.text == there.prompt.text and mine.prompt.messages == there.prompt.messages
    same = words and all(getattr(mine, name) == getattr(there, name) for name in alike)
    if not same or set(pairs) != set(places):
        raise DataError(f"question {mine.id} is in the store with other content; give the new one a new id")
    answer = item.answer
    if answer is not None and answer.order is not None:
        answer = dataclasses.replace(answer, order=tuple(places[pairs[index]] for index in answer.order))
    return Item(there, answer, item.refuse)


def _halved(items: Sequence[Item], write: Callable[[Sequence[Item]], list[int]], refuse: Any) -> list[int]:
    """``write`` all, or where one of them is refused, each half, until the one is alone and is told why."""
    if not items:
        return []
    try:
        return write(items)
    except (StoreError, DataError) as error:
        if isinstance(error.__cause__, OperationalError):  # the database is away: no item's fault
            raise
        if len(items) == 1:
            refuse(items[0], str(error))
            return []
    middle = len(items) // 2
    return _halved(items[:middle], write, refuse) + _halved(items[middle:], write, refuse)
