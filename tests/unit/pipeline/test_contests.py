"""Policies against one another, by scores and by people."""

from __future__ import annotations

from typing import Any

import pytest

from assent.errors import DataError
from assent.pipeline.stages import contests
from assent.pipeline.stages.measured import Measuring, Sampled
from assent.rewards.source import Scores
from assent.types import Completion, Prompt, Ranking

IDS = ["p", "q", "r", "s"]
SCORES = {"sft": [1.0, 1.0, 1.0, 1.0], "ppo": [2.0, 2.0, 1.0, 0.0], "dpo": [3.0, 0.5, 2.0, 0.0]}
LENGTHS = {"sft": [5, 6, 7, 8], "ppo": [9, 5, 4, 8], "dpo": [5, 5, 5, 9]}


ARENA = contests.Arena(IDS, "sft", LENGTHS)


def by_scores(one: str, two: str) -> list[float]:
    return [0.5 if a == b else float(a > b) for a, b in zip(SCORES[one], SCORES[two], strict=True)]


def sampled(scores: list[float]) -> Sampled:
    return Sampled(
        [Completion("", i, f"{s}") for i, s in zip(IDS, scores, strict=True)], scores, None, None, None, {}, {}
    )


def measuring(judge: Any) -> Measuring:
    prompts = [Prompt(i, text="The film") for i in IDS]
    nothing: Any = None
    return Measuring(prompts, nothing, judge, False, None, {}, None, None, nothing, 0)


def test_each_against_the_reference_and_then_against_each_other():
    rows = ARENA.win_rates(by_scores, list(SCORES))
    assert [(row["policy"], row["against"]) for row in rows] == [("ppo", "sft"), ("dpo", "sft"), ("ppo", "dpo")]
    assert (rows[0]["wins"], rows[0]["ties"], rows[0]["losses"], rows[0]["rate"]) == (2, 1, 1, 0.625)
    assert 0 < rows[0]["length_controlled_low"] < rows[0]["length_controlled"] < rows[0]["length_controlled_high"] < 1


def test_scores_decide_within_the_width_of_a_tie():
    every = {name: sampled(scores) for name, scores in SCORES.items()}
    decide = contests.deciding(measuring(None), None, every, lambda item: item.utilities, 0.5)
    assert decide("dpo", "sft") == [1.0, 0.5, 1.0, 0.0]
    assert contests.deciding(measuring(None), None, every, lambda item: item.rewards, 0.0)("dpo", "sft") is None


def test_a_judge_who_compares_is_asked_once_about_each_two():
    class Longer:
        comparative = True
        asked = 0

        def score(self, prompts: Any, completions: Any) -> Scores:
            self.asked += 1
            return Scores(tuple(float(completion.text) for completion in completions))

    judge = Longer()
    every = {name: sampled(scores) for name, scores in SCORES.items()}
    decide = contests.deciding(measuring(judge), judge, every, lambda item: None, 0.0)
    assert decide("ppo", "dpo") == decide("ppo", "dpo") == by_scores("ppo", "dpo")
    assert judge.asked == 1


def ranking(number: int, ids: tuple[str, ...], ranks: tuple[int | None, ...], annotator: str = "ann") -> Ranking:
    prompt = Prompt(IDS[number], text="The film")
    texts = tuple(f"text of {name}" for name in ids)
    return Ranking(
        f"r{number}{annotator}", prompt, tuple(f"{name}:{prompt.id}" for name in ids), texts, ranks, annotator
    )


def test_peoples_verdicts_lead_back_to_the_policies_whatever_the_order_shown():
    said = [
        ranking(0, ("sft", "ppo"), (2, 1)),
        ranking(1, ("ppo", "sft"), (1, 2)),
        ranking(2, ("sft", "ppo"), (1, 1)),
        ranking(3, ("ppo", "sft"), (None, 1)),
        ranking(3, ("sft", "ppo"), (1, None), "bo"),
    ]
    (row,) = contests.verdicts(said, "sft", ["sft", "ppo"])
    assert (row["policy"], row["against"]) == ("ppo", "sft")
    assert (row["wins"], row["ties"], row["losses"], row["n"]) == (2, 1, 2, 5)


def test_a_ranking_of_three_is_three_comparisons():
    rows = contests.verdicts([ranking(0, ("dpo", "sft", "ppo"), (1, 3, 2))], "sft", ["sft", "ppo", "dpo"])
    assert [(row["policy"], row["against"], row["rate"]) for row in rows] == [
        ("ppo", "sft", 1.0),
        ("dpo", "sft", 1.0),
        ("ppo", "dpo", 0.0),
    ]


def test_verdicts_on_other_answers_are_refused_by_name():
    with pytest.raises(DataError, match="'rlhf:p' is of none of sft, ppo"):
        contests.verdicts([ranking(0, ("rlhf", "sft"), (1, 2))], "sft", ["sft", "ppo"])


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("ann", "bo"), "people"),
        (("simulated:ann", "simulated:bo"), "simulated"),
        (("judge:qwen",), "model"),
        (("ann", "judge:qwen"), "mixed"),
    ],
)
def test_who_judged(names: tuple[str, ...], kind: str):
    assert contests.kind_of_judges([ranking(0, ("sft", "ppo"), (1, 2), name) for name in names]) == kind


def test_ratings_of_all_policies():
    found = ARENA.ratings(by_scores, list(SCORES))
    assert found is not None
    assert found["anchor"] == "sft"
    assert {row["policy"] for row in found["ratings"]} == set(SCORES)
    assert ARENA.ratings(lambda one, two: [1.0] * 4, ["sft", "ppo"]) is None  # never lost: no bound
    assert ARENA.ratings(lambda one, two: None, list(SCORES)) is None


def test_what_a_number_of_prompts_can_show():
    assert contests.detectable(200)["difference"] == pytest.approx(2.8016 / 2 / 200**0.5, rel=1e-3)
