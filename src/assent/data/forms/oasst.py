"""OpenAssistant message trees: prompts, replies, and replies to those, with the order that people gave them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from assent.data.forms.base import Form, answer_ids, conversation, name_of, nested, said
from assent.data.layouts import EmptyField
from assent.data.rows import Row
from assent.types import Demonstration, Message, Prompt, Ranking, short_id

_ROLES = {"prompter": "user", "assistant": "assistant"}
_DEEPEST = 200


def _read(row: Row) -> list[Ranking | Demonstration]:
    """Köpf et al. (2023): a tree a row, or the message of its root with all replies under it.

    Each message with two or more ranked replies of an assistant is a ranking (0 in the file is best), and the best
    reply that a person wrote is a demonstration.  Deleted messages and those that reviewers turned down are left out
    with all below them.
    """
    root = nested(row, "prompt") if "prompt" in row.values else row.values
    if not isinstance(root, Mapping):
        raise row.error("column 'prompt': expected the root message of a tree")
    metadata = {"message_tree_id": row.values.get("message_tree_id"), "lang": root.get("lang")}
    records = list(_below(row, root, (), metadata))
    if not records:
        raise row.error("no ranked replies and no reply that a person wrote in this tree")
    return records


def _below(
    row: Row, node: Mapping[str, Any], before: tuple[Message, ...], metadata: Mapping[str, Any]
) -> Iterator[Ranking | Demonstration]:
    if len(before) > _DEEPEST:
        raise row.error(f"a tree of more than {_DEEPEST} levels")
    role = node.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise row.error(f"a message of role {role!r}; expected prompter or assistant")
    here = (*before, Message(_ROLES[role], said(row, node.get("text"), "a message's text")))
    replies = node.get("replies") or []
    if not isinstance(replies, list) or not all(isinstance(reply, Mapping) for reply in replies):
        raise row.error("'replies': expected a list of messages")
    standing = [reply for reply in replies if not reply.get("deleted") and reply.get("review_result") is not False]
    answers = [reply for reply in standing if reply.get("role") == "assistant"]
    if answers and role == "prompter":
        prompt = conversation(here, {**metadata, "message_id": node.get("message_id")})
        yield from _records(row, prompt, answers)
    for reply in standing:
        yield from _below(row, reply, here, metadata)


def _records(row: Row, prompt: Prompt, answers: list[Any]) -> Iterator[Ranking | Demonstration]:
    ranked: list[tuple[str, str, int]] = []
    for answer in answers:
        rank = answer.get("rank")
        if rank is None:
            continue
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 0:
            raise row.error(f"'rank': expected a whole number from 0 (best), got {rank!r}")
        ranked.append((name_of(answer.get("message_id")), said(row, answer.get("text"), "a message's text"), rank + 1))
    if len(ranked) > 1:
        ids, texts, ranks = (tuple(column) for column in zip(*ranked, strict=True))
        if not all(ids) or len(set(ids)) < len(ids):
            ids = answer_ids(prompt, texts)
        yield Ranking(short_id(prompt.id, ids, ranks, "oasst"), prompt, ids, texts, ranks, "oasst")
    best = min(answers, key=lambda answer: answer.get("rank") or 0)
    if not best.get("synthetic") and isinstance(best.get("text"), str) and best["text"].strip():
        yield Demonstration(prompt, best["text"], author=name_of(best.get("user_id")))


def _write(ranking: Ranking) -> dict[str, Any]:
    if None in ranking.ranks:
        raise ValueError("a failed answer: oasst has a rank for each")
    path = ranking.prompt.messages or (Message("user", ranking.prompt.text or ""),)
    if [message.role for message in path] != [("user", "assistant")[i % 2] for i in range(len(path))]:
        raise ValueError("a conversation that does not alternate from prompter to assistant")
    if len(path) % 2 == 0:
        raise EmptyField("a prompt that ends with the assistant")
    replies = [
        _node(name, ranking.prompt.id, text, "assistant", (rank or 1) - 1)
        for name, text, rank in zip(ranking.completion_ids, ranking.texts, ranking.ranks, strict=True)
    ]
    for depth in range(len(path) - 1, -1, -1):
        name = ranking.prompt.id if depth == len(path) - 1 else f"{ranking.prompt.id}.{depth}"
        parent = f"{ranking.prompt.id}.{depth - 1}" if depth else None
        role = "prompter" if path[depth].role == "user" else "assistant"
        replies = [{**_node(name, parent, path[depth].content, role, None), "replies": replies}]
    tree = ranking.prompt.metadata.get("message_tree_id", ranking.prompt.id)
    return {"message_tree_id": tree, "tree_state": "ready_for_export", "prompt": replies[0]}


def _node(name: str, parent: str | None, text: str, role: str, rank: int | None) -> dict[str, Any]:
    return {
        "message_id": name,
        "parent_id": parent,
        "text": text,
        "role": role,
        "rank": rank,
        # "written by a person" would make a demonstration of what may be a sample
        "synthetic": role == "assistant",
        "deleted": False,
        "replies": [],
    }


OASST = Form(
    "oasst",
    "OpenAssistant message trees: ranked replies",
    lambda row: ("message_tree_id" in row.values and "prompt" in row.values) or {"replies", "role"} <= set(row.values),
    _read,
    {Ranking: _write},
    not_read=("labels", "emojis", "detoxify", "tree_state"),
)
