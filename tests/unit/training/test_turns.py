"""SFT of conversations: exactly the assistant's turns carry loss, on conversations made here and on real ones."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assent.data.readers import read_comparisons, read_demonstrations
from assent.errors import RecipeError
from assent.pipeline.run import stage_spec
from assent.training.examples import demonstration_examples
from assent.types import Demonstration, Message, Prompt

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

from small_tokenizers import make

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
HH, OASST = DATA / "hh-harmless" / "test.jsonl.gz", DATA / "oasst" / "en_100_tree.jsonl"
END = {"chatml": "<|im_end|>", "gpt2-like": "<|endoftext|>"}
"""Two tokenizers that lose no character, and what closes a turn of each: a template's token, and EOS."""


def trained_texts(tokenizer: Any, row: Any) -> list[str]:
    """The text of each unbroken run of tokens that carry loss."""
    marked = zip(row.token_ids, row.completion_mask, strict=True)
    runs = itertools.groupby(marked, key=lambda pair: pair[1])
    return [tokenizer.decode([i for i, _ in run]) for carries, run in runs if carries]


def check(name: str, demonstrations: list[Demonstration]) -> int:
    """Compare what is trained with the conversation itself; returns how many of the assistant's turns were earlier."""
    tokenizer, earlier = make(name), 0
    every, dropped = demonstration_examples(tokenizer, demonstrations, 1 << 20, "error", "x", turns="all")
    last, _ = demonstration_examples(tokenizer, demonstrations, 1 << 20, "error", "x")
    assert dropped == 0
    assert len(every) == len(last) == len(demonstrations)
    for demonstration, all_turns, last_turn in zip(demonstrations, every, last, strict=True):
        messages = demonstration.prompt.messages or ()
        said = [m.content + END[name] for m in messages if m.role == "assistant"]
        earlier += len(said)
        answer = demonstration.response + END[name]
        assert trained_texts(tokenizer, all_turns.rows[0]) == [*said, answer]
        assert trained_texts(tokenizer, last_turn.rows[0]) == [answer]
        whole = [*({"role": m.role, "content": m.content} for m in messages)]
        whole.append({"role": "assistant", "content": demonstration.response})
        shown = tokenizer.decode(all_turns.rows[0].token_ids)
        assert shown == tokenizer.apply_chat_template(whole, tokenize=False).rstrip("\n")
    return earlier


def file_of(folder: Path, conversations: list[list[dict[str, str]]]) -> Path:
    path = folder / "conversations.jsonl"
    path.write_text("".join(json.dumps({"messages": turns}) + "\n" for turns in conversations))
    return path


@pytest.mark.parametrize("name", END)
def test_exactly_the_assistants_turns_carry_loss(name: str, tmp_path: Path):
    system, asked, said = ({"role": role, "content": f"the {role}"} for role in ("system", "user", "assistant"))
    more = {"role": "assistant", "content": "  no  film\n\n"}
    path = file_of(tmp_path, [[asked, said], [system, asked, more, asked, said], [asked, said, asked, said, asked]])
    assert check(name, read_demonstrations(path)) == 2


def longest_path(node: dict[str, Any]) -> list[dict[str, str]]:
    """The longest conversation of a message tree, by its first-ranked replies where there are several as long."""
    below = [longest_path(reply) for reply in node["replies"]]
    rest = max(below, key=len, default=[])
    return [{"role": node["role"], "content": node["text"]}, *rest]


def oasst_conversations() -> Iterator[list[dict[str, str]]]:
    with open(OASST, encoding="utf-8") as file:
        yield from (longest_path(json.loads(line)["prompt"]) for line in file)


@pytest.mark.skipif(not OASST.is_file(), reason="needs the message trees beside the checkout")
@pytest.mark.parametrize("name", END)
def test_on_real_message_trees(name: str, tmp_path: Path):
    conversations = [turns for turns in oasst_conversations() if len(turns) > 1]
    demonstrations = read_demonstrations(file_of(tmp_path, conversations))
    assert len(demonstrations) == len(conversations)
    assert check(name, demonstrations) > 50


@pytest.mark.skipif(not HH.is_file(), reason="needs the dialogues beside the checkout")
@pytest.mark.parametrize("name", END)
def test_on_real_dialogues(name: str):
    chosen = [Demonstration(c.prompt, c.chosen) for c in read_comparisons(HH, empty="skip")[:200]]
    # A turn of the assistant that says nothing has nothing to carry loss but its end; leave these to the other tests.
    full = [d for d in chosen if all(m.content for m in d.prompt.messages or ())]
    assert len(full) > 150
    assert check(name, full) > 200


def test_the_stage_has_the_setting():
    given = {"model": "gpt2", "data": "x.jsonl"}
    assert stage_spec("sft", {**given, "turns": "all"}, 0).values["turns"] == "all"
    with pytest.raises(RecipeError, match=r"'turns'.*expected one of last, all"):
        stage_spec("sft", {**given, "turns": "every"}, 0)


def test_a_turn_of_the_users_carries_none_whatever_it_says():
    said = Prompt("p", messages=(Message("user", "hello"), Message("user", "yes"), Message("user", "good")))
    (example,), _ = demonstration_examples(make("chatml"), [Demonstration(said, "so")], 999, "error", "x", turns="all")
    assert trained_texts(make("chatml"), example.rows[0]) == ["so<|im_end|>"]
