"""Training runs of a second on tiny models, one for each algorithm; also a program, to be killed in the middle."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from assent.algorithms import ALGORITHMS, load_algorithm
from assent.models.adapters import DropoutSettings
from assent.models.causal import CausalModel
from assent.models.shared import train_adapter
from assent.rewards.rule import FunctionReward
from assent.testing.tiny import tiny_causal, tiny_reward
from assent.training import on_policy, supervised
from assent.training.critic import CriticSettings
from assent.training.examples import comparison_examples, demonstration_examples, judgement_examples
from assent.training.on_policy import OnPolicySettings, OnPolicyTask, encode_prompts
from assent.training.roles import Roles
from assent.training.sources import Example
from assent.training.supervised import DatasetSettings, Task
from assent.types import Comparison, Demonstration, Judgement, Prompt

EVERY = tuple(ALGORITHMS)
WORDS = ("good", "bad", "slow and fine", "long", "a cat", "the girl saw a cat", "fine", "cast", "time", "film of old")
PROMPTS = [Prompt(id=f"p{i}", text=f"The film {i} is" if i % 2 else f"It was {i}") for i in range(10)]


def run_settings(name: str, **given: Any) -> Any:
    """The settings of a run: the algorithm's own with those of its kind of training; those it has not are left out."""
    own = load_algorithm(name).Settings
    kinds = (OnPolicySettings, CriticSettings) if on_rollouts(name) else (DatasetSettings, DropoutSettings)
    made = type(f"{own.__name__}Run", (*kinds, own), {})
    return made(**{key: value for key, value in given.items() if key in made.model_fields})


def on_rollouts(name: str) -> bool:
    return "rollouts" in load_algorithm(name).data


def trains_reward(name: str) -> bool:
    return "scores" in load_algorithm(name).outputs


class Progress:
    """Calls ``at[step]()`` when a step is shown, which is after its row of metrics was written."""

    def __init__(self, at: dict[int, Callable[[], Any]] | None = None) -> None:
        self.at, self.step = at or {}, 0

    def start(self, label: str, total: int, done: int = 0) -> None:
        self.step = done

    def advance(self, count: int, **figures: float) -> None:
        self.step += count
        if figures and self.step in self.at:
            self.at[self.step]()

    def stop(self) -> None:
        pass


def examples(name: str, tokenizer: Any) -> list[Example]:
    """Ten examples for the algorithm, of different lengths; of comparisons, groups of two and three with ties."""
    data = load_algorithm(name).data
    if "demonstrations" in data:
        rows = [Demonstration(p, " " + w) for p, w in zip(PROMPTS, WORDS, strict=True)]
        return demonstration_examples(tokenizer, rows, 60, "error", "test")[0]
    if "judgements" in data:
        judged = [
            Judgement(f"j{i}", p, f" {w}", float(i % 3) / 2)
            for i, (p, w) in enumerate(zip(PROMPTS, WORDS, strict=True))
        ]
        return judgement_examples(tokenizer, judged, 60, "error", "test")[0]
    compared: list[Comparison] = []
    for i, prompt in enumerate(PROMPTS):
        answers = [f" {WORDS[(i + j) % 10]}" for j in range(2 + i % 2)]
        pairs = [(a, b) for a in range(len(answers)) for b in range(a + 1, len(answers))]
        compared += [
            Comparison(f"{i}{a}{b}", prompt, answers[a], answers[b], tie=b == 2, weight=1 / len(pairs), group=prompt.id)
            for a, b in pairs
        ]
    return comparison_examples(tokenizer, compared, 60, "error", "test")[0]


def supervised_task(
    name: str, folder: Path, progress: Any = None, say: Any = None, device: str = "cpu", **settings: Any
) -> Task:
    """Ten steps of four examples, two held out, unless ``settings`` say otherwise."""
    given = {"batch_size": 3, "max_steps": 6, "save_steps": 1, "learning_rate": 1e-3, "eval_steps": 2, **settings}
    made = run_settings(name, **given)
    model: Any = (tiny_reward() if trains_reward(name) else tiny_causal()).to(device)
    if made.adapter != "none":
        train_adapter(model, made, 3, "the base")
    if trains_reward(name):
        roles = Roles(reward=model)
    else:
        roles = Roles(
            policy=model, reference=model.frozen_copy() if "ref_logprobs" in load_algorithm(name).needs else None
        )
    every = examples(name, model.tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    return Task(
        roles=roles,
        algorithm=load_algorithm(name),
        examples=every[:8],
        held_out=every[8:],
        settings=made,
        pad=model.tokenizer.pad_token_id,
        folder=folder,
        seed=3,
        progress=progress or Progress(),
        say=say or (lambda text: None),
    )


def rollout_task(
    name: str, folder: Path, progress: Any = None, say: Any = None, device: str = "cpu", **settings: Any
) -> OnPolicyTask:
    given = {
        "max_steps": 6,
        "batch_size": 6,
        "samples_per_prompt": 2,
        "epochs": 2,
        "minibatches": 2,
        "max_new_tokens": 5,
        "save_steps": 1,
        "learning_rate": 1e-3,
        "entropy_coefficient": 0.01,
        "kl_target": 0.5,
        "kl_horizon": 50.0,
        **settings,
    }
    policy: CausalModel = tiny_causal().to(device)
    made = run_settings(name, **given)
    if made.adapter != "none":
        train_adapter(policy, made, 3, "the base")
    folder.mkdir(parents=True, exist_ok=True)
    return OnPolicyTask(
        policy=policy,
        reward=FunctionReward(lambda prompt, text: text.count("e") + 0.1 * len(text)),
        reward_model=tiny_reward().to(device),
        prompts=PROMPTS,
        encoded=encode_prompts(policy.tokenizer, PROMPTS, 50, None, "test"),
        pretrain=(),
        algorithm=load_algorithm(name),
        settings=made,
        folder=folder,
        seed=3,
        progress=progress or Progress(),
        say=say or (lambda text: None),
    )


def train(name: str, folder: Path, progress: Any = None, say: Any = None, **settings: Any) -> dict[str, nn.Module]:
    """Train, and return the trained modules by role."""
    if on_rollouts(name):
        _, roles = on_policy.train(rollout_task(name, folder, progress, say, **settings))
        return dict(roles.trained)
    task = supervised_task(name, folder, progress, say, **settings)
    supervised.train(task)
    return dict(task.roles.trained)


def weights(modules: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    return {f"{role}.{n}": v for role, module in modules.items() for n, v in module.state_dict().items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(sys.argv[1], Path(sys.argv[2]), Progress({4: lambda: os.kill(os.getpid(), signal.SIGKILL)}))
