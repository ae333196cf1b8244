"""Forms of two answers a row: HH-RLHF, Stanford Human Preferences, AlpacaEval and AlpacaFarm."""

from __future__ import annotations

from typing import Any

from assent.data.forms.base import (
    Form,
    Outcome,
    Vote,
    conversation,
    finite,
    from_user,
    name_of,
    said,
    seconds_of,
    two,
    user_text,
    whole,
)
from assent.data.layouts import EmptyField, dialogue_messages, is_dialogue, split_pair
from assent.data.rows import Row
from assent.types import Message

_SHP = frozenset({"history", "human_ref_A", "human_ref_B", "labels"})
_SHP_KEPT = ("post_id", "domain")
_ALPACA = frozenset({"instruction", "output_1", "output_2"})
_SPEAKERS = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: "}


def _read_hh(row: Row) -> list[Vote]:
    """Bai et al. (2022): two dialogues that fork at the last answer."""
    sides = row.values.get("chosen"), row.values.get("rejected")
    for name, side in zip(("chosen", "rejected"), sides, strict=True):
        if not is_dialogue(side):
            raise row.error(f"column '{name}': expected a dialogue that begins with \\n\\nHuman:")
    chosen, rejected = (dialogue_messages(str(side)) for side in sides)
    prompt, a, b = split_pair(chosen, rejected, row)
    if not prompt:
        raise EmptyField("chosen and rejected share no user turn")
    return [Vote(conversation(prompt), a, b, "a")]


def _write_hh(vote: Vote) -> dict[str, Any]:
    if vote.outcome in ("tie", "both bad"):
        raise ValueError(f"a vote of '{vote.outcome}': hh-rlhf has a chosen and a rejected dialogue only")
    messages = vote.prompt.messages or (Message("user", vote.prompt.text or ""),)
    if any(message.role not in _SPEAKERS for message in messages):
        raise ValueError("a system message: a dialogue of hh-rlhf has Human and Assistant only")
    before = "".join(_SPEAKERS[message.role] + message.content for message in messages) + _SPEAKERS["assistant"]
    won, lost = (vote.a, vote.b) if vote.outcome == "a" else (vote.b, vote.a)
    return {"chosen": before + won, "rejected": before + lost}


HH_RLHF = Form(
    "hh-rlhf",
    "Anthropic HH-RLHF: chosen and rejected dialogues",
    lambda row: is_dialogue(row.values.get("chosen")) and is_dialogue(row.values.get("rejected")),
    _read_hh,
    {Vote: _write_hh},
)


def _read_shp(row: Row) -> list[Vote]:
    """Ethayarajh et al. (2022): a post and two comments; ``labels`` is 1 where A is preferred, else 0."""
    label = whole(row, row.values.get("labels"), "column 'labels'")
    if label not in (0, 1):
        raise row.error(f"column 'labels': expected 1 (A preferred) or 0 (B preferred), got {label}")
    a, b = two(row, "human_ref_A", "human_ref_B")
    prompt = from_user(
        said(row, row.values.get("history"), "column 'history'"), {name: row.values.get(name) for name in _SHP_KEPT}
    )
    ratio = row.values.get("score_ratio")
    comments = name_of(row.values.get("c_root_id_A")), name_of(row.values.get("c_root_id_B"))
    return [
        Vote(
            prompt,
            a,
            b,
            "a" if label else "b",
            strength=0.0 if ratio in (None, "") else finite(row, ratio, "column 'score_ratio'"),
            completion_ids=comments if all(comments) and comments[0] != comments[1] else None,
        )
    ]


def _write_shp(vote: Vote) -> dict[str, Any]:
    if vote.outcome in ("tie", "both bad"):
        raise ValueError(f"a vote of '{vote.outcome}': shp has a preferred comment always")
    ids = vote.ids()
    return {
        "post_id": vote.prompt.metadata.get("post_id", vote.prompt.id),
        "domain": vote.prompt.metadata.get("domain", ""),
        "history": user_text(vote.prompt, "shp"),
        "c_root_id_A": ids[0],
        "c_root_id_B": ids[1],
        "human_ref_A": vote.a,
        "human_ref_B": vote.b,
        "labels": int(vote.outcome == "a"),
        "score_ratio": vote.strength or None,
    }


SHP = Form(
    "shp",
    "Stanford Human Preferences: a post and two comments",
    lambda row: set(row.values) >= _SHP,
    _read_shp,
    {Vote: _write_shp},
    not_read=("upvote_ratio", "created_at_utc_A", "created_at_utc_B", "score_A", "score_B", "seconds_difference"),
)


def _read_alpaca(row: Row) -> list[Vote]:
    """AlpacaFarm (Dubois et al., 2023) and AlpacaEval: ``preference`` is 1 or 2, a draw 0 or 1.5, and between 1 and 2
    one more than the probability that the second is better."""
    given = row.values.get("preference")
    if given in (None, ""):
        raise EmptyField("column 'preference' is empty: the annotator gave no answer that could be read")
    preference = finite(row, given, "column 'preference'")
    if preference != 0 and not 1 <= preference <= 2:
        raise row.error(f"column 'preference': expected 1, 2, 1.5 or 0 (a draw), or between, got {preference:g}")
    draw = preference in (0, 1.5)
    outcome: Outcome = "tie" if draw else ("a" if preference < 1.5 else "b")
    instruction, more = said(row, row.values.get("instruction"), "column 'instruction'"), row.values.get("input")
    if isinstance(more, str) and more.strip():
        instruction = f"{instruction}\n\n{more}"
    a, b = two(row, "output_1", "output_2")
    return [
        Vote(
            from_user(instruction, {"dataset": row.values.get("dataset")}),
            a,
            b,
            outcome,
            confidence=1.0 if draw else abs(preference - 1.5) + 0.5,
            annotator=name_of(row.values.get("annotator", row.values.get("annotator_index"))),
            created=seconds_of(row.values.get("date")),
        )
    ]


def _write_alpaca(vote: Vote) -> dict[str, Any]:
    if vote.outcome == "both bad":
        raise ValueError("a vote of 'both bad': alpaca has 1, 2 and a draw only")
    preference = {"a": 2.0 - vote.confidence, "b": 1.0 + vote.confidence, "tie": 1.5}[vote.outcome]
    return {
        "instruction": user_text(vote.prompt, "alpaca"),
        "input": "",
        "output_1": vote.a,
        "output_2": vote.b,
        "annotator": vote.annotator,
        "preference": int(preference) if preference == int(preference) else preference,
    }


ALPACA = Form(
    "alpaca",
    "AlpacaEval and AlpacaFarm annotations: output_1, output_2 and a preference",
    lambda row: set(row.values) >= _ALPACA,
    _read_alpaca,
    {Vote: _write_alpaca},
    not_read=("generator_1", "generator_2", "price_per_example", "time_per_example", "raw_completion", "datasplit"),
)
