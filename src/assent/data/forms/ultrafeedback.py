"""UltraFeedback: several models' answers with ratings, and the two of them in chat columns with their scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assent.data.forms.base import Form, Vote, answer_ids, as_chat, finite, from_user, name_of, objects, said, user_text
from assent.data.parse import parse_comparison
from assent.data.rows import Row
from assent.types import Judgement, Message, Prompt, Ranking, short_id

_JUDGE = "gpt-4"
_PAIR = frozenset({"chosen", "rejected", "score_chosen", "score_rejected"})


def _number(value: Any) -> float | None:
    """A rating: the file has numbers, their text, N/A, and not-a-number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number == number and abs(number) < 1e9 else None


def _read(row: Row) -> list[Ranking | Judgement]:
    """Cui et al. (2023): a ranking by ``overall_score``, and each aspect's rating."""
    prompt = from_user(
        said(row, row.values.get("instruction"), "column 'instruction'"), {"source": row.values.get("source")}
    )
    completions = objects(row, "completions")
    texts = [said(row, c.get("response"), f"completions[{i}].response") for i, c in enumerate(completions)]
    records: list[Ranking | Judgement] = []
    scores = [_number(completion.get("overall_score")) for completion in completions]
    scored = [(text, score) for text, score in zip(texts, scores, strict=True) if score is not None]
    if len(scored) > 1:
        order = sorted({score for _, score in scored}, reverse=True)
        ranked = tuple(text for text, _ in scored)
        ranks = tuple(order.index(score) + 1 for _, score in scored)
        number = short_id(prompt.id, ranked, ranks, _JUDGE)
        records.append(Ranking(number, prompt, answer_ids(prompt, ranked), ranked, ranks, _JUDGE))
    for completion, text, score in zip(completions, texts, scores, strict=True):
        for aspect, rating in {**_aspects(row, completion), "overall": score}.items():
            if rating is not None:
                records.append(_judgement(prompt, text, rating, aspect))
    if not records:
        raise row.error("no completion has a score or a rating")
    return records


def _aspects(row: Row, completion: Mapping[str, Any]) -> dict[str, float | None]:
    annotations = completion.get("annotations") or {}
    if not isinstance(annotations, Mapping):
        raise row.error("completions[…].annotations: expected an object of aspects")
    found: dict[str, float | None] = {}
    for aspect, said_of_it in annotations.items():
        several = said_of_it if isinstance(said_of_it, list) else [said_of_it]
        ratings = [_number(item.get("Rating")) for item in several if isinstance(item, Mapping)]
        known = [rating for rating in ratings if rating is not None]
        found[str(aspect)] = sum(known) / len(known) if known else None
    return found


def _judgement(prompt: Prompt, text: str, rating: float, criterion: str) -> Judgement:
    return Judgement(
        short_id(prompt.id, text, criterion, _JUDGE), prompt, text, rating, criterion=criterion, annotator=_JUDGE
    )


def _write(ranking: Ranking) -> dict[str, Any]:
    if None in ranking.ranks:
        raise ValueError("a failed answer: ultrafeedback has a score for each")
    worst = max(rank for rank in ranking.ranks if rank is not None)
    return {
        "source": ranking.prompt.metadata.get("source", ""),
        "instruction": user_text(ranking.prompt, "ultrafeedback"),
        "models": [],
        "completions": [
            {"model": "", "response": text, "annotations": {}, "overall_score": float(1 + worst - (rank or 0))}
            for text, rank in zip(ranking.texts, ranking.ranks, strict=True)
        ],
    }


ULTRAFEEDBACK = Form(
    "ultrafeedback",
    "UltraFeedback as published: several models' answers with ratings",
    lambda row: {"instruction", "completions"} <= set(row.values),
    _read,
    {Ranking: _write},
    scale=(0, 10),
    not_read=("models", "correct_answers", "incorrect_answers"),
)


def _read_pair(row: Row) -> list[Vote | Judgement]:
    """The pair of the binarized release, and the two scores that it was chosen by."""
    pair = parse_comparison(row)
    number = name_of(row.values.get("prompt_id"))
    vote = Vote(pair.prompt, pair.chosen, pair.rejected, "a", annotator=_JUDGE, id=f"{number}:pair" if number else "")
    scores = {side: row.values.get(f"score_{side}") for side in ("chosen", "rejected")}
    texts = {"chosen": pair.chosen, "rejected": pair.rejected}
    return [
        vote,
        *(
            _judgement(pair.prompt, texts[side], finite(row, score, f"column 'score_{side}'"), "overall")
            for side, score in scores.items()
            if score not in (None, "")
        ),
    ]


def _write_pair(vote: Vote) -> dict[str, Any]:
    if vote.outcome in ("tie", "both bad"):
        raise ValueError(f"a vote of '{vote.outcome}': ultrafeedback-binarized has a chosen and a rejected answer only")
    before = vote.prompt.messages or (Message("user", vote.prompt.text or ""),)
    won, lost = (vote.a, vote.b) if vote.outcome == "a" else (vote.b, vote.a)
    return {
        "prompt": next((message.content for message in before if message.role == "user"), ""),
        "prompt_id": vote.prompt.id,
        "chosen": as_chat((*before, Message("assistant", won))),
        "rejected": as_chat((*before, Message("assistant", lost))),
        "messages": as_chat((*before, Message("assistant", won))),
        "score_chosen": None,
        "score_rejected": None,
    }


ULTRAFEEDBACK_BINARIZED = Form(
    "ultrafeedback-binarized",
    "UltraFeedback binarized: chosen and rejected chats with scores",
    lambda row: set(row.values) >= _PAIR,
    _read_pair,
    {Vote: _write_pair},
    scale=(0, 10),
)
