"""The verbs that compare or select the policy's own completions, as a user types them."""

import json
import math
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from assent.cli import main

USUAL = ("--model", "policy", "--data", "prompts.jsonl", "--reward", "reward", "--max-new-tokens", "6")


@pytest.mark.parametrize(
    "typed",
    [
        ("rebel", "--eta", "0.5"),
        ("online-dpo", "--labels", "soft", "--loss", "ipo", "--pairs", "best-worst"),
        ("rejection", "--keep", "2"),
        ("expert-iteration", "--top-share", "0.5", "--capacity", "6"),
    ],
    ids=lambda typed: typed[0],
)
def test_a_verb_trains_a_model_that_loads(
    typed: tuple[str, ...], workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(workshop)
    assert main([*typed, *USUAL, "--max-steps", "2", "--batch-size", "8", "--out", str(tmp_path / "out")]) == 0
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert rows[0]["loss"] > 0
    assert rows[0]["engine_mismatch"] < 1e-4


def test_keeping_every_completion_is_refused(
    workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(workshop)
    assert main(["rejection", *USUAL, "--keep", "4", "--out", str(tmp_path / "out")]) == 2
    assert "keep 4 of 4 samples_per_prompt leaves none out" in capsys.readouterr().err
