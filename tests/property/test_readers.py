"""Laws of the data layer: what is written is read, plans keep their promises, halves are apart."""

import csv
import json
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from assent.data.microbatch import epoch_order, plan_microbatches
from assent.data.readers import read_comparisons, read_prompts, read_rows, write_jsonl
from assent.data.sst2 import LabelledText, split_halves
from assent.types import Comparison, Message, Prompt

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
FULL = TEXT.filter(lambda text: text.strip() != "")
MESSAGES = st.lists(FULL, min_size=1, max_size=5).map(
    lambda texts: tuple(
        Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts[: len(texts) - 1 + len(texts) % 2])
    )
)
PROMPTS = st.one_of(
    FULL.map(lambda text: Prompt("id", text=text)), MESSAGES.map(lambda m: Prompt("id", messages=m, metadata={"a": 1}))
)


FOLDER = tempfile.TemporaryDirectory()


def in_file(name: str) -> Path:
    return Path(FOLDER.name) / name


@settings(deadline=None, max_examples=60)
@given(st.lists(PROMPTS, min_size=1, max_size=4))
def test_prompts_written_are_read(prompts: list[Prompt]) -> None:
    path = in_file("p.jsonl")
    write_jsonl(path, ({"prompt": json.loads(json.dumps({"id": "x"} | row))} for row in map(_plain, prompts)))
    assert [(p.text, p.messages) for p in read_prompts(path)] == [(p.text, p.messages) for p in prompts]


def _plain(prompt: Prompt) -> dict[str, object]:
    if prompt.text is not None:
        return {"text": prompt.text}
    return {"messages": [{"role": m.role, "content": m.content} for m in prompt.messages or ()]}


@settings(deadline=None, max_examples=60)
@given(MESSAGES, FULL, FULL)
def test_a_conversation_pair_is_split_where_it_forks(messages: tuple[Message, ...], chosen: str, rejected: str) -> None:
    path = in_file("c.jsonl")
    shared = _plain(Prompt("x", messages=messages))["messages"]
    sides = {
        name: [*shared, {"role": "assistant", "content": text}]  # pyright: ignore[reportGeneralTypeIssues]
        for name, text in (("chosen", chosen), ("rejected", rejected))
    }
    write_jsonl(path, [sides])
    (found,) = read_comparisons(path)
    assert (found.prompt.messages, found.chosen, found.rejected) == (messages, chosen, rejected)
    write_jsonl(path, [Comparison("1", found.prompt, chosen, rejected, tie=True)])
    assert read_comparisons(path) == [Comparison("1", found.prompt, chosen, rejected, tie=True)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.fixed_dictionaries({"a": TEXT, "b": TEXT}), min_size=1, max_size=5))
def test_json_jsonl_and_csv_give_the_same_rows(rows: list[dict[str, str]]) -> None:
    path = in_file("a.jsonl")
    write_jsonl(path, rows)
    assert [row.values for row in read_rows(path)] == rows
    path.with_suffix(".json").write_text(json.dumps(rows, ensure_ascii=False, indent=2), encoding="utf-8", newline="")
    assert [row.values for row in read_rows(path.with_suffix(".json"))] == rows
    with open(path.with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["a", "b"], quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    assert [row.values for row in read_rows(path.with_suffix(".csv"))] == rows


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), max_size=40), st.integers(1, 120), st.booleans())
def test_a_plan_is_a_partition_within_budget_with_groups_whole(
    rows: list[tuple[int, int]], budget: int, grouped: bool
) -> None:
    lengths = [length for length, _ in rows]
    groups = [group for _, group in rows] if grouped else None
    plan = plan_microbatches(lengths, groups, budget)
    assert sorted(row for batch in plan for row in batch) == list(range(len(rows)))
    assert all(plan)
    of = groups or list(range(len(rows)))
    for batch in plan:
        within = len(batch) * max(lengths[row] for row in batch) <= budget
        assert within or len({of[row] for row in batch}) == 1
    homes = Counter((of[row], at) for at, batch in enumerate(plan) for row in batch)
    assert len(homes) == len(set(of))
    assert plan == plan_microbatches(lengths, groups, budget)


@given(st.integers(0, 60), st.integers(0, 2**63), st.integers(0, 10_000))
def test_an_epoch_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_order(n, seed, epoch).tolist()) == list(range(n))


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9), min_size=1, max_size=25), st.integers(0, 9))
def test_no_row_of_one_half_is_in_a_sentence_of_the_other(texts: list[list[str]], seed: int) -> None:
    rows = [LabelledText(" ".join(words), 1) for words in texts]
    a, b, report = split_halves(rows, seed)
    assert len(a) + len(b) + report.dropped == len(rows)
    padded = [{f" {row.text} " for row in half} for half in (a, b)]
    every = {f" {row.text} " for row in rows}
    roots = [text for text in every if not any(text in other for other in every if other != text)]
    for mine, other in (padded, padded[::-1]):
        assert not any(text in root for root in roots if root in mine for text in other)
    assert set(roots) <= padded[0] | padded[1]
