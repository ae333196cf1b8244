"""Stage ``sample``: draw completions from a policy."""

from __future__ import annotations

import time
from typing import Literal

from pydantic import Field

from assent.data.jsonl import write_completions
from assent.data.readers import read_prompts
from assent.models.device import pick_device
from assent.models.load import load_policy
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.rollout.plain import local_engine
from assent.rollout.settings import SamplingOptions
from assent.training.callbacks import TIMING, append_row
from assent.training.on_policy import encode_prompts, room_for_prompts
from assent.types import Completion


class SampleSettings(SamplingOptions):
    """Sampling."""

    model: str = Input("model", description="Model folder or hub name")
    data: str = Input("data", description="Prompts: column prompt, messages or text")
    n: int = Field(default=1, gt=0)
    """Completions per prompt."""
    empty: Literal["error", "skip"] = "error"
    """What to do with a row whose prompt is empty: stop, or leave it out."""
    slots: int = Field(default=128, gt=0)
    """Rows decoded at once."""
    truncate_prompts: Literal["left"] | None = None
    """Cut prompts that leave no room for max_new_tokens on the left; unset = such a prompt is an error."""


def run(settings: SampleSettings, context: Context) -> Metrics:
    policy = load_policy(settings.model, pick_device())
    name = str(settings.model).rstrip("/").split("/")[-1]
    engine = local_engine(policy, settings.slots, name, settings)
    prompts = read_prompts(settings.data, empty=settings.empty)
    limit = room_for_prompts(policy, settings)
    encoded = encode_prompts(policy.tokenizer, prompts, limit, settings.truncate_prompts, settings.data)
    completions: list[Completion] = []
    context.progress.start("sampling", len(encoded))
    portion = max(1, settings.slots // settings.n)
    for number, start in enumerate(range(0, len(encoded), portion), 1):
        drawn = encoded[start : start + portion]
        begun = time.perf_counter()
        found = engine.generate(drawn, settings.sampling(context.seed), settings.n)
        seconds, tokens = time.perf_counter() - begun, sum(len(c.token_ids) for c in found)
        append_row(context.out / TIMING, {"step": number, "seconds": round(seconds, 4), "tokens": tokens})
        completions += found
        context.progress.advance(len(drawn))
    context.progress.stop()
    by_id = {prompt.id: prompt for prompt in prompts}
    write_completions(context.out / "completions.jsonl", ((by_id[c.prompt_id], c) for c in completions))
    return {
        "completions": len(completions),
        "tokens_mean": sum(len(c.token_ids) for c in completions) / len(completions),
        "ended_share": sum(c.finish_reason == "stop" for c in completions) / len(completions),
    }


STAGE = Stage(kind="sample", summary="Draw completions from a policy", Settings=SampleSettings, run=run)
