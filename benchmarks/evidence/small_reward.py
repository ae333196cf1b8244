"""The small reward model: few rankings of the SFT model's answers, by one careless annotator."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import assent
from assent.data.jsonl import write_completions, write_jsonl
from assent.data.movie_world import utility
from assent.data.readers import read_completions, read_rankings
from assent.feedback.comparisons import comparisons_from_rankings
from assent.models.load import load_reward_model
from assent.pipeline.stage import NoProgress
from assent.rewards.model import ModelReward
from assent.types import Comparison

ANSWERS = 4
"""To each prompt, all of which a ranking orders."""
REWARD: dict[str, Any] = {
    "batch_size": 16,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 5,
    "num_train_epochs": 4,
    "eval_split": 0.0,
}


@dataclass(frozen=True)
class Data:
    """What a small reward model learns from."""

    rankings: int
    noise: float
    """Scale of the annotator's, in units of true preference."""

    def __str__(self) -> str:
        return f"{self.rankings}-noise-{self.noise:g}"


def comparisons(run: Path, data: Data, seed: int) -> list[Comparison]:
    """All pairs of so many rankings, whose prompts are drawn by the seed, as the annotator of that seed sees them."""
    sampled = read_completions(run / "sample/completions.jsonl")
    prompts = np.random.Generator(np.random.Philox(seed)).permutation(len(sampled) // ANSWERS)[: data.rankings]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = (sampled[ANSWERS * int(prompt) + i] for prompt in prompts for i in range(ANSWERS))
        write_completions(folder / "asked.jsonl", asked)
        settings = {
            "data": str(folder / "asked.jsonl"),
            "store": str(folder / "feedback.db"),
            "truth": "assent.data.movie_world:utility",
            "annotators": [{"name": "reader", "noise": data.noise, "tie_width": 0.0, "fail_below": -1000.0}],
        }
        out = silent("collect", settings, folder / "collect", seed)
        return comparisons_from_rankings(read_rankings(out / "rankings.jsonl"))


def wrong(pairs: Sequence[Comparison]) -> float:
    """Share of the comparisons whose true order is the other one."""
    gaps = np.array([utility(pair.prompt, pair.chosen) - utility(pair.prompt, pair.rejected) for pair in pairs])
    return float((gaps < 0).sum() / (gaps != 0).sum())


def small_reward(run: Path, data: Data, seed: int, tokenizer: Any) -> ModelReward:
    """The reward model of a seed, on top of the SFT model; the same whenever it is made."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_jsonl(folder / "train.jsonl", comparisons(run, data, seed))
        settings = {"model": str(run / "sft"), "data": str(folder / "train.jsonl"), **REWARD}
        return ModelReward(load_reward_model(silent("reward", settings, folder / "reward", seed)), tokenizer)


def silent(kind: str, settings: dict[str, Any], out: Path, seed: int) -> Path:
    return assent.run_stage(kind, settings, out, seed=seed, say=lambda text: None, progress=NoProgress())
