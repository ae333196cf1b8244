"""Chatbot Arena battles: two models answer the same turn, and somebody says which answer is better."""

from __future__ import annotations

from typing import Any

from assent.data.forms.base import Form, Outcome, Vote, as_chat, conversation, from_user, name_of, nested, seconds_of
from assent.data.layouts import EmptyField, messages_of, split_pair
from assent.data.rows import Row
from assent.types import Message, Prompt

_WINNERS: dict[str, Outcome] = {
    "model_a": "a",
    "model_b": "b",
    "tie": "tie",
    "tie (bothbad)": "both bad",
    "both_bad": "both bad",
    "bothbad": "both bad",
}
_BATTLE = frozenset({"conversation_a", "conversation_b", "winner"})
_KAGGLE = frozenset({"prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"})


def _read(row: Row) -> list[Vote]:
    """Zheng et al. (2023) and the later releases: ``conversation_a`` and ``conversation_b`` with a ``winner``; or the
    table of the Kaggle competition, ``prompt``, ``response_a`` and ``response_b`` as JSON lists of turns."""
    if set(row.values) >= _BATTLE:
        prompt, a, b = _conversations(row)
        winner = row.values.get("winner")
        if not isinstance(winner, str) or winner not in _WINNERS:
            raise row.error(f"column 'winner': expected model_a, model_b, tie or tie (bothbad), got {winner!r}")
        outcome = _WINNERS[winner]
    else:
        prompt, a, b = _turns(row)
        outcome = _kaggle_winner(row)
    number = name_of(row.values.get("question_id", row.values.get("id")))
    return [
        Vote(
            prompt,
            a,
            b,
            outcome,
            annotator=name_of(row.values.get("judge", row.values.get("judge_hash"))),
            created=seconds_of(row.values.get("tstamp", row.values.get("timestamp"))),
            id=number,
        )
    ]


def _conversations(row: Row) -> tuple[Prompt, str, str]:
    a, b = (messages_of(row, name, nested(row, name)) for name in ("conversation_a", "conversation_b"))
    before, *answers = split_pair(a, b, row, ("conversation_a", "conversation_b"))
    if not before:
        raise EmptyField("conversation_a and conversation_b share no user turn")
    return conversation(before, {"language": row.values.get("language")}), *answers  # pyright: ignore[reportReturnType]


def _turns(row: Row) -> tuple[Prompt, str, str]:
    lists: list[list[Any]] = []
    for name in ("prompt", "response_a", "response_b"):
        turns = nested(row, name)
        if not isinstance(turns, list) or not turns:
            raise row.error(f"column '{name}': expected a list of turns")
        lists.append(turns)
    if {len(turns) for turns in lists} != {1}:
        raise row.error(
            f"a battle of {len(lists[0])} turns: the answers differ before the last one, so there is no prompt that "
            "both answered"
        )
    texts: list[str] = []
    for (text,), name in zip(lists, ("prompt", "response_a", "response_b"), strict=True):
        if not isinstance(text, str) or not text.strip():
            raise EmptyField(f"column '{name}' is empty")
        texts.append(text)
    return from_user(texts[0]), texts[1], texts[2]


def _kaggle_winner(row: Row) -> Outcome:
    flags = [str(row.values.get(name)).strip() in ("1", "True", "true") for name in sorted(_KAGGLE)[-3:]]
    if sum(flags) != 1:
        raise row.error("of winner_model_a, winner_model_b and winner_tie one must be 1")
    outcomes: tuple[Outcome, ...] = ("a", "b", "tie")
    return outcomes[flags.index(True)]


def _write(vote: Vote) -> dict[str, Any]:
    before = vote.prompt.messages or (Message("user", vote.prompt.text or ""),)
    return {
        "question_id": vote.key(),
        "model_a": "",
        "model_b": "",
        "winner": {"a": "model_a", "b": "model_b", "tie": "tie", "both bad": "tie (bothbad)"}[vote.outcome],
        "judge": vote.annotator,
        "conversation_a": as_chat((*before, Message("assistant", vote.a))),
        "conversation_b": as_chat((*before, Message("assistant", vote.b))),
        "turn": sum(message.role == "user" for message in before),
        "language": vote.prompt.metadata.get("language", ""),
        "tstamp": vote.created,
    }


ARENA = Form(
    "arena",
    "Chatbot Arena battles: two conversations and a winner",
    lambda row: set(row.values) >= _BATTLE or set(row.values) >= _KAGGLE,
    _read,
    {Vote: _write},
    not_read=(
        "model_a",
        "model_b",
        "openai_moderation",
        "toxic_chat_tag",
        "category_tag",
        "conv_metadata",
        "full_conversation",
    ),
)
