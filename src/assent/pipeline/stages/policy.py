"""What the stages that optimise a policy against rewards share: all but the algorithm and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field

from assent.algorithms.base import Algorithm
from assent.cluster.settings import ClusterSettings
from assent.config import Settings
from assent.data.readers import read_completions, read_prompts
from assent.errors import ModelError, RecipeError
from assent.models.device import pick_device
from assent.models.policy import Policy
from assent.models.save import save_critic
from assent.models.shared import Bases
from assent.pipeline.stage import Context, Input, Metrics, Stage, Waiting
from assent.pipeline.stages.reward_input import RewardInput, open_reward
from assent.pipeline.stages.training import PublishSettings, finish, read_examples
from assent.pipeline.stages.workers import crew, placed
from assent.rewards.combine import models_in
from assent.rewards.model import same_tokenizer
from assent.rewards.source import Pending
from assent.rollout.engine import EncodedPrompt
from assent.training.distributed import is_main
from assent.training.on_policy import OnPolicySettings, OnPolicyTask, encode_prompts, room_for_prompts, train
from assent.training.roles import Roles
from assent.training.scored import scored_examples
from assent.training.sources import Example


class RolloutStageSettings(RewardInput, OnPolicySettings, ClusterSettings, PublishSettings):
    """Policy optimisation against rewards."""

    model: str = Input(
        "model", description="Model folder or hub name to start from; also the reference where none is given"
    )
    reference: str | None = Input(
        "model", None, "Model that the policy is held to (KL); unset = the one it starts from"
    )
    data: str = Input("data", description="Prompts: column prompt, messages or text")
    pretrain_data: str | None = Input("data", None, "Texts whose log-likelihood is mixed in (PPO-ptx): column text")
    engine: Literal["local", "vllm"] = "local"
    """What draws rollouts: the policy itself, or vLLM (extra vllm) in the same process, on its newest weights."""
    vllm_memory: float = Field(default=0.4, gt=0.0, lt=1.0, json_schema_extra={"identity": False})
    """Share of the GPU's memory that vLLM may take while it draws; it gives it back while the policy trains."""


class GroupSettings(Settings):
    """Algorithms that compare the completions of one prompt."""

    samples_per_prompt: int = Field(default=4, ge=2)
    """Completions per prompt within a step, which are compared with one another."""


def rollout_stage(
    algorithm: Algorithm, stage_settings: type[RolloutStageSettings], *, reads_scored: bool = False
) -> Stage:
    """The stage of an on-policy algorithm; ``stage_settings`` are also the algorithm's settings.

    ``reads_scored``: without a source of rewards it trains on completions that have scores already, which the model to
    start from sampled.
    """

    def run(settings: Any, context: Context) -> Metrics:
        if reads_scored and settings.reward is None and settings.reward_function is None:
            return _run_scored(algorithm, settings, context)
        return placed(partial(_run, algorithm, settings), settings, algorithm.name, context)

    return Stage(kind=algorithm.name, summary=algorithm.summary, Settings=stage_settings, run=run, trains=True)


def _run(algorithm: Algorithm, settings: Any, context: Context) -> Metrics:
    bases = Bases(settings, pick_device())
    policy = bases.policy(settings.model, context.seed)
    reference = _reference(settings, policy, bases)
    room = room_for_prompts(policy, settings)
    source = open_reward(settings, algorithm.name, policy.tokenizer, settings.token_budget, bases)
    sharing = [each.model for each in models_in(source) if each.same_tokenizer]
    reward = min(sharing, key=lambda model: model.context_length) if sharing else None
    prompts = read_prompts(settings.data, empty=settings.empty)
    limit = min(room, settings.max_prompt_tokens or room)
    encoded = encode_prompts(policy.tokenizer, prompts, limit, settings.truncate_prompts, settings.data)
    if reward is not None:
        _refuse_short_context(reward.context_length, encoded, settings)
    with crew(settings, algorithm.name, policy, source, context.say) as (engine, scorer):
        given = {"prompts": prompts, "encoded": encoded, "engine": engine, "reference": reference}
        task = _task(algorithm, settings, context, policy, reward=scorer, reward_model=reward, **given)
        try:
            figures, roles = train(task)
        except Pending as pending:
            raise Waiting(str(pending)) from None
    return _saved(algorithm, settings, context, policy, roles, figures)


def _run_scored(algorithm: Algorithm, settings: Any, context: Context) -> Metrics:
    if settings.cluster or settings.staleness:
        raise RecipeError(
            f"{algorithm.name}: cluster and staleness are for rollouts, and without reward or reward_function none are "
            "drawn; leave them out"
        )
    if settings.reference is not None:
        raise RecipeError(
            f"{algorithm.name}: completions with scores were sampled by model, which is their reference; leave "
            "reference out, or give a reward"
        )
    policy = Bases(settings, pick_device()).policy(settings.model, context.seed)
    examples = scored_examples(policy, read_completions(settings.data), settings.data)
    nothing = {"reward": None, "reward_model": None, "prompts": (), "encoded": ()}
    task = _task(algorithm, settings, context, policy, scored=examples, **nothing)
    figures, roles = train(task)
    return _saved(algorithm, settings, context, policy, roles, figures)


def _task(algorithm: Algorithm, settings: Any, context: Context, policy: Policy, **given: Any) -> OnPolicyTask:
    """A training of the policy in the stage's folder; ``given``: what it learns from."""
    return OnPolicyTask(
        policy=policy,
        pretrain=_pretrain(policy, settings, context),
        algorithm=algorithm,
        settings=settings,
        folder=context.out,
        seed=context.seed,
        progress=context.progress,
        say=context.say,
        **given,
    )


def _saved(
    algorithm: Algorithm, settings: Any, context: Context, policy: Policy, roles: Roles, figures: dict[str, float]
) -> Metrics:
    finish(policy, settings, algorithm.name, settings.model, context)
    if roles.critic is not None and is_main():
        save_critic(roles.critic, context.out)
    leading = ("reward_mean", "kl")
    return {name: figures[name] for name in leading if name in figures} | figures


def _reference(settings: RolloutStageSettings, policy: Policy, bases: Bases) -> Policy | None:
    """The model that the settings name as the reference.  Raises :class:`ModelError` where it reads other tokens."""
    if settings.reference is None:
        return None
    reference = bases.frozen_policy(settings.reference)
    alike = type(reference) is type(policy) and same_tokenizer(reference.tokenizer, policy.tokenizer)
    if not alike or reference.context_length < policy.context_length:
        raise ModelError(
            f"{settings.reference}: the reference has another tokenizer or architecture than {settings.model}, or a "
            "shorter context; give a model of the same kind, such as the one that this one was trained from"
        )
    return reference


def _pretrain(policy: Policy, settings: RolloutStageSettings, context: Context) -> Sequence[Example]:
    if settings.pretrain_data is None:
        return ()
    limit = policy.context_length
    return read_examples(policy.tokenizer, settings.pretrain_data, ("texts",), limit, "truncate", context)[1]


def _refuse_short_context(context_length: int, encoded: Sequence[EncodedPrompt], settings: RolloutStageSettings):
    longest = max(len(prompt.token_ids) for prompt in encoded) + settings.max_new_tokens
    if longest > context_length:
        raise ModelError(
            f"{settings.reward}: the reward model's context of {context_length} tokens is less than the {longest} of "
            "the longest prompt with max_new_tokens, so that it would see answers cut short; lower max_new_tokens or "
            "max_prompt_tokens"
        )
