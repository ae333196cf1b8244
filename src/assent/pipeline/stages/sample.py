"""Stage ``sample``: draw completions from a policy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from assent.data.jsonl import write_completions
from assent.data.readers import read_prompts
from assent.data.tokenizers import load_tokenizer
from assent.errors import ModelError, RecipeError
from assent.models.adapter_files import is_adapter
from assent.models.device import pick_device
from assent.models.load import context_length, load_policy
from assent.pipeline.portions import Portions
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.rollout.engine import Engine
from assent.rollout.plain import local_engine
from assent.rollout.server import ServerEngine
from assent.rollout.settings import SamplingOptions
from assent.rollout.vllm import VLLMEngine
from assent.training.callbacks import TIMING, append_row
from assent.training.on_policy import encode_prompts, room_for_prompts
from assent.types import Completion, Prompt, from_json, to_json


class SampleSettings(SamplingOptions):
    """Sampling."""

    model: str = Input("model", description="Model folder or hub name")
    data: str = Input("data", description="Prompts: column prompt, messages or text")
    mix: dict[str, str] = Input("model", {}, "Name -> further model, which draws n completions of each prompt as well")
    n: int = Field(default=1, gt=0)
    """Completions per prompt, by each model."""
    empty: Literal["error", "skip"] = "error"
    """What to do with a row whose prompt is empty: stop, or leave it out."""
    max_prompts: int | None = Field(default=None, gt=0)
    """Use the first so many prompts; unset = all."""
    slots: int = Field(default=128, gt=0)
    """Rows decoded at once."""
    truncate_prompts: Literal["left"] | None = None
    """Cut prompts that leave no room for max_new_tokens on the left; unset = such a prompt is an error."""
    engine: Literal["local", "vllm", "server"] = "local"
    """What draws: this process, vLLM (extra vllm), or an OpenAI-compatible server that serves the model at url."""
    url: str | None = None
    """Base address of the server, as http://127.0.0.1:8000/v1."""
    served_name: str | None = None
    """The model's name on the server; unset = model, as it is given here."""

    @model_validator(mode="after")
    def _one_engine(self) -> SampleSettings:
        if self.engine == "server" and not self.url:
            raise ValueError("engine server needs url, the server's base address, as http://127.0.0.1:8000/v1")
        if self.engine == "server" and self.mix:
            raise ValueError("mix is for engines local and vllm: a server has the one model that it serves")
        if self.engine != "server" and (self.url or self.served_name):
            raise ValueError(f"url and served_name belong to engine server, and engine is {self.engine}")
        return self


class _Elsewhere:
    """What is known of a policy whose weights another program has."""

    def __init__(self, source: str) -> None:
        self.tokenizer = load_tokenizer(source)
        self.context_length = context_length(source)


def run(settings: SampleSettings, context: Context) -> Metrics:
    prompts = read_prompts(settings.data, empty=settings.empty)[: settings.max_prompts]
    models = {str(settings.model).rstrip("/").split("/")[-1]: settings.model}
    if set(models) & set(settings.mix):
        raise RecipeError(f"sample: mix has the name '{next(iter(models))}', which is that of model; give it another")
    models |= settings.mix
    context.progress.start("sampling", len(prompts) * len(models))
    portions = Portions(context.out)
    drawn = [c for name, model in models.items() for c in _draw(name, model, prompts, settings, context, portions)]
    context.progress.stop()
    by_id = {prompt.id: prompt for prompt in prompts}
    place = {name: i for i, name in enumerate(by_id)}
    completions = sorted(drawn, key=lambda c: place[c.prompt_id]) if settings.mix else drawn
    write_completions(context.out / "completions.jsonl", ((by_id[c.prompt_id], c) for c in completions))
    return {
        "completions": len(completions),
        "tokens_mean": sum(len(c.token_ids) for c in completions) / len(completions),
        "ended_share": sum(c.finish_reason == "stop" for c in completions) / len(completions),
    }


def _draw(
    name: str, model: str, prompts: Sequence[Prompt], settings: SampleSettings, context: Context, portions: Portions
) -> list[Completion]:
    """The completions of one policy, each portion kept once it is drawn."""
    policy, engine = _open(settings, name, model)
    limit = room_for_prompts(policy, settings)
    encoded = encode_prompts(policy.tokenizer, prompts, limit, settings.truncate_prompts, settings.data)
    completions: list[Completion] = []
    portion = max(1, settings.slots // settings.n)
    sampling = settings.sampling(context.seed)
    for number, start in enumerate(range(0, len(encoded), portion), 1):

        def draw(number: int = number, start: int = start) -> list[dict[str, Any]]:
            begun = time.perf_counter()
            found = engine.generate(encoded[start : start + portion], sampling, settings.n)
            seconds, tokens = time.perf_counter() - begun, sum(len(c.token_ids) for c in found)
            append_row(context.out / TIMING, {"step": number, "seconds": round(seconds, 4), "tokens": tokens})
            return [to_json(completion) for completion in found]

        drawn = portions.get(f"{name} from prompt {start}", draw)
        completions += [from_json(Completion, row) for row in drawn]
        context.progress.advance(len(encoded[start : start + portion]))
    engine.close()
    return completions


def _open(settings: SampleSettings, name: str, model: str) -> tuple[Any, Engine]:
    """The policy, or what is known of it, and the engine."""
    if settings.engine == "local":
        policy = load_policy(model, pick_device())
        return policy, local_engine(policy, settings.slots, name, settings)
    policy = _Elsewhere(model)
    if settings.engine == "vllm":
        if is_adapter(model):
            raise ModelError(
                f"{model}: is an adapter, and vLLM is given whole models here; make one with `assent merge {model} "
                "--out DIR`, or use engine: local"
            )
        return policy, VLLMEngine(model, name, settings.slots, dtype=settings.rollout_dtype)
    served = settings.served_name or model
    return policy, ServerEngine(str(settings.url), served, policy.tokenizer, name, at_once=settings.slots)


STAGE = Stage(kind="sample", summary="Draw completions from a policy", Settings=SampleSettings, run=run)
