"""The field's conversation layouts, turned into messages: role lists, ShareGPT's from/value, HH-RLHF dialogues."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from assent.data.rows import Row
from assent.types import Message

MESSAGE_COLUMNS = ("messages", "conversations", "conversation")
ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_TURN = re.compile(r"\n\n(Human|Assistant):")


class EmptyField(ValueError):
    """A column that must hold text holds none; the reader decides between an error and skipping the row."""


class NoAnswer(EmptyField):
    """A conversation without an assistant turn that answers something."""


_OBJECT_CELLS = frozenset({"prompt", "assent", "metadata"})
_LIST_CELLS = frozenset({"completions", "responses", "texts", "summaries", "completion_ids", "ranks", "rank"})


def cells(row: Row) -> Row:
    """A row of a table (CSV, TSV) with those cells decoded that are the JSON of messages, of a list, or of an object
    that this package wrote.  Any other text that looks like JSON stays text: an answer may be JSON."""
    if not row.path.lower().removesuffix(".gz").endswith((".csv", ".tsv")):
        return row
    changed = {name: value for name, cell in row.values.items() if (value := _decoded(name, cell)) is not None}
    return dataclasses.replace(row, values={**row.values, **changed}) if changed else row


def _decoded(name: str, cell: Any) -> Any:
    if not isinstance(cell, str) or cell[:1] not in ("[", "{"):
        return None
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        return value if name in _OBJECT_CELLS else None
    spoken = bool(value) and all(isinstance(item, Mapping) and is_messages(item) for item in value)
    return value if spoken or name in _LIST_CELLS else None


def as_json(value: Any) -> Any:
    """A value as plain JSON types: what has no place there (bytes) becomes its text, not-a-number null."""
    if isinstance(value, Mapping):
        return {str(name): as_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def column(row: Row, names: Sequence[str]) -> str | None:
    """The first of ``names`` that the row has with a value."""
    return next((name for name in names if row.values.get(name) is not None), None)


def text_in(row: Row, name: str, *, may_be_empty: bool = False) -> str:
    """The text of a column, as it stands: leading and trailing space belong to it."""
    value = row.values[name]
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):  # RealToxicityPrompts: {"text": …, scores}
        value = value["text"]
    if not isinstance(value, str):
        raise row.error(f"column '{name}': expected text, got {type(value).__name__}")
    if not may_be_empty and not value.strip():
        raise EmptyField(f"column '{name}' is empty")
    return value


def messages_in(row: Row, name: str) -> tuple[Message, ...]:
    """The messages of a column: a list of role/content or from/value objects, one such object, or their JSON text."""
    return messages_of(row, name, row.values[name])


def messages_of(row: Row, name: str, value: Any) -> tuple[Message, ...]:
    """The messages of a value that stands in column ``name``."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise row.error(f"column '{name}': expected messages, got text that is not their JSON") from None
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise row.error(f"column '{name}': expected a list of messages, got {type(value).__name__}")
    if not value:
        raise EmptyField(f"column '{name}' has no messages")
    return tuple(_message(row, name, item) for item in value)


def _message(row: Row, name: str, item: Any) -> Message:
    if not isinstance(item, Mapping):
        raise row.error(f"column '{name}': expected a message {{role, content}}, got {type(item).__name__}")
    role, content = item.get("role", item.get("from")), item.get("content", item.get("value"))
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    if not isinstance(role, str) or role.lower() not in ROLES:
        known = "system, user, assistant"
        raise row.error(f"column '{name}': unknown role {role!r}; expected one of {known} (or human, gpt)")
    if not isinstance(content, str):
        raise row.error(f"column '{name}': a message of role '{role}' has no text in 'content'")
    return Message(ROLES[role.lower()], content)


def is_messages(value: Any) -> bool:
    """Whether a cell holds messages rather than text."""
    if isinstance(value, Mapping):
        return {"content", "value"} & set(value) != set() and {"role", "from"} & set(value) != set()
    return isinstance(value, Sequence) and not isinstance(value, str)


def is_dialogue(value: Any) -> bool:
    """Whether a cell is an HH-RLHF dialogue, ``"\\n\\nHuman: …\\n\\nAssistant: …"``."""
    return isinstance(value, str) and value.startswith("\n\nHuman:")


def dialogue_messages(text: str) -> tuple[Message, ...]:
    """The messages of an HH-RLHF dialogue (Bai et al. 2022), space around each turn removed.

    Turns of one speaker that follow each other become one message: the dialogues have a few, where a crowd worker or
    the model wrote ``Human:`` itself, and most chat templates refuse two messages of a role in a row.
    """
    parts = _TURN.split(text)[1:]
    merged: list[Message] = []
    for speaker, said in zip(parts[::2], parts[1::2], strict=True):
        role, said = ("user" if speaker == "Human" else "assistant"), said.strip()
        if merged and merged[-1].role == role:
            said = "\n\n".join(part for part in (merged.pop().content, said) if part)
        merged.append(Message(role, said))
    return tuple(merged)


def up_to_last_user(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The part of a conversation that is a prompt: what comes before the last answer."""
    last = max((i for i, message in enumerate(messages) if message.role == "user"), default=-1)
    return tuple(messages[: last + 1])


def last_answer(messages: Sequence[Message]) -> tuple[tuple[Message, ...], str]:
    """What stands before the last assistant turn, and that turn's text; messages after it are dropped."""
    last = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
    if last < 0:
        raise NoAnswer("the conversation has no assistant turn")
    if not messages[last].content.strip():
        raise EmptyField("the last assistant turn is empty")
    if not messages[:last]:
        raise NoAnswer("nothing stands before the assistant turn")
    return tuple(messages[:last]), messages[last].content


def split_pair(
    chosen: Sequence[Message], rejected: Sequence[Message], row: Row, names: tuple[str, str] = ("chosen", "rejected")
) -> tuple[tuple[Message, ...], str, str]:
    """The shared prefix up to its last user turn, and the answer of each conversation to it.  ``names`` their columns.

    Raises :class:`DataError` where the two differ by more than their last answer.
    """
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    prompt = up_to_last_user(chosen[:shared])
    rests = (chosen[len(prompt) :], rejected[len(prompt) :])
    for name, rest in zip(names, rests, strict=True):
        if not rest:
            raise EmptyField(f"column '{name}' has no answer after the shared prompt")
        if len(rest) > 1 or rest[0].role != "assistant":
            raise row.error(
                f"{names[0]} and {names[1]} differ by more than the last answer: {len(rest)} messages of '{name}' "
                f"follow the {len(prompt)} shared ones; expected one, of the assistant"
            )
        if not rest[0].content.strip():
            raise EmptyField(f"the answer in column '{name}' is empty")
    return prompt, rests[0][0].content, rests[1][0].content
