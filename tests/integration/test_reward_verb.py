"""``assent reward`` as a user types it: several criteria, whole rankings, numbers as labels; PPO on what it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from assent.cli import main
from assent.evaluation.calibration import length_bias
from assent.models.load import load_reward_model
from assent.pipeline.stages import training
from assent.pipeline.stages.reward import METHODS
from assent.rewards.model import ModelReward, score_rows
from assent.types import Completion, Prompt

LEARNING = ("--max-steps", "30", "--batch-size", "8", "--learning-rate", "1e-3")
CRITERIA = ("--criteria", "praise", "--criteria", "blame")
Run = Callable[..., Path]


@pytest.fixture(autouse=True)
def _here(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workshop)
    if not Path("criteria.jsonl").exists():
        _write(Path("criteria.jsonl"), (_pair(i) for i in range(32)))
        _write(Path("marks.jsonl"), (_mark(i) for i in range(32)))
        _write(Path("ranked.jsonl"), (_ranking(i) for i in range(24)))


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _pair(i: int) -> dict[str, str]:
    """By praise, good beats bad; by blame, bad beats good."""
    better, worse = (" good", " bad") if i % 2 else (" bad", " good")
    return {"prompt": f"Film {i}", "chosen": better, "rejected": worse, "criterion": "praise" if i % 2 else "blame"}


def _mark(i: int) -> dict[str, Any]:
    mark = 4.0 if i % 4 < 2 else -3.0
    criterion, sign = ("praise", 1) if i % 2 else ("blame", -1)
    return {
        "prompt": "The",
        "completion": " good" if mark > 0 else " bad",
        "label": sign * mark,
        "criterion": criterion,
    }


def _ranking(i: int) -> dict[str, Any]:
    return {
        "prompt": f"Film {i}",
        "completions": [" bad", " good", " fine", " slow"],
        "ranks": [None, 1, 2, 2],
        "annotator": "ann",
    }


@pytest.fixture
def assent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str, out: str = "reward", status: int = 0) -> Any:
        got = main([*words, "--out", str(tmp_path / out)])
        said = capsys.readouterr()
        assert got == status, said.err
        return tmp_path / out if status == 0 else said.err

    return run


def scores(folder: Path, *texts: str) -> torch.Tensor:
    model = load_reward_model(folder)
    return score_rows(model, [[*model.tokenizer(text).input_ids, model.tokenizer.eos_token_id] for text in texts], 999)


@pytest.mark.parametrize("method", METHODS)
def test_two_criteria_are_learned_apart_and_reward_a_policy(method: str, assent: Run):
    folder = assent("reward", "--method", method, "--model", "policy", "--data", "criteria.jsonl", *CRITERIA, *LEARNING)
    good, bad = scores(folder, "Film 3 good", "Film 3 bad")
    assert float(good[0] - bad[0]) > 0.5
    assert float(bad[1] - good[1]) > 0.5
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert plain.config.id2label == {0: "praise", 1: "blame"}
    assert len(plain.config.assent_reward_offset) == 2
    ids = AutoTokenizer.from_pretrained(folder)("Film 3 good", return_tensors="pt").input_ids
    ids = torch.cat([ids, torch.tensor([[plain.config.eos_token_id]])], 1)
    with torch.no_grad():
        logits = plain(input_ids=ids).logits[0] - torch.tensor(plain.config.assent_reward_offset)
    torch.testing.assert_close(logits, good, rtol=0, atol=1e-5)
    ppo = ("ppo", "--model", "policy", "--data", "prompts.jsonl", "--reward", str(folder), "--max-steps", "2")
    ppo = (*ppo, "--batch-size", "8", "--max-new-tokens", "6")
    trained = assent(*ppo, "--reward-weights", "praise=2", "--reward-weights", "blame=-1", out="ppo")
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        assert row["reward_mean"] == pytest.approx(2 * row["reward/praise"] - row["reward/blame"], abs=1e-4)
    said = assent(*ppo, "--reward-weights", "kindness=1", out="wrong", status=2)
    assert "criterion 'kindness'; the reward model's criteria are praise, blame" in str(said)


def test_the_offsets_are_the_mean_scores_of_the_training_rows(assent: Run, monkeypatch: pytest.MonkeyPatch):
    """Each head's, and the data are read and tokenised once."""
    calls: list[str] = []
    read, encode = training._READERS["comparisons"]  # pyright: ignore[reportPrivateUsage]

    def counted(*given: Any, **options: Any) -> Any:
        calls.append("encode")
        return encode(*given, **options)  # pyright: ignore[reportCallIssue]

    monkeypatch.setitem(training._READERS, "comparisons", (read, counted))  # pyright: ignore[reportPrivateUsage]
    folder = assent("reward", "--model", "policy", "--data", "criteria.jsonl", *CRITERIA, *LEARNING)
    assert calls == ["encode"]
    texts = [row["prompt"] + row[side] for row in map(_pair, range(32)) for side in ("chosen", "rejected")]
    torch.testing.assert_close(scores(folder, *texts).mean(0), torch.zeros(2), rtol=0, atol=1e-4)


def test_a_criterion_that_is_not_listed_is_named(assent: Run):
    words = ("reward", "--model", "policy", "--data", "criteria.jsonl", "--criteria", "praise", *LEARNING)
    assert "criterion 'blame' is not one of the criteria: praise" in str(assent(*words, status=2))
    twice = ("reward", "--model", "policy", "--data", "criteria.jsonl", "--criteria", "a", "--criteria", "a", *LEARNING)
    assert "names a criterion twice" in str(assent(*twice, status=2))


def test_numbers_on_any_scale_are_learned_as_they_are(assent: Run):
    words = ("reward", "--model", "policy", "--data", "marks.jsonl", *CRITERIA, *LEARNING)
    assert "expected 0 (bad) to 1 (good)" in str(assent(*words, status=2))
    folder = assent(*words, "--label-loss", "squared", "--learning-rate", "3e-3", "--eval-split", "0.2")
    found = scores(folder, "The good", "The bad")
    torch.testing.assert_close(found, torch.tensor([[4.0, -4.0], [-3.0, 3.0]]), rtol=0, atol=1.0)
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert "eval_loss" in last
    assert "eval_accuracy" not in last


@pytest.mark.parametrize("settings", [("--method", "ranking"), ("--method", "ranking", "--depth", "1")])
def test_rankings_become_comparisons_and_are_learned_whole(settings: tuple[str, ...], assent: Run):
    compared = assent("comparisons", "--data", "ranked.jsonl", out="comparisons")
    folder = assent("reward", "--model", "policy", "--data", str(compared / "train.jsonl"), *settings, *LEARNING)
    good, fine, slow, bad = scores(folder, "Film 3 good", "Film 3 fine", "Film 3 slow", "Film 3 bad")[:, 0].tolist()
    assert good > max(fine, slow, bad) + 0.3
    if "--depth" not in settings:
        assert min(fine, slow) > bad + 0.3
        assert abs(fine - slow) < good - bad


@pytest.mark.parametrize("ties", ["davidson", "rao-kupper"])
def test_models_of_ties_and_margins(ties: str, assent: Run):
    compared = assent("comparisons", "--data", "ranked.jsonl", out="comparisons")
    words = ("reward", "--model", "policy", "--data", str(compared / "train.jsonl"), "--ties", ties, "--margin", "0.5")
    good, fine, bad = scores(assent(*words, *LEARNING), "Film 3 good", "Film 3 fine", "Film 3 bad")[:, 0].tolist()
    assert good > fine > bad


@pytest.mark.parametrize("kind", ["models", "heads"])
def test_an_ensemble_rewards_a_policy_that_pays_for_uncertainty(kind: str, assent: Run):
    words = ("reward", "--model", "policy", "--data", "criteria.jsonl", *LEARNING, "--max-steps", "4")
    folder = assent(*words, "--members", "2", "--ensemble", kind, "--eval-split", "0.2")
    assert (folder / "ensemble.json").exists() == (kind == "models")
    ppo = ("ppo", "--model", "policy", "--data", "prompts.jsonl", "--reward", str(folder), "--max-steps", "2")
    ppo = (*ppo, "--batch-size", "8", "--max-new-tokens", "6", "--ensemble", "worst", "--uncertainty-penalty", "0.5")
    trained = assent(*ppo, out="ppo")
    for row in map(json.loads, (trained / "metrics.jsonl").read_text().splitlines()):
        middle, apart = (row["reward/member-1"] + row["reward/member-2"]) / 2, row["reward_uncertainty"]
        assert row["reward_mean"] == pytest.approx(middle - apart, abs=1e-4)  # of two, the worst is so far below
        assert apart > 0


def test_what_an_ensemble_cannot_be(assent: Run):
    words = ("reward", "--model", "policy", "--data", "criteria.jsonl", *LEARNING, "--ensemble", "heads")
    assert "without criteria; use ensemble: models" in str(assent(*words, "--members", "2", *CRITERIA, status=2))
    folder = assent(*words, "--max-steps", "1")
    ppo = ("ppo", "--model", "policy", "--data", "prompts.jsonl", "--reward", str(folder), "--max-new-tokens", "6")
    assert "tells no uncertainty; give an ensemble" in str(
        assent(*ppo, "--uncertainty-penalty", "1", out="ppo", status=2)
    )
    assert "nothing in the rewards is constrained" in str(assent(*ppo, "--cost-limit", "0.1", out="ppo", status=2))


def test_rewards_are_combined_into_a_folder_that_rewards_a_policy(assent: Run):
    words = ("--model", "policy", *LEARNING, "--max-steps", "4")
    helpful = assent("reward", "--data", "criteria.jsonl", *words, out="helpful")
    safe = assent("reward", "--data", "criteria.jsonl", *words, "--seed", "7", out="safe")
    sample = ("sample", "--model", "policy", "--data", "prompts.jsonl", "--max-new-tokens", "6")
    reference = str(assent(*sample, out="sampled") / "completions.jsonl")
    both = ("combined-reward", "--rewards", f"helpful={helpful}", "--rewards", f"safe={safe}", "--reference", reference)
    ppo = ("ppo", "--model", "policy", "--data", "prompts.jsonl", "--max-steps", "2", "--batch-size", "8")
    ppo = (*ppo, "--max-new-tokens", "6", "--kl-coefficient", "0")
    limits = ("--cost-limit", "0.1", "--multiplier", "2", "--multiplier-rate", "3")
    constrained = assent(*both, "--combination", "constrained", out="constrained")
    trained = assent(*ppo, "--reward", str(constrained), *limits, out="ppo")
    first, second = map(json.loads, (trained / "metrics.jsonl").read_text().splitlines())
    assert first["multiplier"] == 2.0
    assert second["multiplier"] == pytest.approx(2.0 + 3.0 * (first["reward_costs"] - 0.1), abs=1e-4)
    gated = assent(*both, "--combination", "gated", "--safety-threshold", "1", out="gated")
    row = json.loads((assent(*ppo, "--reward", str(gated), out="ppo2") / "metrics.jsonl").read_text().splitlines()[0])
    stored = json.loads((gated / "combination.json").read_text())["scales"]["safe"]
    assert row["reward_mean"] == pytest.approx((row["reward/safe"] - stored[0]) / stored[1], abs=1e-4)
    wrong = assent(*both, "--combination", "gated", "--safety", "sage", out="wrong", status=2)
    assert "no reward is named 'sage'" in str(wrong)


def test_a_length_residualised_reward_does_not_rise_with_length_between_answers_to_one_prompt(assent: Run):
    rows = [{"prompt": f"Film {i}", "chosen": " good" * (1 + i % 3), "rejected": " bad"} for i in range(24)]
    _write(Path("longer.jsonl"), rows)
    words = ("reward", "--model", "policy", "--data", "longer.jsonl", *LEARNING)
    slopes = []
    for more in ((), ("--length-residual",)):
        model = ModelReward(load_reward_model(assent(*words, *more, out=f"reward{len(more)}")))
        prompts = [Prompt(id=str(i), text=str(row["prompt"])) for i, row in enumerate(rows)]
        sides = []
        for side in ("chosen", "rejected"):
            answers = [Completion(p.id, p.id, str(row[side])) for p, row in zip(prompts, rows, strict=True)]
            sides.append(np.array(model.score(prompts, answers).values))
        bias = length_bias(sides[0] - sides[1], *([len(str(r[s])) for r in rows] for s in ("chosen", "rejected")))
        assert bias is not None
        slopes.append(bias.slope)
        assert float(np.mean(sides)) == pytest.approx(0.0, abs=1e-3)
    assert slopes[0] > 0.1
    assert slopes[1] == pytest.approx(0.0, abs=1e-4)
    assert "needs centre_rows" in str(assent("reward", "--model", "policy", "--data", "marks.jsonl", *CRITERIA,
                                             "--label-loss", "squared", "--max-steps", "1", "--length-residual",
                                             out="marks", status=2))  # fmt: skip


def test_reward_bench_as_a_verb(assent: Run):
    folder = assent("reward", "--model", "policy", "--data", "criteria.jsonl", "--max-steps", "1")
    rows = [
        {"id": i, "subset": name, "prompt": "Say", "chosen": "good", "rejected": "bad"}
        for i, name in enumerate(("alpacaeval-easy", "math-prm", "shp"))
    ]
    _write(Path("bench.jsonl"), rows)
    found = json.loads((assent("reward-bench", "--reward", str(folder), "--data", "bench.jsonl", out="bench")
                        / "reward_bench.json").read_text())  # fmt: skip
    assert found["version"] == 1
    assert found["sections"].keys() == {"Chat", "Reasoning", "Prior Sets"}
    assert len(found["missing"]) == 21
