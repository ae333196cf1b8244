"""OpenAI's summarize-from-feedback: comparisons of two summaries, and ratings of one along several axes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from assent.data.forms.base import Form, Vote, an_object, finite, kept, name_of, objects, said, whole
from assent.data.rows import Row
from assent.types import Judgement, Prompt, short_id

_KEPT = ("id", "subreddit", "site")
_POST = re.compile(r"SUBREDDIT: r/(?P<subreddit>.*)\n\nTITLE: (?P<title>.*)\n\nPOST: (?P<post>[\s\S]*)\n\nTL;DR:")
_ARTICLE = re.compile(r"Article:\n(?P<article>[\s\S]*)\n\nTL;DR:")


def _prompt(row: Row) -> Prompt:
    """The text that the paper's models were given (Stiennon et al., 2020, appendix B)."""
    info = an_object(row, "info")
    if isinstance(info.get("article"), str) and info["article"].strip():
        text = f"Article:\n{info['article']}\n\nTL;DR:"
    else:
        post = said(row, info.get("post"), "info.post")
        about = f"SUBREDDIT: r/{name_of(info.get('subreddit'))}\n\nTITLE: {info.get('title') or ''}"
        text = f"{about}\n\nPOST: {post}\n\nTL;DR:"
    return Prompt(short_id(text), text=text, metadata=kept({name: info.get(name) for name in _KEPT}))


def _info(prompt: Prompt) -> dict[str, Any]:
    found = _POST.fullmatch(prompt.text or "") or _ARTICLE.fullmatch(prompt.text or "")
    if found is None:
        raise ValueError("a prompt that is not 'SUBREDDIT: … TITLE: … POST: … TL;DR:' or 'Article: … TL;DR:'")
    empty = dict.fromkeys(("id", "post", "title", "subreddit", "site", "article"))
    return {**empty, **{name: prompt.metadata.get(name) for name in _KEPT}, **found.groupdict()}


def _summary(row: Row, summary: Mapping[str, Any], where: str) -> str:
    return said(row, summary.get("text"), f"{where}.text")


def _read_comparison(row: Row) -> list[Vote]:
    summaries = objects(row, "summaries")
    if len(summaries) != 2:
        raise row.error(f"column 'summaries': expected two, got {len(summaries)}")
    choice = whole(row, row.values.get("choice"), "column 'choice'")
    if choice not in (0, 1):
        raise row.error(f"column 'choice': expected 0 or 1, got {choice}")
    a, b = (_summary(row, summary, f"summaries[{index}]") for index, summary in enumerate(summaries))
    worker = name_of(row.values.get("worker"))
    return [Vote(_prompt(row), a, b, "b" if choice else "a", annotator=worker)]


def _write_comparison(vote: Vote) -> dict[str, Any]:
    if vote.outcome in ("tie", "both bad"):
        raise ValueError(f"a vote of '{vote.outcome}': a comparison of summarize-from-feedback has a choice always")
    return {
        "info": _info(vote.prompt),
        "summaries": [{"text": text, "policy": "", "note": ""} for text in (vote.a, vote.b)],
        "choice": int(vote.outcome == "b"),
        "worker": vote.annotator,
        "batch": "",
        "split": "",
        "extra": {"confidence": None},
    }


SUMMARIZE = Form(
    "summarize",
    "OpenAI summarize-from-feedback: comparisons of two summaries",
    lambda row: {"info", "summaries", "choice"} <= set(row.values),
    _read_comparison,
    {Vote: _write_comparison},
    not_read=("batch", "split", "extra"),
)


def _read_axes(row: Row) -> list[Judgement]:
    summary = an_object(row, "summary")
    text = _summary(row, summary, "summary")
    axes = summary.get("axes")
    if not isinstance(axes, Mapping):
        raise row.error("summary.axes: expected an object of ratings")
    prompt, worker = _prompt(row), name_of(row.values.get("worker"))
    ratings = {str(axis): rating for axis, rating in axes.items() if rating is not None}
    if not ratings:
        raise row.error("summary.axes: no axis has a rating")
    return [
        Judgement(
            short_id(prompt.id, text, axis, worker),
            prompt,
            text,
            finite(row, float(rating) if isinstance(rating, bool) else rating, f"summary.axes.{axis}"),
            criterion=axis,
            annotator=worker,
        )
        for axis, rating in ratings.items()
    ]


def _write_axes(judgement: Judgement) -> dict[str, Any]:
    return {
        "info": _info(judgement.prompt),
        "summary": {
            "text": judgement.response,
            "policy": "",
            "note": "",
            "axes": {judgement.criterion: judgement.label},
        },
        "worker": judgement.annotator,
        "batch": "",
        "split": "",
    }


SUMMARIZE_AXES = Form(
    "summarize-axes",
    "OpenAI summarize-from-feedback: ratings of a summary along axes",
    lambda row: {"info", "summary", "worker"} <= set(row.values),
    _read_axes,
    {Judgement: _write_axes},
    scale=(1, 7),
    not_read=("batch", "split"),
)
