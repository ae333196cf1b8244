"""The sentiment recipe runs on SST-2; a file of its own, so that it runs beside the other recipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from whole_runs import ROOT, assent

SHARED = ROOT.parent / "shared"
SST2 = SHARED / "data" / "sst2" / "glue"
POLICY = SHARED / "models" / "reviews-6m"

pytestmark = pytest.mark.slow
FEWER = {"sft.max_steps": 80, "reward.max_steps": 250, "judge.max_steps": 250}
"""About half of the steps before PPO; ``make sentiment`` takes them all."""


@pytest.mark.skipif(
    not (SST2.is_dir() and POLICY.is_dir()), reason="needs SST-2 and the small model beside the checkout"
)
def test_sentiment_reaches_positive_reviews(tmp_path: Path) -> None:
    out = tmp_path / "sentiment"
    local = {"sst2.data": SST2 / "train.tsv", "sst2.dev": SST2 / "dev.tsv", "sft.model": POLICY, "judge.model": POLICY}
    sets = [f"{key}={value}" for key, value in {**local, **FEWER}.items()] + ["sft.add_bos=true", "judge.add_bos=true"]
    assent("run", "recipes/sentiment.yaml", "--out", str(out), *[word for item in sets for word in ("--set", item)])
    figures = json.loads((out / "report.json").read_text())
    print(figures)
    assert figures["positive_rate"] >= 0.85
    assert figures["positive_rate_sft"] < 0.75
    assert figures["kl"] > 0
    assert figures["reward_model_accuracy"] > 0.7
