"""What the stages that optimise a policy against rewards share: all but the algorithm and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from assent.algorithms.base import Algorithm
from assent.config import Settings
from assent.data.readers import read_prompts
from assent.errors import ModelError, RecipeError
from assent.models.device import pick_device
from assent.models.load import load_policy, load_reward_model
from assent.models.policy import Policy
from assent.models.save import save_critic
from assent.models.scalar import RewardModel
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.training import PublishSettings, finish, read_examples
from assent.rewards.model import ModelReward
from assent.rewards.rule import FunctionReward, load_function
from assent.rewards.source import RewardSource
from assent.rollout.engine import EncodedPrompt
from assent.training.on_policy import OnPolicySettings, OnPolicyTask, encode_prompts, room_for_prompts, train
from assent.training.sources import Example


class RolloutStageSettings(OnPolicySettings, PublishSettings):
    """Policy optimisation against rewards."""

    model: str = Input("model", description="Model folder or hub name to start from; also the reference")
    data: str = Input("data", description="Prompts: column prompt, messages or text")
    reward: str | None = Input("model", None, "Reward model folder or hub name")
    reward_weights: dict[str, float] | None = None
    """What each criterion of a reward model with several counts in the reward; unset = the mean of all."""
    reward_function: str | None = Input(
        "code", None, "A function of prompt and completion text instead, as module:function or path.py:function"
    )
    pretrain_data: str | None = Input("data", None, "Texts whose log-likelihood is mixed in (PPO-ptx): column text")


class GroupSettings(Settings):
    """Algorithms that compare the completions of one prompt."""

    samples_per_prompt: int = Field(default=4, ge=2)
    """Completions per prompt within a step, which are compared with one another."""


@dataclass(frozen=True)
class _Reward:
    source: RewardSource
    model: RewardModel | None
    """``None`` where the reward is no model, or one with another tokenizer than the policy's."""


def rollout_stage(algorithm: Algorithm, stage_settings: type[RolloutStageSettings]) -> Stage:
    """The stage of an on-policy algorithm; ``stage_settings`` are also the algorithm's settings."""

    def run(settings: Any, context: Context) -> Metrics:
        return _run(algorithm, settings, context)

    return Stage(kind=algorithm.name, summary=algorithm.summary, Settings=stage_settings, run=run)


def _run(algorithm: Algorithm, settings: Any, context: Context) -> Metrics:
    if (settings.reward is None) == (settings.reward_function is None):
        raise RecipeError(f"{algorithm.name}: give either reward (a reward model) or reward_function")
    policy = load_policy(settings.model, pick_device())
    room = room_for_prompts(policy, settings)
    reward = _reward(policy, settings)
    prompts = read_prompts(settings.data, empty=settings.empty)
    limit = min(room, settings.max_prompt_tokens or room)
    encoded = encode_prompts(policy.tokenizer, prompts, limit, settings.truncate_prompts, settings.data)
    if reward.model is not None:
        _refuse_short_context(reward.model.context_length, encoded, settings)
    figures, roles = train(
        OnPolicyTask(
            policy=policy,
            reward=reward.source,
            reward_model=reward.model,
            prompts=prompts,
            encoded=encoded,
            pretrain=_pretrain(policy, settings, context),
            algorithm=algorithm,
            settings=settings,
            folder=context.out,
            seed=context.seed,
            progress=context.progress,
            say=context.say,
        )
    )
    finish(policy, settings, algorithm.name, settings.model, context)
    if roles.critic is not None:
        save_critic(roles.critic, context.out)
    leading = ("reward_mean", "kl")
    return {name: figures[name] for name in leading if name in figures} | figures


def _reward(policy: Policy, settings: RolloutStageSettings) -> _Reward:
    if settings.reward is None:
        return _Reward(FunctionReward(load_function(str(settings.reward_function))), None)
    model = load_reward_model(settings.reward, pick_device()).requires_grad_(False)
    source = ModelReward(model, policy.tokenizer, settings.token_budget, settings.reward_weights)
    return _Reward(source, model if source.same_tokenizer else None)


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
