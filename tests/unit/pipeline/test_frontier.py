"""Curves of reward against KL, as the report reads them."""

from __future__ import annotations

import json

import numpy as np

from assent.evaluation.over_optimisation import Curve
from assent.pipeline.stages.frontier import curve_of, curve_record, exploited
from assent.pipeline.stages.measured import Sampled
from assent.types import Completion, Prompt


def sampled(kl: float, rewards: list[float], utilities: list[float] | None) -> Sampled:
    answers = [Completion(f"a{i}", f"p{i}", f"answer {i} {kl}") for i in range(len(rewards))]
    logprobs = [[-1.0 + kl] for _ in rewards]
    return Sampled(answers, utilities, rewards, logprobs, [[-1.0] for _ in rewards], {}, {})


def test_the_curve_begins_at_the_reference():
    start, end = sampled(0.0, [0.0, 1.0], [3.0, 3.0]), sampled(2.0, [1.0, 3.0], [2.0, 5.0])
    curve = curve_of(start, {"10": end})
    assert curve is not None
    assert curve.labels == ("0", "10")
    assert curve.kl.tolist() == [[0.0, 0.0], [2.0, 2.0]]
    record = curve_record("ppo", curve, "rl")
    assert record["fits"] == {}  # one checkpoint is no curve
    assert [point["gold"] for point in record["points"]] == [0.0, 0.5]
    assert record["alarm"]["raised_at"] is None
    assert json.loads(json.dumps(record))["alarm"]["points"][0]["label"] == "10"
    start.ref_logprobs = None
    assert curve_of(start, {"10": end}) is None


def test_a_whole_curve_is_fitted_and_its_end_judged():
    rng = np.random.default_rng(0)
    kl = np.array([0.0, 1.0, 2.0, 4.0, 9.0, 16.0])
    d = np.sqrt(kl)
    rewards = {"proxy": 2 * d, "gold": d * (2 - 0.6 * d)}
    noise = {name: values[:, None] + rng.normal(size=(6, 200)) for name, values in rewards.items()}
    curve = Curve(tuple("012345"), np.repeat(kl[:, None], 200, 1), noise["proxy"], noise["gold"])
    record = curve_record("best-of-n", curve, "best-of-n")
    assert record["fits"]["gold"]["reached"]
    assert not record["fits"]["proxy"]["reached"]
    assert record["early_stopping"]["advised"]
    assert record["alarm"]["raised_at"] in ("4", "5")
    no_judge = curve_record("ppo", Curve(curve.labels, curve.kl, curve.proxy), "rl")
    assert "alarm" not in no_judge
    assert list(no_judge["fits"]) == ["proxy"]


def test_the_prompts_that_were_exploited_are_shown_as_text():
    both = {"sft": sampled(0.0, [0.0, 0.0], [0.0, 0.0]), "ppo": sampled(1.0, [1.0, 2.0], [1.0, -1.0])}
    prompts = [Prompt("p0", text="one"), Prompt("p1", text="two")]
    (row,) = exploited("ppo", "sft", prompts, both, 5)
    assert (row["prompt"], row["text"], row["reference_text"]) == ("two", "answer 1 1.0", "answer 1 0.0")
    assert (row["proxy_gain"], row["gold_gain"]) == (2.0, -1.0)
    both["sft"].utilities = None
    assert exploited("ppo", "sft", prompts, both, 5) == []
