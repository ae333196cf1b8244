"""An on-policy algorithm as two calls, ``generate`` and ``step``, for loops that users own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from assent.algorithms import ALGORITHMS, load_algorithm
from assent.algorithms.base import Algorithm
from assent.algorithms.batch import Batch
from assent.config import Settings, make_settings
from assent.data.chat import encode_completion
from assent.errors import DataError, RecipeError, nearest
from assent.models.device import pick_device
from assent.models.policy import Policy
from assent.models.save import save_model
from assent.models.scalar import RewardModel
from assent.models.shared import Bases, train_adapter
from assent.rewards.source import Scores
from assent.rollout.plain import local_engine
from assent.training.critic import CriticSettings
from assent.training.distributed import join
from assent.training.on_policy import (
    OnPolicySettings,
    OnPolicyTask,
    encode_prompts,
    make_roles,
    make_training,
    room_for_prompts,
)
from assent.training.rollouts import collate_rollouts, step_seed, told_apart
from assent.training.shared import share_engine
from assent.types import Completion, Message, Prompt, short_id

PromptLike = str | Prompt | Sequence[Mapping[str, str]]
"""A text, a record, or the messages of a conversation as ``{"role": ..., "content": ...}``."""


class Trainer:
    """Trains a policy on completions that a loop of the user's own scores.

    >>> trainer = assent.Trainer("out/sft", "ppo", learning_rate=3e-5, kl_coefficient=0.1)
    >>> for batch in batches_of_prompts:
    ...     completions = trainer.generate(batch)
    ...     figures = trainer.step(batch, completions, [my_reward(c.text) for c in completions])
    >>> trainer.save("out/ppo")

    ``step`` is one batch of rollouts: its advantages, and ``epochs`` x ``minibatches`` updates.
    Under ``torchrun`` each process runs the same loop, with the same prompts and rewards.  Settings are those of
    ``assent ALGORITHM --help``; the learning rate is constant unless ``lr_scheduler_type`` says otherwise, and then
    ``max_steps`` must say how many steps there will be.
    """

    def __init__(
        self,
        model: str | Path | Policy,
        algorithm: str | Algorithm = "ppo",
        *,
        folder: str | Path | None = None,
        seed: int = 0,
        reward_model: RewardModel | None = None,
        say: Callable[[str], None] = print,
        **settings: Any,
    ) -> None:
        """``algorithm`` is one of assent's by its name, or an :class:`~assent.algorithms.base.Algorithm` of one's own.

        ``folder`` keeps checkpoints (:meth:`checkpoint`), and a newest one there is gone on from.
        ``reward_model`` is only for ``critic="reward"``.  Raises :class:`RecipeError` for a setting or an algorithm
        that is not there, :class:`ModelError` for a folder that is no model.
        """
        join()
        self.algorithm = _on_policy(algorithm)
        # The batch is what step() is given; the setting only has to fit the others.
        least = int(settings.get("samples_per_prompt", 1)) * int(settings.get("minibatches", 1))
        settings = {"lr_scheduler_type": "constant", "batch_size": max(1, least), **settings}
        if settings["lr_scheduler_type"] != "constant" and "max_steps" not in settings:
            raise RecipeError(f"Trainer: lr_scheduler_type {settings['lr_scheduler_type']} needs max_steps")
        self.settings: Any = make_settings(_settings_of(self.algorithm), settings, "Trainer")
        if self.settings.sharding != "none":
            raise RecipeError("Trainer: sharding is for stages; a loop of one's own holds all weights (sharding: none)")
        if self.settings.staleness:
            raise RecipeError("Trainer: staleness is for stages that draw their own rollouts; leave it out")
        self.model = self._opened(model, seed)
        self.seed, self._base = seed, str(model) if isinstance(model, (str, Path)) else "a model in memory"
        self._given = _GivenBatch()
        self._drawn_at, self._draws = -1, 0
        self._engine = share_engine(local_engine(self.model, self.settings.slots, options=self.settings))
        task = OnPolicyTask(
            policy=self.model,
            reward=_NoReward(),
            reward_model=reward_model,
            prompts=(),
            encoded=(),
            pretrain=(),
            algorithm=self.algorithm,
            settings=self.settings,
            folder=Path(folder) if folder is not None else Path(mkdtemp(prefix="assent-")),
            seed=seed,
            progress=None,
            say=say,
        )
        self._training = make_training(task, make_roles(task), self._given, ())
        self._training.restore()

    def _opened(self, model: str | Path | Policy, seed: int) -> Policy:
        if not isinstance(model, Policy):
            return Bases(self.settings, pick_device()).policy(str(model), seed)
        if self.settings.adapter == "qlora":
            raise RecipeError("Trainer: adapter qlora brings the base in 4 bits from a folder; give the model's path")
        if self.settings.adapter == "lora":
            train_adapter(model, self.settings, seed, model.config.name_or_path or "a model in memory")
        return model

    @property
    def steps_done(self) -> int:
        return self._training.step

    def generate(self, prompts: Sequence[PromptLike]) -> list[Completion]:
        """``samples_per_prompt`` completions of each prompt, those of one prompt together, by the newest weights.

        The same seed, step and prompts give the same completions; a second call within a step gives others.
        """
        self._draws = self._draws + 1 if self._drawn_at == self.steps_done else 0
        self._drawn_at = self.steps_done
        place = (self.steps_done, self._draws) if self._draws else (self.steps_done,)
        sampling = self.settings.sampling(self.seed)
        sampling = replace(sampling, seed=step_seed(self.seed, *place))
        records = [as_prompt(prompt) for prompt in prompts]
        limit = self.settings.max_prompt_tokens or room_for_prompts(self.model, self.settings)
        encoded = encode_prompts(self.model.tokenizer, records, limit, self.settings.truncate_prompts, "generate")
        return self._engine.generate(told_apart(encoded), sampling, self.settings.samples_per_prompt)

    def step(
        self, prompts: Sequence[PromptLike], completions: Sequence[Completion | str], rewards: Sequence[float]
    ) -> dict[str, float]:
        """Train on these completions, one reward each, and return the figures that the algorithm logs.

        ``prompts`` has one entry per completion, or one per group of ``samples_per_prompt`` completions, as
        :meth:`generate` takes and gives them.  A completion of :meth:`generate` is trained on as its token ids; a text
        is tokenised and closed with EOS.  Raises :class:`DataError` where lengths differ or a reward is not finite.
        """
        each = self._per_prompt(prompts, completions, rewards)
        records = [as_prompt(prompt) for prompt in prompts for _ in range(each)]
        rows = [self._row(prompt, completion) for prompt, completion in zip(records, completions, strict=True)]
        groups: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(row.prompt_id, []).append(place)
        order = [place for group in groups.values() for place in group]
        self._given.batch_now = collate_rollouts(
            [rows[place] for place in order],
            [float(rewards[place]) for place in order],
            [len(group) for group in groups.values()],
            self.model.tokenizer.pad_token_id,
            self._training.roles.device,
        )
        if self.settings.lr_scheduler_type != "constant" and self.steps_done >= self.settings.max_steps:
            raise RecipeError(f"Trainer: the {self.settings.max_steps} steps of max_steps are done; raise it")
        return self._training.one_step()[0]

    def checkpoint(self) -> None:
        """Save all that advances into ``folder``: a new Trainer with the same folder and settings goes on from it."""
        self._training.save()

    def save(self, folder: str | Path) -> None:
        """Write the policy as a folder that ``transformers`` loads."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_model(
            self.model,
            Path(folder),
            method=self.algorithm.name,
            base=self._base,
            settings=self.settings.model_dump(),
            merge=self.settings.merge,
        )

    def _per_prompt(self, prompts: Sequence[Any], completions: Sequence[Any], rewards: Sequence[float]) -> int:
        if len(rewards) != len(completions):
            raise DataError(f"step: {len(completions)} completions but {len(rewards)} rewards; give one reward each")
        for place, reward in enumerate(rewards):
            if not torch.isfinite(torch.tensor(float(reward))):
                raise DataError(f"step: reward {place} is {reward}; a reward must be finite")
        each = self.settings.samples_per_prompt if len(prompts) != len(completions) else 1
        if not completions or len(prompts) * each != len(completions):
            raise DataError(
                f"step: {len(prompts)} prompts for {len(completions)} completions; give one prompt per completion, or "
                f"one per {self.settings.samples_per_prompt} completions (samples_per_prompt)"
            )
        return each

    def _row(self, prompt: Prompt, completion: Completion | str) -> Completion:
        if isinstance(completion, Completion) and completion.token_ids:
            return completion
        text = completion if isinstance(completion, str) else completion.text
        limit = self.model.context_length - 1
        ids = encode_prompts(self.model.tokenizer, [prompt], limit, None, "step")[0].token_ids
        answer = encode_completion(self.model.tokenizer, ids, text, chat=prompt.messages is not None)
        return Completion(
            id=prompt.id, prompt_id=prompt.id, text=text, token_ids=tuple(answer), prompt_token_ids=tuple(ids)
        )


def as_prompt(prompt: PromptLike) -> Prompt:
    """A record of a text or of messages, with an id made of its content."""
    if isinstance(prompt, Prompt):
        return prompt
    if isinstance(prompt, str):
        return Prompt(id=short_id(prompt), text=prompt)
    messages = tuple(Message(message["role"], message["content"]) for message in prompt)
    return Prompt(id=short_id([(m.role, m.content) for m in messages]), messages=messages)


class _GivenBatch:
    """Source: the batch that the user's loop gave."""

    batch_now: Batch

    def batch(self, step: int) -> tuple[Batch, dict[str, float]]:
        return self.batch_now, {}


class _NoReward:
    """The reward source of a loop that brings its own rewards."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        raise RecipeError("Trainer: rewards come with step()")


def _on_policy(given: str | Algorithm) -> Algorithm:
    if isinstance(given, str) and given not in ALGORITHMS:
        raise RecipeError(f"Trainer: no algorithm '{given}'{nearest(given, ALGORITHMS)}")
    algorithm = load_algorithm(given) if isinstance(given, str) else given
    if "rollouts" not in algorithm.data:
        raise RecipeError(
            f"Trainer: '{algorithm.name}' learns from {' and '.join(sorted(algorithm.data))}, not from rewards of "
            f"completions; use `assent {algorithm.name}` or assent.run_stage"
        )
    return algorithm


def _settings_of(algorithm: Algorithm) -> type[Settings]:
    bases = (OnPolicySettings, CriticSettings) if "values" in algorithm.outputs else (OnPolicySettings,)
    return type("TrainerSettings", (*bases, algorithm.Settings), {})
