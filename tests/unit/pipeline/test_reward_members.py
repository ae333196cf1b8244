"""What the members of a reward stage's ensemble learn from, what is kept of it, and that a stop changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import assent
from assent.data.jsonl import write_jsonl
from assent.errors import RecipeError
from assent.models.load import load_reward_model
from assent.models.save import save_model
from assent.pipeline.stage import NoProgress
from assent.rewards.model import ModelReward
from assent.testing.tiny import tiny_causal
from assent.types import Completion, Prompt

PROMPTS = 12


class StopsAt(NoProgress):
    """As Ctrl-C does, at this step of all members' together."""

    def __init__(self, step: int) -> None:
        self.left = step

    def advance(self, amount: int = 1, **figures: float) -> None:
        self.left -= amount
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    save_model(tiny_causal(), tmp_path / "policy", method="none", base="none", settings={})
    rows = [
        {"prompt": f"Film {i % PROMPTS}", "chosen": f" good {i}", "rejected": " bad and slow"}
        for i in range(2 * PROMPTS)
    ]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    return {
        "model": str(tmp_path / "policy"),
        "data": str(tmp_path / "pairs.jsonl"),
        "members": 2,
        "max_steps": 6,
        "batch_size": 4,
        "save_steps": 2,
        "learning_rate": 1e-3,
    }


def made(settings: Mapping[str, Any], out: Path, progress: Any = None) -> Path:
    return assent.run_stage(
        "reward", dict(settings), out, seed=5, say=lambda text: None, progress=progress or NoProgress()
    )


def record(path: Path) -> dict[str, Any]:
    found = json.loads((path / "bootstrap.json").read_text(encoding="utf-8"))
    assert len(found["prompts"]) == PROMPTS
    assert {sum(counts) for counts in found["drawn"].values()} == {PROMPTS}
    return found["drawn"]


def test_models_of_an_ensemble_learn_from_draws_of_their_own(settings: dict[str, Any], tmp_path: Path):
    folder = made({**settings, "bootstrap": True}, tmp_path / "reward")
    one, two = (record(folder / f"member-{n}") for n in (1, 2))
    assert (list(one), list(two)) == (["member-1"], ["member-2"])
    assert one["member-1"] != two["member-2"]
    texts = [(f"Film {i % PROMPTS}", a) for i in range(2 * PROMPTS) for a in (f" good {i}", " bad and slow")]
    for number in (1, 2):  # centred over all rows, and not over those that were drawn
        source = ModelReward(load_reward_model(folder / f"member-{number}"))
        prompts = [Prompt(prompt, text=prompt) for prompt, _ in texts]
        answers = [Completion(text, prompt, text, finish_reason="stop") for prompt, text in texts]
        assert np.mean(source.score(prompts, answers).values) == pytest.approx(0.0, abs=1e-4)
    without = made(settings, tmp_path / "without")
    assert not list(without.rglob("bootstrap.json"))
    one, other = (load_file(path / "member-1/model.safetensors") for path in (folder, without))
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("step", [4, 9])
def test_a_stop_in_either_member_changes_no_bit(step: int, settings: dict[str, Any], tmp_path: Path):
    drawing = {**settings, "bootstrap": True}
    straight = made(drawing, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        made(drawing, tmp_path / "stopped", StopsAt(step))
    resumed = made(drawing, tmp_path / "stopped")
    for name in ("member-1", "member-2"):
        for file in ("model.safetensors", "bootstrap.json", "metrics.jsonl"):
            assert (straight / name / file).read_bytes() == (resumed / name / file).read_bytes(), (name, file)


def test_heads_draw_unless_told_not_to(settings: dict[str, Any], tmp_path: Path):
    folder = made({**settings, "ensemble": "heads"}, tmp_path / "heads")
    drawn = record(folder)
    assert list(drawn) == ["member-1", "member-2"]
    assert drawn["member-1"] != drawn["member-2"]
    alike = made({**settings, "ensemble": "heads", "bootstrap": False}, tmp_path / "alike")
    assert not (alike / "bootstrap.json").exists()
    with pytest.raises(RecipeError, match="set members to 2 or more"):
        made({**settings, "members": 1, "bootstrap": True}, tmp_path / "one")
