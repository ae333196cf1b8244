"""The column ``assent``: what a record has and a foreign layout has no place for, so that a file comes back whole.

It is the JSON of an object, as text: the same in JSON Lines, CSV and Parquet, and nothing that other readers of the
layout look at.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from assent.data.forms.base import Record, Vote
from assent.data.parse import checked
from assent.data.rows import Row
from assent.types import Demonstration, Judgement, Prompt, Ranking, to_json

COLUMN = "assent"
CONTENT = frozenset({"prompt", "a", "b", "texts", "response", "outcome", "ranks", "label"})
"""What a layout itself must hold: it is never taken from the extra column."""
_KINDS: dict[str, type] = {cls.__name__.lower(): cls for cls in (Ranking, Vote, Judgement, Demonstration)}


def extras_of(record: Record, *, flipped: bool = False) -> str:
    """The column's text: the kind of record, the prompt but for its content, and the fields that are not content.

    ``flipped``: the layout puts the chosen answer first, and the record had it second.
    """
    fields = {name: value for name, value in to_json(record).items() if name not in CONTENT}
    prompt = record.prompt
    about = {"id": prompt.id, "is_text": prompt.text is not None, "metadata": dict(prompt.metadata)}
    found = {"record": type(record).__name__.lower(), "prompt": about, **fields}
    return json.dumps({**found, **({"flipped": True} if flipped else {})}, ensure_ascii=False, allow_nan=False)


def restored(row: Row, record: Record) -> Record:
    """``record`` with what the row's extra column says of it; as it is where the row has none, or one of another kind.

    Raises ``ValueError`` for a column that does not fit the record.
    """
    extra = _extra(row)
    kind = type(record).__name__.lower()
    if extra.get("record") != kind:
        return record
    if extra.get("flipped") and isinstance(record, Vote) and record.outcome == "a":
        record = dataclasses.replace(record, a=record.b, b=record.a, outcome="b")
    not_fields = ("record", "prompt", "flipped")
    given = {name: value for name, value in extra.items() if name not in not_fields and value is not None}
    known = {item.name for item in dataclasses.fields(record)} - CONTENT
    if unknown := sorted(set(given) - known):
        raise ValueError(f"column '{COLUMN}': unknown field '{unknown[0]}' of a {kind}")
    defaults = {item.name for item in dataclasses.fields(record) if item.default is not dataclasses.MISSING}
    content = {name: value for name, value in to_json(record).items() if name in CONTENT or name not in defaults}
    about = extra.get("prompt")
    prompt = _prompt(record.prompt, about) if isinstance(about, Mapping) else record.prompt
    found = checked(_KINDS[kind], {**content, **given, "prompt": to_json(prompt)})
    if isinstance(found, Vote) and found.completion_ids is not None and len(set(found.completion_ids)) != 2:
        raise ValueError(f"column '{COLUMN}': the two completion ids are one")
    return found


def _extra(row: Row) -> Mapping[str, Any]:
    value = row.values.get(COLUMN)
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f"column '{COLUMN}' is not the JSON of an object") from None
    return value if isinstance(value, Mapping) else {}


def _prompt(prompt: Prompt, about: Mapping[str, Any]) -> Prompt:
    changes: dict[str, Any] = {}
    if isinstance(about.get("id"), str):
        changes["id"] = about["id"]
    if isinstance(about.get("metadata"), Mapping):
        changes["metadata"] = dict(about["metadata"])
    messages = prompt.messages or ()
    if about.get("is_text") and len(messages) == 1 and messages[0].role == "user":
        changes |= {"text": messages[0].content, "messages": None}
    return dataclasses.replace(prompt, **changes)
