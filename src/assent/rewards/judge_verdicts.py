"""What a judge is asked to say, as JSON, and how its answer is read: strictly, after repair, or asked for again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any, Literal, TypeVar

import json_repair
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator

from assent.rewards.judge_server import JudgeServer
from assent.rewards.source import Unscored

LETTERS = ascii_uppercase
"""What answers are called before the judge."""


class Verdict(BaseModel):
    """The base: a reason first, so that the verdict follows from it."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    reason: str = ""


class Preference(Verdict):
    """Which of two answers is better."""

    better: Literal["A", "B", "tie"]

    @field_validator("better", mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        word = str(value).strip().strip(".").casefold()
        return {"a": "A", "b": "B", "answer a": "A", "answer b": "B", "tie": "tie", "equal": "tie"}.get(word, value)


class Order(Verdict):
    """All answers, the best first; those that are equally good share a list."""

    ranking: list[list[str]]

    @field_validator("ranking", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return [item if isinstance(item, list) else [item] for item in value] if isinstance(value, list) else value


class Critique(Verdict):
    """What is wrong with an answer."""

    critique: str = Field(min_length=1)


def grade(low: int, high: int) -> type[Verdict]:
    """A verdict with a whole number ``score`` from ``low`` to ``high``."""
    return create_model("Grade", __base__=Verdict, score=(int, Field(ge=low, le=high)))


V = TypeVar("V", bound=Verdict)


def ask_for(server: JudgeServer, kind: type[V], system: str, question: str, answers: int = 0) -> V:
    """The judge's verdict.  An answer that cannot be read is told why and asked for again.

    ``answers``: how many an :class:`Order` must name, each once.  Raises :class:`Unscored` with what the judge said
    when it never gives one.
    """
    schema = kind.model_json_schema()
    asked = f"{question}\n\nAnswer with one JSON object and nothing else, of this form: {_form(kind, answers)}"
    messages: list[dict[str, str]] = [{"role": "system", "content": system}, {"role": "user", "content": asked}]
    said, problem = "", ""
    for attempt in range(server.settings.repairs + 1):
        said = server.ask(messages, schema)
        found, problem, clean = read_verdict(said, kind, answers)
        if found is not None:
            if attempt or not clean:
                server.count_repaired()
            return found
        again = f"That could not be read: {problem}. Answer again, with the JSON object alone: {_form(kind, answers)}"
        messages = [*messages, {"role": "assistant", "content": said}, {"role": "user", "content": again}]
    server.count_unreadable()
    raise Unscored(f"the judge {server.settings.served_name} gave no verdict ({problem}); it said {_short(said)}")


def read_verdict(said: str, kind: type[V], answers: int = 0) -> tuple[V | None, str, bool]:
    """The verdict in a judge's answer or ``None``, why there is none, and whether the answer was clean JSON.

    What stands around the object is left out and slips of JSON are repaired; the verdict itself is never guessed: a
    value outside what was asked for is no verdict.
    """
    start, end = said.find("{"), said.rfind("}")
    if start < 0:
        return None, "there is no JSON object in it", False
    clean = True
    try:
        value = json.loads(said)
    except (ValueError, RecursionError):
        clean = False
        value = _repaired(said[start : end + 1] if end > start else said[start:])
    if not isinstance(value, dict):
        return None, "there is no JSON object in it", False
    try:
        found = kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        return None, f"'{'.'.join(map(str, first['loc']))}': {first['msg']}", False
    if isinstance(found, Order):
        named = sorted(name.strip() for group in found.ranking for name in group)
        if named != list(LETTERS[:answers]):
            return None, f"'ranking' must name each of {', '.join(LETTERS[:answers])} once, and names {named}", False
    return found, "", clean


def _repaired(text: str) -> Any:
    try:
        return json_repair.loads(text)
    except (ValueError, RecursionError):
        return None


def _form(kind: type[Verdict], answers: int) -> str:
    if issubclass(kind, Preference):
        return '{"reason": "...", "better": "A" or "B" or "tie"}'
    if issubclass(kind, Order):
        example: Sequence[Any] = [[letter] for letter in LETTERS[:answers]]
        return (
            f'{{"reason": "...", "ranking": {json.dumps(example)}}}, the best first, answers that are equally good in '
            "one list"
        )
    if issubclass(kind, Critique):
        return '{"reason": "...", "critique": "..."}'
    score = kind.model_json_schema()["properties"]["score"]
    return f'{{"reason": "...", "score": a whole number from {score["minimum"]} to {score["maximum"]}}}'


def _short(said: str) -> str:
    text = " ".join(said.split())
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
