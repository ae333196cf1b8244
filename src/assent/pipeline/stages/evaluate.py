"""Stage ``evaluate``: policies against each other on held-out prompts, by a judge that trained none of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from pydantic import Field

from assent.data.jsonl import write_jsonl
from assent.data.readers import read_comparisons, read_judgements, read_prompts, read_rankings, read_texts
from assent.errors import ModelError, RecipeError
from assent.evaluation.diversity import diversity
from assent.evaluation.kl import sequence_kl, token_log_ratios
from assent.evaluation.tokens import perplexity, token_logprobs
from assent.evaluation.win_rates import win_rate
from assent.intervals import wilson_interval
from assent.models.device import pick_device
from assent.models.load import load_policy
from assent.models.policy import Policy
from assent.pipeline.portions import Portions
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.evidence import classifier_quality, feedback_quality, reward_model_quality, score_matches
from assent.rewards.load import load_reward
from assent.rewards.model import ModelReward, same_tokenizer
from assent.rewards.rule import FunctionReward, load_function
from assent.rewards.source import RewardSource, is_comparative, score_all
from assent.rollout.plain import local_engine
from assent.rollout.settings import SamplingOptions
from assent.runs.folder import atomic_write_json
from assent.training.on_policy import encode_prompts, room_for_prompts
from assent.types import Completion, Prompt, from_json, to_json


class EvaluateSettings(SamplingOptions):
    """Evaluation."""

    model: str | None = Input("model", None, "The model to evaluate, where policies are not named")
    against: str | None = Input("model", None, "The model it is compared with; unset = figures of the one alone")
    policies: dict[str, str] = Input("model", {}, "Name -> model folder or hub name, to compare several")
    data: str = Input("data", description="Held-out prompts")
    reference: str = "sft"
    """Among policies, the one that the others are compared with: wins against it, and KL from it."""
    judge: str | None = Input(
        "model",
        None,
        "Reward model, or folder of another source of reward, that judges; it must not be the one trained against",
    )
    judge_function: str | None = Input(
        "code", None, "A function of prompt and text that judges instead, as module:function or path.py:function"
    )
    judge_name: str = "the judge"
    """What the report calls the judge."""
    judge_kind: Literal["simulated", "classifier", "model", "function"] = "model"
    """What the report says it is: the world's own simulated preference, a classifier whose sign counts (the share of
    positive completions leads), a reward model, or a function."""
    reward: str | None = Input("model", None, "The reward model, or folder of another source, that was trained against")
    base: str | None = Input("model", None, "Model that perplexity is measured under, usually the pretrained one")
    base_text: str | None = Input("data", None, "Held-out text; each policy's perplexity on it shows what was lost")
    comparisons: str | None = Input("data", None, "Held-out comparisons that the reward model is measured on")
    judgements: str | None = Input("data", None, "Held-out labels that a classifier reward model is measured on")
    rankings: str | None = Input("data", None, "Rankings to report agreement and annotators of")
    empty: Literal["error", "skip"] = "error"
    """What to do with a row whose prompt is empty: stop, or leave it out."""
    truncate_prompts: Literal["left"] | None = None
    """Cut prompts that leave no room for max_new_tokens on the left; unset = such a prompt is an error."""
    max_prompts: int | None = Field(default=None, gt=0)
    """Use the first so many prompts; unset = all."""
    tie_width: float = Field(default=0.0, ge=0.0)
    """Scores of the judge closer than this are a tie."""
    shown: int = Field(default=40, ge=0)
    """Prompts whose completions are shown in the report."""


@dataclass
class _Sampled:
    completions: list[Completion]
    utilities: Sequence[float] | None
    """``None`` without a judge."""
    rewards: Sequence[float] | None
    logprobs: list[list[float]] | None
    """``None``, as ``ref_logprobs``, where the reference has another tokenizer: then there is no KL from it."""
    ref_logprobs: list[list[float]] | None
    figures: dict[str, float]


def run(settings: EvaluateSettings, context: Context) -> Metrics:
    policies, reference_name = _policies(settings)
    prompts = read_prompts(settings.data, empty=settings.empty)[: settings.max_prompts]
    reference = load_policy(policies[reference_name], pick_device())
    base = load_policy(settings.base, pick_device()) if settings.base else None
    judge, reward = _judge(settings), load_reward(settings.reward) if settings.reward else None
    context.progress.start("evaluating", len(policies))
    sampled: dict[str, _Sampled] = {}
    portions = Portions(context.out)
    tokenizers: dict[str, Any] = {}
    for name in [reference_name, *(n for n in policies if n != reference_name)]:
        policy = reference if name == reference_name else load_policy(policies[name], pick_device())
        if base is not None and not same_tokenizer(policy.tokenizer, base.tokenizer):
            raise ModelError(f"{settings.base}: base has another tokenizer than {policies[name]}; leave base out")
        if not same_tokenizer(policy.tokenizer, reference.tokenizer):
            context.say(f"{name} has another tokenizer than {reference_name}, so there is no KL between them")
        rest = (policy, reference, base, judge, reward, prompts, settings, context.seed)
        sampled[name] = _taken_up(portions.get(name, lambda rest=rest: _to_keep(_sample(*rest))))
        tokenizers[name] = policy.tokenizer
        context.progress.advance()
    context.progress.stop()
    result = _result(settings, reference_name, prompts, sampled, judge)
    result |= _evidence(settings, reward, judge)
    atomic_write_json(context.out / "evaluation.json", result)
    write_jsonl(context.out / "samples.jsonl", _samples(tokenizers, prompts, sampled, settings.shown))
    return _headline(result)


def _policies(settings: EvaluateSettings) -> tuple[dict[str, str], str]:
    """The policies by name, and the name of the reference."""
    if bool(settings.policies) == (settings.model is not None):
        raise RecipeError("evaluate: give either model (and against), or policies")
    if settings.model is not None:
        named = {"model": settings.model} | ({"against": settings.against} if settings.against else {})
        return named, "against" if settings.against else "model"
    if settings.reference not in settings.policies:
        raise RecipeError(f"evaluate: reference '{settings.reference}' is none of {', '.join(settings.policies)}")
    return settings.policies, settings.reference


def _judge(settings: EvaluateSettings) -> RewardSource | None:
    if settings.judge is not None and settings.judge_function is not None:
        raise RecipeError("evaluate: give judge (a model) or judge_function, not both")
    if settings.judge_function:
        return FunctionReward(load_function(settings.judge_function), settings.judge_name)
    return load_reward(settings.judge) if settings.judge else None


def _for_policy(source: RewardSource | None, policy: Policy) -> RewardSource | None:
    """A reward model scores the very ids where it shares this policy's tokenizer, and the text where it does not."""
    return ModelReward(source.model, policy.tokenizer) if isinstance(source, ModelReward) else source


def _sample(
    policy: Policy,
    reference: Policy,
    base: Policy | None,
    judge: RewardSource | None,
    reward: RewardSource | None,
    prompts: Sequence[Prompt],
    settings: EvaluateSettings,
    seed: int,
) -> _Sampled:
    limit = room_for_prompts(policy, settings)
    encoded = encode_prompts(policy.tokenizer, prompts, limit, settings.truncate_prompts, settings.data)
    completions = local_engine(policy, options=settings).generate(encoded, settings.sampling(seed), 1)
    judge, scorer = _for_policy(judge, policy), _for_policy(reward, policy)
    utilities = score_all(judge, prompts, completions).values if judge and not is_comparative(judge) else None
    rewards = score_all(scorer, prompts, completions).values if scorer and not is_comparative(scorer) else None
    figures: dict[str, float] = {}
    logprobs = ref_logprobs = None
    if same_tokenizer(policy.tokenizer, reference.tokenizer):
        # Both sides by the trainer's path, so that a policy's KL from itself is exactly zero.
        logprobs = token_logprobs(policy, completions, settings.temperature)
        ref_logprobs = token_logprobs(reference, completions, settings.temperature)
        kl = sequence_kl(logprobs, ref_logprobs)
        figures = {"kl": kl.k1, "kl_se": kl.k1_se, "kl_k3": kl.k3}
    spread = diversity([c.text for c in completions])
    count = len(completions)
    figures |= {
        "distinct_2": spread.distinct_2,
        "words": spread.words,
        "ended_share": sum(c.finish_reason == "stop" for c in completions) / count,
    }
    if utilities is not None:
        figures |= {"utility": float(np.mean(utilities)), "utility_se": float(np.std(utilities) / count**0.5)}
    if utilities is not None and settings.judge is not None:
        low, high = wilson_interval(positive := sum(u > 0 for u in utilities), count)
        figures |= {"positive_rate": positive / count, "positive_rate_low": low, "positive_rate_high": high}
    if rewards is not None:
        figures["reward"] = float(np.mean(rewards))
    if base is not None:
        figures["perplexity"] = perplexity(token_logprobs(base, completions, 1.0))
    if settings.base_text is not None:
        figures["held_out_perplexity"] = _text_perplexity(policy, settings.base_text)
    figures = {key: value for key, value in figures.items() if math.isfinite(value)}  # empty texts have no distinct-2
    return _Sampled(completions, utilities, rewards, logprobs, ref_logprobs, figures)


def _to_keep(sampled: _Sampled) -> dict[str, Any]:
    kept = {item.name: getattr(sampled, item.name) for item in fields(sampled)}
    return kept | {"completions": [to_json(completion) for completion in sampled.completions]}


def _taken_up(kept: dict[str, Any]) -> _Sampled:
    """What was kept, as it was made."""
    return _Sampled(**{**kept, "completions": [from_json(Completion, row) for row in kept["completions"]]})


def _text_perplexity(policy: Policy, source: str) -> float:
    texts = read_texts(source)
    ids = [tuple(policy.tokenizer(text).input_ids)[: policy.context_length] for text in texts]
    rows = [
        Completion(str(i), "", "", token_ids=t[1:], prompt_token_ids=t[:1]) for i, t in enumerate(ids) if len(t) > 1
    ]
    return perplexity(token_logprobs(policy, rows, 1.0))


def _result(
    settings: EvaluateSettings,
    reference: str,
    prompts: Sequence[Prompt],
    sampled: dict[str, _Sampled],
    judge: RewardSource | None,
) -> dict[str, Any]:
    base = sampled[reference]
    for item in sampled.values():
        for share in ("perplexity", "distinct_2"):
            if base.figures.get(share) and share in item.figures:
                item.figures[f"{share}_ratio"] = item.figures[share] / base.figures[share]
    return {
        "judge": settings.judge_name,
        "judge_kind": settings.judge_kind,
        "reference": reference,
        "prompts": len(prompts),
        "policies": {name: item.figures for name, item in sampled.items()},
        "win_rates": _win_rates(prompts, reference, sampled, judge, settings.tie_width),
    }


def _win_rates(
    prompts: Sequence[Prompt],
    reference: str,
    sampled: dict[str, _Sampled],
    judge: RewardSource | None,
    tie_width: float,
) -> list[dict[str, Any]]:
    """Each policy against the reference, and then each against each other."""
    others = [name for name in sampled if name != reference]
    matches = [(name, reference) for name in others] + list(itertools.combinations(others, 2))
    ids = [prompt.id for prompt in prompts]
    rates: list[dict[str, Any]] = []
    for one, two in matches:
        ours, theirs = sampled[one].utilities, sampled[two].utilities
        if judge is not None and is_comparative(judge):
            texts = [[c.text for c in sampled[name].completions] for name in (one, two)]
            ours, theirs = score_matches(judge, prompts, *texts)
        if ours is not None and theirs is not None:
            rates.append({"policy": one, "against": two, **asdict(win_rate(ids, ours, theirs, tie_width))})
    return rates


def _evidence(settings: EvaluateSettings, reward: RewardSource | None, judge: RewardSource | None) -> dict[str, Any]:
    out: dict[str, Any] = {}
    truth = judge if settings.judge_function else None
    if reward is not None and settings.comparisons:
        out["reward_model"] = reward_model_quality(reward, read_comparisons(settings.comparisons), truth)
    elif reward is not None and settings.judgements:
        out["reward_model"] = classifier_quality(reward, read_judgements(settings.judgements))
    if settings.rankings:
        out["feedback"] = feedback_quality(read_rankings(settings.rankings), truth)
    return out


def _samples(
    tokenizers: dict[str, Any], prompts: Sequence[Prompt], sampled: dict[str, _Sampled], shown: int
) -> list[dict[str, Any]]:
    rows = []
    for i, prompt in enumerate(prompts[:shown]):
        columns: dict[str, Any] = {}
        for name, item in sampled.items():
            completion = item.completions[i]
            columns[name] = {
                "text": completion.text,
                "tokens": [tokenizers[name].decode([token]) for token in completion.token_ids],
            }
            if item.logprobs is not None and item.ref_logprobs is not None:
                columns[name]["token_kl"] = token_log_ratios(item.logprobs[i], item.ref_logprobs[i])
            if item.utilities is not None:
                columns[name]["utility"] = item.utilities[i]
            if item.rewards is not None:
                columns[name]["reward"] = item.rewards[i]
        rows.append({"prompt": prompt.shown(), "completions": columns})
    return rows


def _headline(result: dict[str, Any]) -> dict[str, float]:
    out: dict[str, float] = {}
    for rate in result["win_rates"]:
        if rate["against"] == result["reference"]:
            out |= {f"win_rate/{rate['policy']}": rate["rate"], f"win_rate_low/{rate['policy']}": rate["low"]}
    for name, figures in result["policies"].items():
        kept = ("kl", "positive_rate", "distinct_2", "perplexity")
        out |= {f"{key}/{name}": figures[key] for key in kept if key in figures}
    if "reward_model" in result:
        out["reward_model_accuracy"] = result["reward_model"]["accuracy"]
    return out


STAGE = Stage(kind="evaluate", summary="Evaluate policies on held-out prompts", Settings=EvaluateSettings, run=run)
