"""A record as a row of a form, read back at once: what would be lost is known by name before anything is written."""

from __future__ import annotations

import dataclasses
from typing import Any

from assent.data.forms.base import Form, Record, Vote
from assent.data.forms.extras import COLUMN, CONTENT, extras_of, restored
from assent.data.layouts import cells
from assent.data.rows import Row
from assent.errors import DataError
from assent.types import Message, Prompt


def row_of(form: Form, record: Record, *, extras: bool = True) -> tuple[dict[str, Any], frozenset[str]]:
    """The row, and the names of the record's fields that would not come back from it.

    ``extras`` adds the column ``assent``, which keeps what the layout has no place for.  Raises ``ValueError`` with
    the reason where the form cannot hold the prompt, the answers, or what was said of them.
    """
    kind = type(record).__name__.lower()
    if type(record) not in form.write:
        raise ValueError(f"a {kind}: {form.name} has no place for it")
    row = form.write[type(record)](record)
    flipped = False
    if isinstance(record, Vote) and record.outcome == "b":
        plain = _read(form, row, Vote)
        flipped = len(plain) == 1 and plain[0].outcome == "a"  # of chosen and rejected, chosen comes first
    if extras:
        row[COLUMN] = extras_of(record, flipped=flipped)
    found = _read(form, row, type(record))
    if len(found) != 1:
        raise ValueError(f"a {kind} that would come back as {len(found)}")
    back = found[0]
    if flipped and not extras:
        back = dataclasses.replace(back, a=back.b, b=back.a, outcome="b")
    changed = {item.name for item in dataclasses.fields(record) if not _same(record, back, item.name)}
    if changed & CONTENT - {"prompt"} or not _same_words(record.prompt, back.prompt):
        raise ValueError(f"a {kind} whose texts or marks hold what {form.name} reads as something else")
    lost = changed - CONTENT
    if "prompt" in changed:
        lost |= {
            f"prompt.{name}"
            for name in ("id", "text", "metadata")
            if getattr(record.prompt, name) != getattr(back.prompt, name)
        }
    return row, frozenset(lost | ({"order"} if flipped and not extras else set()))


def _read(form: Form, row: dict[str, Any], kind: type) -> list[Any]:
    place = cells(Row(row, form.name, 1))
    try:
        records = [restored(place, found) for found in form.read(place)]
    except DataError as error:
        reason = str(error).removeprefix(f"{form.name}, line 1: ")
        raise ValueError(f"what {form.name} would read otherwise ({reason})") from None
    return [record for record in records if isinstance(record, kind)]


def _same(record: Record, back: Record, name: str) -> bool:
    if name == "completion_ids" and isinstance(record, Vote) and isinstance(back, Vote):
        return record.ids() == back.ids()
    return getattr(record, name) == getattr(back, name)


def _same_words(prompt: Prompt, back: Prompt) -> bool:
    """A plain text may come back as a user message: the words are the same, and the report says so."""
    if prompt.messages == back.messages and prompt.text == back.text:
        return True
    return prompt.text is not None and back.messages == (Message("user", prompt.text),)
