"""Training on the policy's own samples: everything around the algorithm that is the same for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from assent.algorithms import load_algorithm
from assent.algorithms.base import Algorithm, Figures, State
from assent.algorithms.batch import Batch
from assent.algorithms.importance import corrected
from assent.data.chat import encode_prompt
from assent.errors import ModelError, RecipeError
from assent.models.adapters import AdapterSettings
from assent.models.policy import Policy
from assent.models.scalar import RewardModel
from assent.rewards.source import RewardSource
from assent.rollout.engine import EncodedPrompt, Engine
from assent.rollout.plain import local_engine
from assent.rollout.settings import SamplingOptions
from assent.training.callbacks import Callback, MetricsLog, ShowProgress
from assent.training.critic import start_critic
from assent.training.distributed import join, size
from assent.training.loop import Training
from assent.training.objective import Objective
from assent.training.optim import LoopSettings, OptimSettings, build_optimizers
from assent.training.roles import Roles
from assent.training.rollouts import OnUnscored, RolloutSource
from assent.training.sharding import Sharding
from assent.training.shared import share_engine, share_reward
from assent.training.snapshots import Snapshots
from assent.training.sources import DatasetSource, Example, Source
from assent.training.supervised import enable_checkpointing
from assent.training.trackers import Trackers
from assent.types import Prompt

SHOWN = {"reward_mean": "reward", "kl": "KL", "completion_tokens": "length", "ended_share": "ended"}
"""Figures on the display while it trains."""


class OnPolicySettings(OptimSettings, LoopSettings, SamplingOptions, AdapterSettings):
    """Training on rollouts."""

    max_steps: int = Field(default=100, gt=0)
    """Batches of rollouts."""
    temperature: float = Field(default=1.0, gt=0.0)
    """Logits are divided by it, in sampling and in training alike; above 0, or there is no ratio to train by."""
    batch_size: int = Field(default=128, gt=0)
    """Completions sampled per step, a multiple of samples_per_prompt."""
    samples_per_prompt: int = Field(default=1, gt=0)
    """Completions per prompt within a step."""
    epochs: int = Field(default=4, gt=0)
    """Passes over each batch of rollouts."""
    minibatches: int = Field(default=1, gt=0)
    """Optimiser updates per pass."""
    max_prompt_tokens: int | None = Field(default=None, gt=0)
    """Longest prompt in tokens; unset = what the context leaves beside max_new_tokens."""
    truncate_prompts: Literal["left"] | None = None
    """Cut prompts over max_prompt_tokens on the left; unset = such a prompt is an error."""
    empty: Literal["error", "skip"] = "error"
    """What to do with a row whose prompt is empty: stop, or leave it out."""
    on_unscored: OnUnscored = "stop"
    """What to do with a completion that gets no score (a function that raises, NaN, a judge that answers nonsense):
    stop, or leave it out of its step."""
    slots: int = Field(default=128, gt=0)
    """Rows decoded at once."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of matrix products in training; weights and optimiser state are float32 in both."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    packing: bool = False
    """Lay rows behind one another instead of padding them to the longest: fewer microbatches for rows of very different
    lengths; causal models only."""

    staleness: int = Field(default=0, ge=0)
    """Steps that rollouts are drawn ahead of the training: 0 = each step is drawn by the weights that it trains, 1 = by
    those of the step before, while that one trains where the engine can draw beside it."""
    staleness_limit: float = Field(default=2.0, ge=1.0)
    """Upper bound of the importance weight pi / pi_sampled where staleness is above 0."""

    snapshot_steps: int | None = Field(default=None, gt=0)
    """Keep the policy as a model folder every so many steps, for reward against KL in evaluate; unset = the last alone.
    """

    pretrain_coefficient: float = Field(default=1.0, gt=0.0)
    """PPO-ptx's gamma: weight of the log-likelihood of pretrain_data, where that is given."""
    pretrain_batch_size: int = Field(default=32, gt=0)
    """Texts of pretrain_data per step."""

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        each, groups = self.samples_per_prompt, self.batch_size // self.samples_per_prompt
        if self.batch_size % each:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of samples_per_prompt {each}")
        if self.minibatches > groups:
            raise ValueError(
                f"minibatches {self.minibatches} is more than the {groups} prompts of a step (batch_size / "
                "samples_per_prompt); lower it or raise batch_size"
            )
        return self


@dataclass(frozen=True)
class OnPolicyTask:
    """What to train, against which rewards, and where to write."""

    policy: Policy
    reward: RewardSource | None
    """``None`` where ``scored`` brings the rewards."""
    reward_model: RewardModel | None
    """For a critic that starts from it; ``None`` where the reward is no model or has another tokenizer."""
    prompts: Sequence[Prompt]
    encoded: Sequence[EncodedPrompt]
    pretrain: Sequence[Example]
    """Texts whose log-likelihood is a second objective (PPO-ptx); may be empty."""
    algorithm: Algorithm
    settings: Any
    """An :class:`OnPolicySettings` that is also the algorithm's settings, with a :class:`CriticSettings` where it has a
    critic."""
    folder: Path
    seed: int
    progress: Any
    say: Callable[[str], None]
    reference: Policy | None = None
    """What the policy is held to, frozen; ``None`` = the policy as it is before training."""
    engine: Engine | None = None
    """What draws the rollouts; ``None`` = this process, with the policy's own weights."""
    scored: Sequence[Example] = ()
    """Completions with scores, a prompt's as one example, that the policy sampled before training: then nothing is
    sampled, and the policy that sampled is the reference throughout."""


def room_for_prompts(policy: Policy, settings: SamplingOptions) -> int:
    """The longest prompt that leaves room for ``max_new_tokens``.  Raises :class:`ModelError` where none does."""
    room = policy.context_length - settings.max_new_tokens
    if room < 1:
        raise ModelError(
            f"max_new_tokens {settings.max_new_tokens} leaves no room for a prompt in the model's context of "
            f"{policy.context_length} tokens; lower it to {policy.context_length - 1} or less"
        )
    return room


def encode_prompts(
    tokenizer: Any, prompts: Sequence[Prompt], limit: int, truncate: Literal["left"] | None, source: str
) -> list[EncodedPrompt]:
    """Prompts as token ids of at most ``limit``; a longer one is an error that names file and line, or is cut."""
    return [
        EncodedPrompt(p.id, tuple(encode_prompt(tokenizer, p, max_tokens=limit, truncate=truncate, source=source)))
        for p in prompts
    ]


def train(task: OnPolicyTask) -> tuple[dict[str, float], Roles]:
    """Train, and return the figures of the last steps (their mean over a tenth of the run) and the models."""
    join()
    settings: OnPolicySettings = task.settings
    roles = make_roles(task)
    sharding = Sharding(roles) if settings.sharding == "fsdp" else None
    source = _scored_source(task, roles) if task.scored else _rollouts(task, roles, sharding)
    window = _RecentMean(max(1, settings.max_steps // 10))
    shown = ShowProgress(task.progress, task.algorithm.name, SHOWN)
    callbacks: list[Callback] = [
        MetricsLog(task.folder),
        Trackers(task.folder, settings, task.say, None),
        window,
        shown,
    ]
    if settings.snapshot_steps is not None:
        whole = nullcontext if sharding is None else partial(sharding.whole, "policy")
        every, name = settings.snapshot_steps, task.algorithm.name
        callbacks.append(Snapshots(task.policy, task.folder, every, name, settings.merge, whole))
    make_training(task, roles, source, callbacks).run()
    if sharding is not None:
        sharding.end()
    return window.means(), roles


def _scored_source(task: OnPolicyTask, roles: Roles) -> DatasetSource:
    settings: OnPolicySettings = task.settings
    roles.sampled_by_reference = True
    groups = max(1, settings.batch_size // settings.samples_per_prompt)
    source = DatasetSource(task.scored, groups, task.seed, task.policy.tokenizer.pad_token_id, roles.device)
    passes = settings.max_steps * source.batch_size / len(task.scored)
    task.say(f"{len(task.scored)} prompts with scored completions; {settings.max_steps} steps pass {passes:.1f} times")
    return source


def _rollouts(task: OnPolicyTask, roles: Roles, sharding: Sharding | None) -> RolloutSource:
    settings: OnPolicySettings = task.settings
    assert task.reward is not None, "rollouts need a source of rewards"
    if task.engine is not None and size() > 1:
        raise RecipeError("vLLM, or workers on a cluster, serve a training of one process; leave out --nproc, or them")
    engine: Engine = task.engine or local_engine(task.policy, settings.slots, options=settings)
    source = RolloutSource(
        task.prompts,
        task.encoded,
        share_engine(engine if sharding is None else sharding.engine(engine)),
        share_reward(task.reward),
        settings.sampling(task.seed),
        rollouts=settings.batch_size,
        samples_per_prompt=settings.samples_per_prompt,
        pad=task.policy.tokenizer.pad_token_id,
        device=roles.device,
        on_unscored=settings.on_unscored,
        say=task.say,
        wanted=_told_besides_scores(settings),
        staleness=settings.staleness,
        steps=settings.max_steps,
    )
    if source.prompts_per_step * settings.samples_per_prompt < settings.batch_size:
        task.say(
            f"batch_size {settings.batch_size} is more than the {len(task.prompts)} prompts allow: each step takes all "
            f"of them, {settings.samples_per_prompt} samples each"
        )
    return source


def _told_besides_scores(settings: Any) -> frozenset[str]:
    """What the ``settings``' penalty and constraint need to be told of each completion."""
    asked = {
        "uncertainty": settings.uncertainty_penalty > 0,
        "costs": getattr(settings, "cost_limit", None) is not None,
    }
    return frozenset(name for name, needed in asked.items() if needed)


def _with_multiplier(algorithm: Algorithm) -> Algorithm:
    """The algorithm, logging the Lagrange multiplier of its state where it has one."""

    def prepare(batch: Batch, settings: Any, state: State) -> tuple[Batch, State, Figures]:
        batch, after, figures = algorithm.prepare(batch, settings, state)
        if "multiplier" in state:
            figures = {**figures, "multiplier": float(state["multiplier"])}
        return batch, after, figures

    return replace(algorithm, prepare=prepare)


def make_roles(task: OnPolicyTask) -> Roles:
    """The policy, the task's reference or a frozen copy of the policy, and a critic, as far as the algorithm uses them.

    With an adapter they are one base: the policy with its adapter, the base without it, the critic with another.
    """
    settings: OnPolicySettings = task.settings
    reference = task.reference
    if reference is None and ("ref_logprobs" in task.algorithm.needs or task.scored):
        reference = task.policy.frozen_copy()
    critic = None
    if "values" in task.algorithm.outputs:
        critic = start_critic(task.policy, task.reward_model, settings, task.seed)
    roles = Roles(
        policy=task.policy,
        reference=reference,
        critic=critic,
        temperature=settings.temperature,
        bf16=settings.dtype == "bfloat16",
    )
    enable_checkpointing(roles, settings.gradient_checkpointing)
    roles.use_packing(settings.packing)
    return roles


def make_training(task: OnPolicyTask, roles: Roles, source: Source, callbacks: Sequence[Callback]) -> Training:
    """The loop over batches of ``source``, and of texts where the task has some."""
    settings: Any = task.settings
    stale = settings.staleness > 0
    algorithm = corrected(task.algorithm, settings.staleness_limit) if stale else task.algorithm
    rates = {"critic": (settings.critic_learning_rate if roles.critic else None) or settings.learning_rate}
    return Training(
        objectives=[
            Objective(
                source,
                _with_multiplier(algorithm),
                settings,
                epochs=settings.epochs,
                minibatches=settings.minibatches,
            ),
            *_pretrain_objective(task, roles),
        ],
        roles=roles,
        optimizers=build_optimizers(roles.trained, settings, rates),
        optim=settings,
        loop=settings,
        total_steps=settings.max_steps,
        folder=task.folder,
        callbacks=callbacks,
        seed=task.seed,
        say=task.say,
    )


def _pretrain_objective(task: OnPolicyTask, roles: Roles) -> list[Objective]:
    """PPO-ptx (Ouyang et al. 2022, arXiv:2203.02155, eq. 2): + gamma E[log pi(x)] over texts, in every update."""
    if not task.pretrain:
        return []
    settings: OnPolicySettings = task.settings
    size = min(settings.pretrain_batch_size, len(task.pretrain))
    if size < settings.minibatches:
        raise RecipeError(
            f"minibatches {settings.minibatches} is more than the {size} texts of pretrain_data in a step; raise "
            "pretrain_batch_size, or give more texts"
        )
    pad = task.policy.tokenizer.pad_token_id
    return [
        Objective(
            DatasetSource(task.pretrain, size, task.seed, pad, roles.device),
            load_algorithm("sft"),
            None,
            coefficient=settings.pretrain_coefficient,
            epochs=settings.epochs,
            minibatches=settings.minibatches,
            name="pretrain_",
        )
    ]


class _RecentMean(Callback):
    """Callback: the mean of each figure over the last ``width`` steps."""

    everywhere = True

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows: list[dict[str, float]] = []

    def after_step(self, event: Any) -> bool:
        self.rows = [*self.rows, dict(event.figures)][-self.width :]
        return False

    def state(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def restore(self, state: dict[str, Any], folder: Path) -> None:
        self.rows = list(state["rows"])

    def means(self) -> dict[str, float]:
        names = dict.fromkeys(name for row in self.rows for name in row)
        there = {name: [row[name] for row in self.rows if name in row] for name in names}
        return {name: sum(found) / len(found) for name, found in there.items()}
