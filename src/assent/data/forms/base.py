"""What a file form is: how one row of a published layout becomes records, and a record becomes a row again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from assent.data.layouts import EmptyField, as_json
from assent.data.rows import Row
from assent.types import Comparison, Demonstration, Judgement, Message, Prompt, Ranking, RankingKind, short_id

Outcome = Literal["a", "b", "tie", "both bad"]


@dataclass(frozen=True, slots=True)
class Vote:
    """Two answers to one prompt, ``a`` and ``b`` in the file's order, and what somebody said of them."""

    prompt: Prompt
    a: str
    b: str
    outcome: Outcome
    strength: float = 0.0
    """How far the winner stands above the other, in the form's own unit; 0 where it says nothing."""
    kind: RankingKind = "ranking"
    """What was asked; "pairwise" where the strength is 0 (none), 1 (slight), 2 (clear) or 3 (strong)."""
    failed: bool = False
    """The answer that lost was not only worse but failed."""
    confidence: float = 1.0
    """Probability that the outcome is right, where the form gives one: above 0.5, up to 1."""
    annotator: str = ""
    criterion: str = "overall"
    note: str = ""
    seconds: float | None = None
    """Time taken; ``None`` where the form has none."""
    created: float = 0.0
    completion_ids: tuple[str, str] | None = None
    """Ids of the two answers where the file keeps them; ``None``: made of the content."""
    id: str = ""

    def ids(self) -> tuple[str, str]:
        """Ids of the two answers; equal texts get ids of their own."""
        return self.completion_ids or answer_ids(self.prompt, (self.a, self.b))  # pyright: ignore[reportReturnType]

    def key(self) -> str:
        """The file's id, or one made of the content."""
        return self.id or short_id(self.prompt.id, self.a, self.b, self.outcome, self.annotator)

    def ranking(self) -> Ranking:
        """The same as a ranking of two; a confidence has no place in it, nor a strength of another scale."""
        worse = None if self.failed else 2
        ranks = {"a": (1, worse), "b": (worse, 1), "tie": (1, 1), "both bad": (None, None)}[self.outcome]
        return Ranking(
            self.key(),
            self.prompt,
            self.ids(),
            (self.a, self.b),
            ranks,
            self.annotator,
            criterion=self.criterion,
            seconds=self.seconds,
            created=self.created,
            note=self.note,
            kind=self.kind,
            strength=self.strength if self.kind == "pairwise" else None,
        )

    def comparison(self) -> Comparison:
        """The same as a comparison, its strength the margin; of two bad answers neither is above the other: a tie."""
        chosen, rejected = (self.b, self.a) if self.outcome == "b" else (self.a, self.b)
        return Comparison(
            self.key(),
            self.prompt,
            chosen,
            rejected,
            tie=self.outcome in ("tie", "both bad"),
            margin=self.strength,
            confidence=self.confidence,
            criterion=self.criterion,
            annotator=self.annotator,
        )


def vote_of(ranking: Ranking) -> Vote:
    """A ranking of two answers as a vote.  Raises ``ValueError`` for any other number."""
    if len(ranking.texts) != 2:
        raise ValueError(f"a ranking of {len(ranking.texts)} answers is no vote")
    first, second = ranking.ranks
    outcome: Outcome
    if first is None or second is None:
        outcome = "both bad" if first is second else ("b" if first is None else "a")
    else:
        outcome = "tie" if first == second else ("a" if first < second else "b")
    return Vote(
        ranking.prompt,
        *ranking.texts,
        outcome,
        strength=ranking.strength or 0.0,
        kind=ranking.kind,
        failed=(first is None) != (second is None),
        annotator=ranking.annotator,
        criterion=ranking.criterion,
        note=ranking.note,
        seconds=ranking.seconds,
        created=ranking.created,
        completion_ids=ranking.completion_ids,  # pyright: ignore[reportArgumentType] - two of them
        id=ranking.id,
    )


Record = Ranking | Vote | Judgement | Demonstration
Read = Callable[[Row], Iterable[Record]]


@dataclass(frozen=True)
class Form:
    """One published layout.

    ``read`` raises as the parsers of :mod:`assent.data.parse` do: ``EmptyField``, ``MissingColumn``, ``ValueError``,
    :class:`DataError`.
    """

    name: str
    title: str
    tells: Callable[[Row], bool]
    """Whether a row is of this form, judged by its columns."""
    read: Read
    write: Mapping[type, Callable[[Any], dict[str, Any]]] = field(default_factory=dict)
    """Kind of record to its row; raises ``ValueError`` with what the form cannot hold.  A kind that is missing cannot
    be written in this form; a ranking is then written as votes, where those can be."""
    scale: tuple[int, int] | None = None
    """Lowest and highest rating; ``None``: labels, 0 or 1."""
    not_read: tuple[str, ...] = ()
    """Columns of the layout that no record has a place for; an import says so where they are filled."""


def answer_ids(prompt: Prompt, texts: Sequence[str]) -> tuple[str, ...]:
    """An id for each answer, made of prompt and text; a text that occurs again counts on."""
    seen: dict[str, int] = {}
    ids: list[str] = []
    for text in texts:
        turn = seen[text] = seen.get(text, -1) + 1
        ids.append(short_id(prompt.id, text, turn) if turn else short_id(prompt.id, text))
    return tuple(ids)


def nested(row: Row, name: str) -> Any:
    """A cell that holds a list or an object; in a table (CSV) it is their JSON."""
    value = row.values.get(name)
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise row.error(f"column '{name}': text that begins like JSON and is not") from None
    return value


def objects(row: Row, name: str) -> list[Mapping[str, Any]]:
    """A cell that holds a list of objects."""
    value = nested(row, name)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise row.error(f"column '{name}': expected a list of objects, got {_kind(value)}")
    return value


def an_object(row: Row, name: str) -> Mapping[str, Any]:
    """A cell that holds one object."""
    value = nested(row, name)
    if not isinstance(value, Mapping):
        raise row.error(f"column '{name}': expected an object, got {_kind(value)}")
    return value


def said(row: Row, value: Any, where: str) -> str:
    """``value``, which must be text that is not blank."""
    if not isinstance(value, str):
        raise row.error(f"{where}: expected text, got {_kind(value)}")
    if not value.strip():
        raise EmptyField(f"{where} is empty")
    return value


def two(row: Row, first: str, second: str) -> tuple[str, str]:
    """The texts of two columns."""
    a, b = (said(row, row.values.get(name), f"column '{name}'") for name in (first, second))
    return a, b


def finite(row: Row, value: Any, where: str) -> float:
    """``value`` as a finite number; a table (CSV) gives text."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise row.error(f"{where}: expected a number, got {str(value)[:60]!r}")
    return number


def whole(row: Row, value: Any, where: str) -> int:
    """``value`` as a whole number."""
    number = finite(row, value, where)
    if number != int(number):
        raise row.error(f"{where}: expected a whole number, got {number:g}")
    return int(number)


def name_of(value: Any) -> str:
    """A name or id as text; empty where there is none."""
    return "" if value is None else str(value).strip()


def from_user(text: str, metadata: Mapping[str, Any] | None = None) -> Prompt:
    """A prompt of one user message; its id is made of the content."""
    return conversation((Message("user", text),), metadata)


def conversation(messages: tuple[Message, ...], metadata: Mapping[str, Any] | None = None) -> Prompt:
    """A prompt of messages; its id is made of the content."""
    number = short_id([(message.role, message.content) for message in messages])
    return Prompt(number, messages=messages, metadata=kept(metadata or {}))


def kept(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as plain JSON, without what is empty."""
    plain = {str(name): as_json(value) for name, value in metadata.items()}
    return {name: value for name, value in plain.items() if value not in (None, "", [], {})}


def seconds_of(value: Any) -> float:
    """Seconds since the epoch of a number or an ISO time; 0 where there is none."""
    if isinstance(value, str) and value:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return 0.0
    if isinstance(value, datetime):
        try:
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        except (OverflowError, ValueError):
            return 0.0
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12:
        return float(value)
    return 0.0


def user_text(prompt: Prompt, form: str) -> str:
    """The text of a prompt where a form has room for one text only: itself, or its only user message."""
    if prompt.text is not None:
        return prompt.text
    messages = prompt.messages or ()
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    raise ValueError(f"a conversation of {len(messages)} messages: a prompt in {form} is one text")


def as_chat(messages: Iterable[Message]) -> list[dict[str, str]]:
    """Messages as the role/content objects of the field."""
    return [{"role": message.role, "content": message.content} for message in messages]


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
