"""One row to one record: which columns of the field's layouts mean what.

Each function raises :class:`MissingColumn` when the row has another layout, ``EmptyField`` when a text that must be
there is empty, :class:`DataError` when a value is of the wrong kind, ``ValueError`` when a record refuses it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from assent.data.layouts import (
    MESSAGE_COLUMNS,
    EmptyField,
    as_json,
    column,
    dialogue_messages,
    is_dialogue,
    is_messages,
    last_answer,
    messages_in,
    split_pair,
    text_in,
    up_to_last_user,
)
from assent.data.rows import Row
from assent.types import (
    Comparison,
    Completion,
    Demonstration,
    Judgement,
    Message,
    Prompt,
    Ranking,
    from_json,
    short_id,
    to_json,
)

RANK_COLUMNS = ("ranks", "rank")
RESPONSE_COLUMNS = ("completion", "response", "output", "answer")
TEXT_COLUMNS = ("text", "sentence")
_PROMPT_COLUMNS = ("prompt", *MESSAGE_COLUMNS, "instruction", "question", "text")

R = TypeVar("R")


class MissingColumn(ValueError):
    """The row's columns are not of the layout asked for; the argument says what was expected."""


def checked(cls: type[R], values: Mapping[str, Any]) -> R:
    """The record of a row that :func:`assent.types.to_json` wrote.  ``ValueError`` names a field that is unknown,
    missing or of the wrong kind."""
    try:
        from_json(cls, values)  # knows no types, but every unknown field
        return _adapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"field '{where}' of a {cls.__name__}: {first['msg'].removeprefix('Value error, ')}") from None
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not a {cls.__name__}: {error}") from None


@cache
def _adapter(cls: type[R]) -> TypeAdapter[R]:
    return TypeAdapter(cls)


def make_prompt(
    text: str | None, messages: tuple[Message, ...] | None, id_: Any, metadata: Mapping[str, Any]
) -> Prompt:
    """A prompt with the id given, or one made of its content."""
    if not id_ and id_ != 0:
        id_ = short_id(text) if messages is None else short_id([(m.role, m.content) for m in messages])
    return Prompt(str(id_), text=text, messages=messages, metadata=as_json(metadata))


def own_prompt(row: Row) -> Prompt | None:
    """The prompt of a row that this package wrote: an object with id and text or messages."""
    value = row.values.get("prompt")
    if isinstance(value, Mapping) and "id" in value and ("text" in value or "messages" in value):
        given = {name: part for name, part in value.items() if part is not None}
        if isinstance(given.get("metadata"), Mapping):  # Parquet gives each row the keys of all
            held = as_json(given["metadata"])
            given["metadata"] = {name: part for name, part in held.items() if part is not None}
        return checked(Prompt, given)
    return None


def own_record(row: Row, cls: type[R]) -> R | None:
    """The record of a row that this package wrote, or ``None`` for a foreign row."""
    required = _required(cls)
    prompt = own_prompt(row) if required <= set(row.values) else None
    if prompt is None:
        return None
    # Parquet and the hub fill absent fields with null, a table with nothing; leaving these out gives the defaults.
    given = {name: value for name, value in row.values.items() if value is not None and name != "assent"}
    given["prompt"] = to_json(prompt)
    return checked(cls, {name: value for name, value in given.items() if value != "" or name in required})


@cache
def _required(cls: type) -> frozenset[str]:
    return frozenset(
        item.name
        for item in dataclasses.fields(cls)
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    )


def parse_text(row: Row) -> str:
    """The text of a row of plain text: column text or sentence."""
    name = column(row, TEXT_COLUMNS)
    if name is None:
        raise MissingColumn("text (or sentence)")
    return text_in(row, name)


def prompt_content(row: Row, *, may_use_text: bool) -> tuple[str | None, tuple[Message, ...] | None, str]:
    """Text or messages of the row's prompt, the other ``None``; and the column it came from.

    An instruction or question becomes a user message, since the answer does not continue its sentence; a plain
    ``prompt`` stays text, to which the answer is joined as it stands.
    """
    name = column(row, _PROMPT_COLUMNS if may_use_text else _PROMPT_COLUMNS[:-1])
    if name is None:
        raise MissingColumn("prompt, messages, instruction (+ input), question" + (" or text" if may_use_text else ""))
    value = row.values[name]
    if name in MESSAGE_COLUMNS or (name == "prompt" and is_messages(value)):
        messages = up_to_last_user(messages_in(row, name))
        if not messages:
            raise EmptyField(f"column '{name}' has no user turn")
        return None, messages, name
    if name == "prompt" and is_dialogue(value):
        return None, up_to_last_user(dialogue_messages(value)), name
    if name in ("instruction", "question"):
        said = text_in(row, name)
        more = row.values.get("input") if name == "instruction" else None
        said = f"{said}\n\n{more}" if isinstance(more, str) and more.strip() else said
        system = row.values.get("system")
        before = (Message("system", system),) if isinstance(system, str) and system.strip() else ()
        return None, (*before, Message("user", said)), name
    return text_in(row, name), None, name


def parse_prompt(row: Row) -> Prompt:
    """A prompt; the row's other columns become its metadata."""
    own = own_prompt(row)
    if own is not None:
        return own
    text, messages, name = prompt_content(row, may_use_text=True)
    inside = row.values[name] if isinstance(row.values[name], Mapping) else {}
    metadata = {key: value for key, value in inside.items() if key != "text"}
    used = {name, "id", "metadata"} | ({"input", "system"} if name == "instruction" else set())
    metadata |= {key: value for key, value in row.values.items() if key not in used and value is not None}
    more = row.values.get("metadata")
    metadata |= more if isinstance(more, Mapping) else {}
    return make_prompt(text, messages, row.values.get("id"), metadata)


def _prompt_of_pair(row: Row) -> Prompt:
    own = own_prompt(row)
    if own is not None:
        return own
    text, messages, _ = prompt_content(row, may_use_text=False)
    return make_prompt(text, messages, row.values.get("prompt_id"), {})


def _answer(row: Row, name: str, *, may_be_empty: bool = False) -> str:
    """An answer given as text, or as one assistant message (TRL's conversational layout)."""
    if is_messages(row.values[name]):
        messages = messages_in(row, name)
        if len(messages) != 1 or messages[0].role != "assistant":
            raise row.error(f"column '{name}': expected one assistant message, got {len(messages)} messages")
        if not messages[0].content.strip() and not may_be_empty:
            raise EmptyField(f"column '{name}' is empty")
        return messages[0].content
    return text_in(row, name, may_be_empty=may_be_empty)


def _prompt_and_answer(row: Row) -> tuple[Prompt, str] | None:
    """Prompt and answer of one row, from two columns or one conversation; ``None`` when it has neither."""
    name = column(row, RESPONSE_COLUMNS)
    if name is not None and column(row, _PROMPT_COLUMNS[:-1]) is not None:
        return _prompt_of_pair(row), _answer(row, name)
    held = column(row, MESSAGE_COLUMNS)
    if held is not None:
        messages, answer = last_answer(messages_in(row, held))
        return make_prompt(None, messages, row.values.get("prompt_id"), {}), answer
    return None


def parse_demonstration(row: Row) -> Demonstration:
    """Prompt and answer."""
    own = own_record(row, Demonstration)
    if own is not None:
        if not own.response.strip():
            raise EmptyField("column 'response' is empty")
        return own
    both = _prompt_and_answer(row)
    if both is None:
        raise MissingColumn(
            "prompt + completion (or response), messages, instruction (+ input) + output, or question + answer"
        )
    author = row.values.get("author")
    return Demonstration(*both, author=author if isinstance(author, str) else "")


def parse_comparison(row: Row) -> Comparison:
    """Chosen against rejected, in any of the layouts that :func:`assent.data.readers.read_comparisons` lists."""
    own = own_record(row, Comparison)
    if own is not None:
        if own.ranking is None and not own.group:  # an empty answer that a policy sampled is a fact about the policy
            for name in ("chosen", "rejected"):
                text_in(row, name)
        return own
    if column(row, ("chosen",)) is None or column(row, ("rejected",)) is None:
        raise MissingColumn("prompt + chosen + rejected, or chosen + rejected as conversations")
    prompt, chosen, rejected = _pair(row)
    given = row.values.get("id")
    numbers = {
        name: number_in(row, name) for name in ("margin", "confidence") if row.values.get(name) not in (None, "")
    }
    return Comparison(
        str(given) if given not in (None, "") else short_id(prompt.id, chosen, rejected),
        prompt,
        chosen,
        rejected,
        **numbers,
        **{name: row.values[name] for name in ("criterion", "annotator") if isinstance(row.values.get(name), str)},
    )


def _pair(row: Row) -> tuple[Prompt, str, str]:
    sides = row.values["chosen"], row.values["rejected"]
    if all(is_dialogue(side) for side in sides):
        prompt, chosen, rejected = split_pair(dialogue_messages(sides[0]), dialogue_messages(sides[1]), row)
    elif all(is_messages(side) for side in sides) and own_prompt(row) is None:
        prompt, chosen, rejected = split_pair(messages_in(row, "chosen"), messages_in(row, "rejected"), row)
        held = column(row, ("prompt", *MESSAGE_COLUMNS))
        if held is not None and not prompt:  # the two hold the answers alone, and the prompt is in its own column
            text, messages, _ = prompt_content(row, may_use_text=False)
            # Answers that are messages make a plain prompt a user message too (UltraFeedback's layout).
            prompt = messages or (Message("user", text or ""),)
    else:
        return _prompt_of_pair(row), _answer(row, "chosen"), _answer(row, "rejected")
    if not prompt:
        raise EmptyField("chosen and rejected share no user turn and there is no prompt")
    return make_prompt(None, prompt, row.values.get("prompt_id"), {}), chosen, rejected


def number_in(row: Row, name: str) -> float:
    """A finite number; true and false are 1 and 0."""
    value = row.values[name]
    if isinstance(value, str):
        value = {"true": 1, "false": 0}.get(value.strip().lower(), value)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise row.error(f"column '{name}': expected a number or true/false, got {value!r}") from None
    if not math.isfinite(number):
        raise row.error(f"column '{name}': expected a finite number, got {value!r}")
    return number


def parse_judgement(row: Row) -> Judgement:
    """A label of one answer; of a plain text, the whole text is the answer and the prompt is empty."""
    own = own_record(row, Judgement)
    if own is not None:
        if not own.response.strip():
            raise EmptyField("column 'response' is empty")
        return own
    if column(row, ("label",)) is None:
        raise MissingColumn("prompt + completion + label, messages + label, or text + label")
    label = number_in(row, "label")
    both = _prompt_and_answer(row)
    if both is None:
        name = column(row, TEXT_COLUMNS)
        if name is None:
            raise MissingColumn("prompt + completion + label, messages + label, or text + label")
        both = make_prompt("", None, None, {}), text_in(row, name)
    prompt, response = both
    given = row.values.get("id")
    return Judgement(
        str(given) if given not in (None, "") else short_id(prompt.id, response, label),
        prompt,
        response,
        label,
        **{name: row.values[name] for name in ("criterion", "annotator") if isinstance(row.values.get(name), str)},
    )


def parse_completion(row: Row) -> tuple[Prompt, Completion]:
    """A sampled answer with its prompt beside it: our own layout, or any prompt + completion row."""
    prompt = own_prompt(row)
    if prompt is not None and {"id", "prompt_id", "text"} <= set(row.values):
        fields = {name: value for name, value in row.values.items() if name != "prompt" and value is not None}
        return prompt, checked(Completion, fields)
    both = _prompt_and_answer(row)
    if both is None:
        raise MissingColumn("prompt + completion (or response), or messages")
    scored = row.values.get("score") not in (None, "")
    metadata = {"score": number_in(row, "score")} if scored else {}
    return both[0], Completion(short_id(both[0].id, both[1]), both[0].id, both[1], metadata=metadata)


def parse_ranking(row: Row) -> Ranking:
    """Our own layout, or lists: prompt + completions (responses, texts, summaries) + ranks (rank), 1 best."""
    own = own_record(row, Ranking)
    if own is not None:
        if any(rank is not None and rank < 1 for rank in own.ranks):
            raise row.error("column 'ranks': expected whole numbers from 1 (best), null is failed")
        return own
    texts_at = column(row, ("completions", "responses", "texts", "summaries"))
    ranks_at = column(row, RANK_COLUMNS)
    if texts_at is None or ranks_at is None:
        raise MissingColumn("prompt + completions + ranks, both lists")
    if column(row, _PROMPT_COLUMNS[:-1]) is None:
        raise EmptyField("column 'prompt' is empty")
    texts, ranks = row.values[texts_at], row.values[ranks_at]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise row.error(f"column '{texts_at}': expected a list of texts")
    if not isinstance(ranks, list) or not all(rank is None or (isinstance(rank, int) and rank > 0) for rank in ranks):
        raise row.error(f"column '{ranks_at}': expected a list of ranks: 1 is best, null is failed")
    prompt = _prompt_of_pair(row)
    who = row.values.get("annotator", row.values.get("worker"))
    annotator = who if isinstance(who, str) else ""
    ids = tuple(short_id(prompt.id, text) for text in texts)
    # The row's own id may name its post, which several people ranked; content and annotator name the ranking.
    return Ranking(short_id(prompt.id, texts, ranks, annotator), prompt, ids, tuple(texts), tuple(ranks), annotator)
