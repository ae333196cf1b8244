"""Stage ``ppo``: policy optimisation against rewards."""

from __future__ import annotations

from assent.algorithms.ppo import ALGORITHM, PPOSettings
from assent.data.readers import read_prompts
from assent.errors import ModelError, RecipeError
from assent.models.device import pick_device
from assent.models.load import load_causal, load_reward_model
from assent.models.save import save_critic
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.training import PublishSettings, finish
from assent.rewards.model import ModelReward
from assent.rewards.rule import FunctionReward, load_function
from assent.training.on_policy import OnPolicySettings, OnPolicyTask, encode_prompts, room_for_prompts, train


class PPOStageSettings(OnPolicySettings, PublishSettings, PPOSettings):
    """Policy optimisation with PPO."""

    model: str = Input("model", description="Model folder or hub name to start from; also the reference")
    data: str = Input("data", description="Prompts: column prompt, messages or text")
    reward: str | None = Input("model", None, "Reward model folder or hub name")
    reward_function: str | None = None
    """A function of prompt and completion text instead, as module:function or path.py:function."""


def run(settings: PPOStageSettings, context: Context) -> Metrics:
    if (settings.reward is None) == (settings.reward_function is None):
        raise RecipeError("ppo: give either reward (a reward model) or reward_function")
    policy = load_causal(settings.model, pick_device())
    room = room_for_prompts(policy, settings)
    reward_model = None
    if settings.reward is not None:
        reward_model = load_reward_model(settings.reward, pick_device()).requires_grad_(False)
        reward = ModelReward(reward_model, policy.tokenizer, settings.token_budget)
        shared = reward.same_tokenizer
    else:
        reward, shared = FunctionReward(load_function(str(settings.reward_function))), False
    prompts = read_prompts(settings.data, empty=settings.empty)
    limit = min(room, settings.max_prompt_tokens or room)
    encoded = encode_prompts(policy.tokenizer, prompts, limit, settings.truncate_prompts, settings.data)
    if reward_model is not None and shared:
        longest = max(len(prompt.token_ids) for prompt in encoded) + settings.max_new_tokens
        _refuse_short_context(reward_model.context_length, longest, str(settings.reward))
    figures, roles = train(
        OnPolicyTask(
            policy=policy,
            reward=reward,
            reward_model=reward_model if shared else None,
            prompts=prompts,
            encoded=encoded,
            algorithm=ALGORITHM,
            settings=settings,
            folder=context.out,
            seed=context.seed,
            progress=context.progress,
            say=context.say,
        )
    )
    finish(policy, settings, "ppo", settings.model, context)
    if roles.critic is not None:
        save_critic(roles.critic, context.out)
    leading = ("reward_mean", "kl")
    return {name: figures[name] for name in leading if name in figures} | figures


def _refuse_short_context(context_length: int, longest: int, source: str) -> None:
    if longest > context_length:
        raise ModelError(
            f"{source}: the reward model's context of {context_length} tokens is less than the {longest} of the "
            "longest prompt with max_new_tokens, so that it would see answers cut short; lower max_new_tokens or "
            "max_prompt_tokens"
        )


STAGE = Stage(kind="ppo", summary=ALGORITHM.summary, Settings=PPOStageSettings, run=run)
