"""What is done by both sides, and with which settings.  Lengths are in tokens; batches are those of one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.vs_trl.data import Texts, comparisons, demonstrations, prompts

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
LEARNING_RATE = 1e-5
REWARD = f"{Path(__file__).parent / 'words.py'}:even_share"


@dataclass(frozen=True)
class Work:
    """One work.  ``batch`` counts examples (a pair is one) or completions."""

    name: str
    rows: Callable[[Texts, int], list[dict[str, str]]]
    batch: int
    settings: dict[str, Any] = field(default_factory=dict)
    """Of assent's stage, besides model, data, batch, steps, learning rate and precision."""
    start: str = "policy"
    """Which of the two models training starts from."""
    samples: int = 1
    """Completions of a prompt; 0 for works without rollouts."""
    new: int = 128
    """Tokens of each completion: the end-of-sequence token is off."""
    epochs: int = 1
    steps: int = 6
    """Of a timed run; the first is left out."""

    @property
    def rollouts(self) -> bool:
        return self.samples > 0

    @property
    def prompts_per_step(self) -> int:
        return self.batch // max(1, self.samples)

    def quick(self) -> Work:
        """Smaller, to try the script with."""
        return replace(self, batch=max(8, self.batch // 2), new=16, steps=3)


WORKS = {
    work.name: work
    for work in (
        Work("sft", demonstrations, 32, samples=0),
        Work("reward", comparisons, 16, start="reward", samples=0, steps=8),
        Work("dpo", comparisons, 16, samples=0),
        Work(
            "grpo",
            prompts,
            32,
            {"samples_per_prompt": 8, "epochs": 1, "kl_estimator": "k3", "reward_function": REWARD},
            samples=8,
            steps=4,
        ),
        Work(
            "rloo", prompts, 32, {"samples_per_prompt": 8, "epochs": 1, "reward_function": REWARD}, samples=8, steps=4
        ),
        Work("ppo", prompts, 16, {"critic": "reward"}, epochs=4, steps=3),
    )
}
"""GRPO with a KL term of TRL's estimator (k3) and one update a batch of rollouts, as is TRL's default; PPO with four
epochs, as is the default of both, and a critic with a trunk of its own that starts from the reward model."""


def stage_settings(work: Work, models: dict[str, Path], data: Path, precision: Precision, steps: int) -> dict[str, Any]:
    """The settings of assent's stage, as given on its command line."""
    settings: dict[str, Any] = {
        "model": str(models[work.start]),
        "data": str(data),
        "batch_size": work.batch,
        "max_steps": steps,
        "learning_rate": LEARNING_RATE,
        "dtype": precision,
        **work.settings,
    }
    if work.rollouts:
        settings |= {"max_new_tokens": work.new, "min_new_tokens": work.new, "rollout_dtype": precision}
    if work.name == "ppo":
        settings["reward"] = str(models["reward"])
    return settings


def trl_job(work: Work, models: dict[str, Path], data: Path, precision: Precision, steps: int) -> dict[str, Any]:
    """What :mod:`benchmarks.vs_trl.trl_side` is told, but for paths to write to and the order of the rows."""
    return {
        "work": work.name,
        "model": str(models[work.start]),
        "reward": str(models["reward"]),
        "data": str(data),
        "batch": work.batch,
        "samples": work.samples,
        "new": work.new,
        "epochs": work.epochs,
        "steps": steps,
        "dtype": precision,
        "learning_rate": LEARNING_RATE,
        "checkpointing": False,
    }
