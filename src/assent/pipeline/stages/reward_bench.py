"""Stage ``reward-bench``: a reward on RewardBench, version 1 or 2."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import Field

from assent.config import Settings
from assent.evaluation.reward_bench import read_reward_bench, run_reward_bench
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.rewards.combine import models_in
from assent.rewards.load import load_reward
from assent.runs.folder import atomic_write_json


class RewardBenchSettings(Settings):
    """RewardBench."""

    reward: str = Input("model", description="Reward model folder or hub name")
    data: str = Input("data", description="RewardBench 1 or 2: a file, a folder, or allenai/reward-bench(-2)")
    split: str | None = None
    """Split of a folder or hub dataset: filtered of version 1, test of version 2; unset = train."""
    reward_weights: dict[str, float] | None = None
    """What each criterion of a reward model with several counts; unset = the mean of all."""
    token_budget: int = Field(default=8192, gt=0)
    """Tokens scored at once."""


def run(settings: RewardBenchSettings, context: Context) -> Metrics:
    reward = load_reward(settings.reward, None, settings.token_budget, settings.reward_weights)
    chat = all(each.model.tokenizer.chat_template for each in models_in(reward))
    version, items = read_reward_bench(settings.data, settings.split, chat)
    if not chat:
        context.say(f"{settings.reward}: has no chat template, so prompts are scored as plain texts")
    found = run_reward_bench(reward, version, items)
    if found.missing:
        context.say(f"{settings.data}: lacks {', '.join(found.missing)}; the score is that of the rest")
    atomic_write_json(context.out / "reward_bench.json", asdict(found))
    return {"score": found.score, **{f"section/{name}": value for name, value in found.sections.items()}}


STAGE = Stage(kind="reward-bench", summary="Measure a reward on RewardBench", Settings=RewardBenchSettings, run=run)
