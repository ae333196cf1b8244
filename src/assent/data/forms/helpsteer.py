"""HelpSteer 1, 2 and 3: ratings of one answer on five attributes, and preferences between two."""

from __future__ import annotations

import re
from typing import Any

from assent.data.forms.base import (
    Form,
    Outcome,
    Vote,
    as_chat,
    conversation,
    finite,
    name_of,
    nested,
    said,
    two,
    user_text,
    whole,
)
from assent.data.layouts import EmptyField, messages_of
from assent.data.rows import Row
from assent.types import Judgement, Message, Prompt, short_id

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def _prompt(row: Row) -> Prompt:
    """HelpSteer 2 writes later turns of a conversation into one text: ``…<extra_id_1>Assistant\\n…``."""
    text = said(row, row.values.get("prompt"), "column 'prompt'")
    first, *rest = _TURN.split(text)
    messages = [Message("user", first)] if first.strip() else []
    messages += [
        Message(speaker.lower(), content.removesuffix("\n"))
        for speaker, content in zip(rest[::2], rest[1::2], strict=True)
    ]
    while messages and messages[-1].role == "assistant" and not messages[-1].content.strip():
        messages.pop()  # the turn that the response fills
    if not messages or messages[-1].role != "user":
        raise EmptyField("column 'prompt' has no user turn to answer")
    return conversation(tuple(messages))


def _prompt_text(prompt: Prompt) -> str:
    messages = prompt.messages or ()
    if len(messages) < 2:
        return user_text(prompt, "helpsteer")
    if [m.role for m in messages] != [("user", "assistant")[i % 2] for i in range(len(messages))]:
        raise ValueError("a conversation that does not alternate from user to assistant")
    turns = [f"\n<extra_id_1>{message.role.capitalize()}\n{message.content}" for message in messages[1:]]
    return messages[0].content + "".join(turns)


def _read_ratings(row: Row) -> list[Judgement]:
    """Wang et al. (2023, 2024): 0 to 4 on each attribute."""
    prompt, response = _prompt(row), said(row, row.values.get("response"), "column 'response'")
    given = {name: row.values.get(name) for name in ATTRIBUTES}
    ratings = {name: value for name, value in given.items() if value not in (None, "")}
    if not ratings:
        raise EmptyField(f"none of {', '.join(ATTRIBUTES)} has a rating")
    return [
        Judgement(
            short_id(prompt.id, response, name),
            prompt,
            response,
            finite(row, value, f"column '{name}'"),
            criterion=name,
        )
        for name, value in ratings.items()
    ]


def _write_rating(judgement: Judgement) -> dict[str, Any]:
    if judgement.criterion not in ATTRIBUTES:
        raise ValueError(f"a rating of '{judgement.criterion}': helpsteer has {', '.join(ATTRIBUTES)}")
    ratings = {name: judgement.label if name == judgement.criterion else None for name in ATTRIBUTES}
    return {"prompt": _prompt_text(judgement.prompt), "response": judgement.response, **ratings}


HELPSTEER = Form(
    "helpsteer",
    "HelpSteer 1 and 2: ratings of an answer on five attributes",
    lambda row: {"prompt", "response"} <= set(row.values) and bool(set(ATTRIBUTES) & set(row.values)),
    _read_ratings,
    {Judgement: _write_rating},
    scale=(0, 4),
)


def _outcome(row: Row, name: str) -> tuple[Outcome, float]:
    """-3 (the first is much better) to 3 (the second is); 0 is a tie."""
    strength = whole(row, row.values.get(name), f"column '{name}'")
    if not -3 <= strength <= 3:
        raise row.error(f"column '{name}': expected -3 (the first is much better) to 3, got {strength}")
    return ("tie" if strength == 0 else ("a" if strength < 0 else "b")), float(abs(strength))


def _read_preference_2(row: Row) -> list[Vote]:
    a, b = two(row, "response_1", "response_2")
    outcome, strength = _outcome(row, "preference_strength")
    return [
        Vote(_prompt(row), a, b, outcome, strength, "pairwise", note=name_of(row.values.get("preference_statement")))
    ]


def _read_preference_3(row: Row) -> list[Vote]:
    messages = messages_of(row, "context", nested(row, "context"))
    if messages[-1].role != "user":
        raise EmptyField("column 'context' does not end with a user turn")
    metadata = {name: row.values.get(name) for name in ("domain", "language")}
    a, b = two(row, "response1", "response2")
    return [Vote(conversation(messages, metadata), a, b, *_outcome(row, "overall_preference"), "pairwise")]


def _strength(vote: Vote) -> int:
    if vote.outcome == "both bad":
        raise ValueError("a vote of 'both bad': helpsteer has -3 to 3 only")
    size = 0 if vote.outcome == "tie" else min(3, max(1, round(vote.strength)))
    return -size if vote.outcome == "a" else size


def _write_preference_2(vote: Vote) -> dict[str, Any]:
    return {
        "split": "train",
        "prompt": _prompt_text(vote.prompt),
        "response_1": vote.a,
        "response_2": vote.b,
        "preference_strength": _strength(vote),
        "preference_statement": vote.note,
    }


def _write_preference_3(vote: Vote) -> dict[str, Any]:
    return {
        "domain": vote.prompt.metadata.get("domain", ""),
        "language": vote.prompt.metadata.get("language", ""),
        "context": as_chat(vote.prompt.messages or (Message("user", vote.prompt.text or ""),)),
        "response1": vote.a,
        "response2": vote.b,
        "overall_preference": _strength(vote),
        "individual_preference": [],
    }


HELPSTEER2_PREFERENCE = Form(
    "helpsteer2-preference",
    "HelpSteer 2 preferences: two answers, -3 to 3",
    lambda row: {"response_1", "response_2", "preference_strength"} <= set(row.values),
    _read_preference_2,
    {Vote: _write_preference_2},
    not_read=("preference_elaboration", "three_most_similar_preferences", "all_preferences_unprocessed"),
)
HELPSTEER3 = Form(
    "helpsteer3",
    "HelpSteer 3 preferences: a conversation and two answers, -3 to 3",
    lambda row: {"context", "response1", "response2", "overall_preference"} <= set(row.values),
    _read_preference_3,
    {Vote: _write_preference_3},
    not_read=("individual_preference",),
)
