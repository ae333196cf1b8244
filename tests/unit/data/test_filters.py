"""Filters of scored completions: what each leaves out, and that it says how many."""

from __future__ import annotations

import random
from typing import Any

import pytest

from assent.data import filters
from assent.data.filters import Filtering
from assent.data.near_duplicates import first_of_each, jaccard, shingles
from assent.data.scored import Pair, Scored, by_prompt, comparison, has_score, pairs_of, score_of, with_score
from assent.errors import DataError
from assent.types import Completion, Prompt


def row(prompt: str, index: int, text: str, score: float | None, **fields: Any) -> Scored:
    completion = Completion(f"{prompt}/{index}", prompt, text, **fields)
    return Prompt(prompt, text=f"About {prompt}:"), completion if score is None else with_score(completion, score)


def group(prompt: str, *scores: float) -> list[Scored]:
    return [row(prompt, i, f"answer {i}", score) for i, score in enumerate(scores)]


def ids(rows: list[Scored]) -> list[str]:
    return [completion.id for _, completion in rows]


def test_each_filter_says_what_it_removed():
    rows = [*group("a", 1.0, 2.0), row("b", 0, "", 1.0), row("b", 1, "cut", 2.0, finish_reason="length")]
    rows += [row("c", 0, "none", None), row("c", 1, "nan", float("nan"))]
    work = Filtering(rows)
    work.apply("empty", filters.not_empty)
    work.apply("finished", filters.finished)
    work.apply("unscored", filters.scored)
    work.apply("long", filters.no_longer(lambda r: len(r[1].text), 8))
    assert ids(work.rows) == ["a/0", "a/1"]
    assert [(r.filter, r.before, r.removed) for r in work.report] == [
        ("empty", 6, 1),
        ("finished", 5, 1),
        ("unscored", 4, 2),
        ("long", 2, 0),
    ]


def test_a_score_that_is_none_is_told():
    assert not has_score(row("a", 0, "x", float("inf"))[1])
    with pytest.raises(DataError, match="completion 'a/0' has no score; run `assent score`"):
        score_of(row("a", 0, "x", None)[1])


def test_the_same_text_is_kept_once_for_each_prompt():
    rows = [row("a", 0, "yes", 1), row("a", 1, " yes\n", 2), row("a", 2, "no", 3), row("b", 0, "yes", 1)]
    work = Filtering(rows)
    work.apply_to_groups("exact", filters.exact_once)
    assert ids(work.rows) == ["a/0", "a/2", "b/0"]


def test_nearly_the_same_text_is_kept_once():
    long = "the quick brown fox jumps over the lazy dog and then it sleeps for a while in the sun"
    rows = [row("a", 0, long, 1), row("a", 1, long.replace("sun", "shade"), 2), row("a", 2, "something else here", 3)]
    assert ids(filters.near_once(0.8)(rows)) == ["a/0", "a/2"]
    assert ids(filters.near_once(1.0)(rows)) == ["a/0", "a/1", "a/2"]


def test_near_duplicates_are_found_as_the_exact_comparison_finds_them():
    draw = random.Random(0)
    words = [f"w{i}" for i in range(200)]
    texts = [" ".join(draw.choice(words) for _ in range(40)) for _ in range(60)]
    texts += [text.replace(text.split()[5], "other") for text in texts[:20]] + texts[20:25]
    sets = [shingles(text) for text in texts]
    kept: list[int] = []
    for place, found in enumerate(sets):
        if all(jaccard(found, sets[other]) < 0.7 for other in kept):
            kept.append(place)
    assert first_of_each(texts, 0.7) == kept
    assert 60 <= len(kept) < 70


def test_short_and_empty_texts_are_near_duplicates_of_themselves_alone():
    assert first_of_each(["a", "A!", "b", "", "a b"], 0.9) == [0, 2, 3, 4]


def test_prompts_that_are_nearly_the_same_are_kept_once():
    rows = [*group("a", 1, 2), *group("b", 1)]
    assert ids(filters.near_prompts_once(0.9)(rows)) == ["a/0", "a/1", "b/0"]
    same = [(Prompt("z", text="About a:"), c) for _, c in group("z", 3)]
    assert ids(filters.near_prompts_once(0.9)([*rows, *same])) == ["a/0", "a/1", "b/0"]


def test_the_best_and_the_worst_of_a_prompt():
    rows = group("a", 3.0, 1.0, 2.0, 3.0)
    assert ids(filters.extremes(1, 1)(rows)) == ["a/0", "a/1"]
    assert ids(filters.extremes(2, 0)(rows)) == ["a/0", "a/3"]
    assert ids(filters.extremes(0, 2)(rows)) == ["a/1", "a/2"]
    assert ids(filters.extremes(9, 9)(rows)) == ids(rows)


def test_pairs_have_the_higher_score_first_and_equals_make_none():
    assert [(p.chosen.id, p.rejected.id, p.gap) for p in pairs_of(group("a", 1, 4, 2), "extremes")] == [
        ("a/1", "a/0", 3.0)
    ]
    assert len(pairs_of(group("a", 1, 4, 2, 2), "all")) == 5
    assert pairs_of(group("a", 1, 1), "extremes") == []
    made = comparison(pairs_of(group("a", 1, 4), "all")[0], among=2)
    assert (made.chosen, made.rejected, made.margin, made.weight) == ("answer 1", "answer 0", 3.0, 0.5)


def pair(prompt: str, chosen: int, rejected: int, gap: float = 1.0) -> Pair:
    """A pair of answers of so many words."""
    texts = [" ".join(["w"] * count) for count in (chosen, rejected)]
    (p, c), (_, r) = row(prompt, 0, texts[0], gap), row(prompt, 1, texts[1], 0.0)
    return Pair(p, c, r)


def test_pairs_are_balanced_by_length():
    pairs = [pair("a", 9, 1), pair("b", 3, 2), pair("c", 5, 2), pair("d", 2, 4), pair("e", 2, 2)]
    kept = filters.length_balanced(pairs, lambda text: len(text.split()))
    assert [p.prompt.id for p in kept] == ["b", "d", "e"]
    again = filters.length_balanced(pairs[:3], lambda text: len(text.split()))
    assert again == []


def test_the_widest_pairs_of_each_prompt():
    pairs = [pair("a", 1, 2, 1.0), pair("a", 1, 3, 3.0), pair("b", 1, 2, 0.5), pair("a", 1, 4, 2.0)]
    assert [p.gap for p in filters.widest(pairs, 2)] == [3.0, 0.5, 2.0]


def test_groups_keep_the_order_of_the_file():
    rows = [*group("b", 1), *group("a", 1, 2), *group("b", 3)]
    assert [[c.prompt_id for _, c in part] for part in by_prompt(rows)] == [["b", "b"], ["a", "a"]]
