"""The reward model's section of an evaluation: by head, by length, by uncertainty, and the ceiling of annotators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from assent.pipeline.stages.evidence import reward_model_quality
from assent.rewards.rule import FunctionReward
from assent.rewards.source import Scores
from assent.types import Comparison, Completion, Prompt


class TwoHeads:
    """Praise counts exclamation marks, brevity counts letters against it; as unsure as the answer is long."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        praise = tuple(float(c.text.count("!")) for c in completions)
        brevity = tuple(-float(len(c.text)) for c in completions)
        unsure = tuple(0.1 * len(c.text) for c in completions)
        return Scores((0.0,) * len(praise), {"praise": praise, "brevity": brevity}, unsure)


def pairs(criterion: str, annotator: str = "ann") -> list[Comparison]:
    """Chosen has one exclamation mark more, and is longer by i letters."""
    return [
        Comparison(f"{criterion}{i}{annotator}", Prompt(f"p{i}", text="?"), "a" * (i + 1) + "!", "a" * 2,
                   criterion=criterion, annotator=annotator)
        for i in range(1, 9)
    ]  # fmt: skip


def test_each_criterion_is_measured_by_its_own_head():
    found = reward_model_quality(TwoHeads(), [*pairs("praise"), *pairs("brevity")], None)
    assert [(row["name"], row["accuracy"], row["n"]) for row in found["by"]["criterion"]] == [
        ("brevity", 0.0, 8),
        ("praise", 1.0, 8),
    ]
    assert found["accuracy"] == 0.5
    assert "ceiling" not in found
    assert found["length"]["longer_chosen"] == 1.0
    assert found["length"]["longer_preferred"] == 0.5
    assert found["uncertainty"] > 0
    assert sum(row["n"] for row in found["by"]["uncertainty"]) == 16
    assert len(found["by"]["length"]) == 4
    assert "annotator" not in found["by"]  # one alone says nothing besides the whole


def test_the_ceiling_is_the_truths_or_that_of_annotators_who_agree():
    answers = [*pairs("praise"), *pairs("praise", "bo")]
    turned = replace(answers[0], id="t", chosen=answers[0].rejected, rejected=answers[0].chosen, annotator="cy")
    found = reward_model_quality(TwoHeads(), [*answers, turned], None)
    # eight pairs of annotators agree, and cy with neither of two
    assert (found["ceiling"], found["ceiling_pairs"]) == (pytest.approx(0.5 + 0.5 * (2 * 0.8 - 1) ** 0.5), 10)
    truth = FunctionReward(lambda prompt, text: float(text.endswith("!")))
    assert reward_model_quality(TwoHeads(), [*answers, turned], truth)["ceiling"] == pytest.approx(16 / 17)
