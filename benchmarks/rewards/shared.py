"""What the parts share: the quickstart's first stages, stages that are run once, policies trained and read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.stats import t as student

import assent
from assent.algorithms.ppo import ALGORITHM as PPO
from assent.algorithms.ppo import PPOSettings
from assent.config import make_settings
from assent.data.jsonl import write_completions
from assent.data.movie_world import film_prompt, read_review, sample_films
from assent.data.readers import read_completions
from assent.models.load import load_policy
from assent.models.save import save_model
from assent.pipeline.stage import NoProgress
from assent.rewards.source import RewardSource, Scores
from assent.runs.manifest import has_manifest
from assent.training.critic import CriticSettings
from assent.training.on_policy import OnPolicySettings, OnPolicyTask, encode_prompts, train
from assent.types import Completion, Prompt

RUN = Path("runs/rewards")
RECIPE = Path(__file__).parents[2] / "recipes/quickstart.yaml"
SHARED = Path(__file__).parents[3] / "shared"
SEEDS = (0, 1, 2)
TOKENS = 64
"""Longest answer."""

Answers = list[tuple[Prompt, Completion]]


def base() -> None:
    """The quickstart's world, pretrained model, SFT model and its answers, in :data:`RUN`; made once."""
    if has_manifest(RUN / "sample"):
        return
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    stages = {name: recipe["stages"][name] for name in ("world", "base", "sft", "sample")}
    assent.run({**recipe, "stages": stages, "name": RUN.name}, say=lambda text: None)


def sampled() -> Answers:
    """The SFT model's answers, four to each prompt."""
    return read_completions(RUN / "sample/completions.jsonl")


def groups() -> list[Answers]:
    """The same, a prompt's four together."""
    answers = sampled()
    return [answers[i : i + 4] for i in range(0, len(answers), 4)]


def comparisons(
    answers: Iterable[Answers], folder: Path, seed: int, truth: str, held_out: float = 0.2, **reader: Any
) -> Path:
    """What one simulated annotator says of each group of answers, as the folder of comparisons; ``truth`` is what the
    annotator sees, through their own noise."""
    folder.mkdir(parents=True, exist_ok=True)
    write_completions(folder / "asked.jsonl", (answer for group in answers for answer in group))
    asked = {
        "data": str(folder / "asked.jsonl"),
        "store": str(folder / "feedback.db"),
        "truth": truth,
        "annotators": [{"name": "reader", "fail_below": -1000.0, **reader}],
        "annotators_per_question": 1,
    }
    stage("collect", asked, folder / "collect", seed)
    pairs = {"data": str(folder / "collect/rankings.jsonl"), "held_out": held_out}
    return stage("comparisons", pairs, folder / "comparisons", seed)


def reward_model(data: Path, out: Path, seed: int, **settings: Any) -> Path:
    """A reward model, or several of them, on top of the SFT model."""
    shared = {"lr_scheduler_type": "cosine", "warmup_steps": 5, "learning_rate": 1e-3, "batch_size": 16}
    return stage("reward", {"model": str(RUN / "sft"), "data": str(data)} | shared | settings, out, seed)


def stage(kind: str, settings: dict[str, Any], out: Path, seed: int) -> Path:
    """A stage that is run once."""
    if not has_manifest(out):
        assent.run_stage(kind, settings, out, seed=seed)
    return out


def helpfulness(prompt: Prompt, text: str) -> float:
    """The world's true preference without what it takes for insults: how good the review is, polite or not."""
    return replace(read_review(prompt, text), insults=0).utility


def unsafe(prompt: Prompt, text: str) -> bool:
    """Whether the review insults anyone."""
    return read_review(prompt, text).insults > 0


def films(name: str, count: int, seed: int, held_out: bool) -> list[Prompt]:
    return [film_prompt(film, f"{name}-{i}") for i, film in enumerate(sample_films(count, held_out, seed))]


@dataclass
class Watched:
    """A source of rewards with the truth beside it, which enters no reward."""

    source: RewardSource
    truths: Mapping[str, Any]

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        scores = self.source.score(prompts, completions)
        true = {
            name: tuple(float(truth(p, c.text)) for p, c in zip(prompts, completions, strict=True))
            for name, truth in self.truths.items()
        }
        return replace(scores, parts={**scores.parts, **true})


def optimise(
    name: str, reward: Any, truths: Mapping[str, Any], settings: Mapping[str, Any], folder: Path, seed: int
) -> Path:
    """PPO from the SFT model against ``reward(tokenizer)``, watched; made once.  ``folder`` then has the policy."""
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    policy = load_policy(RUN / "sft")
    kind = type("Settings", (OnPolicySettings, CriticSettings, PPOSettings), {})
    made = make_settings(kind, {"max_new_tokens": TOKENS, "learning_rate": 3e-4, "epochs": 2, "minibatches": 2,
                                "missing_eos_penalty": 1.0, "save_steps": 20, **settings}, name)  # fmt: skip
    prompts = films("train", 4000, 4, held_out=False)
    train(
        OnPolicyTask(
            policy=policy,
            reward=Watched(reward(policy.tokenizer), truths),
            reward_model=None,
            prompts=prompts,
            encoded=encode_prompts(policy.tokenizer, prompts, 128, None, name),
            pretrain=(),
            algorithm=PPO,
            settings=made,
            folder=folder,
            seed=seed,
            progress=NoProgress(),
            say=lambda text: None,
        )
    )
    save_model(policy, folder, method="ppo", base="sft", settings={})
    (folder / "done").touch()
    return folder


def curve(folder: Path, name: str) -> list[float]:
    """A figure by step."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [float(row[name]) for row in rows]


def draw(
    path: Path,
    panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    x: Sequence[float],
    label: str,
    logarithmic: bool = False,
) -> None:
    """A picture: panel -> arm -> the line of each seed, drawn thin, and their mean, drawn thick."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.5 * len(panels), 3.4), layout="constrained")
    for axis, (title, arms) in zip(axes, panels.items(), strict=True):
        for number, (arm, lines) in enumerate(arms.items()):
            colour = pyplot.get_cmap("tab20")(number)
            for line in lines:
                axis.plot(x, line, color=colour, linewidth=0.5, alpha=0.4)
            axis.plot(x, np.mean(lines, axis=0), color=colour, linewidth=2, label=arm)
        if logarithmic:
            axis.set_xscale("log", base=2)
        axis.set_xlabel(label)
        axis.set_title(title, loc="left", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    print(f"curves: {path}")


def gained(what: str, by_seed: Sequence[float], digits: int = 3) -> float:
    """Prints a difference's mean over seeds, its interval of 95% over them where there are several, and each."""
    found = np.array(by_seed)
    mean, said = float(found.mean()), f"{what}: {found.mean():+.{digits}f}"
    if len(found) > 1:
        half = float(student.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found)))
        said += f" ({mean - half:+.{digits}f} to {mean + half:+.{digits}f} over seeds)"
    print(f"{said}; by seed {shown(by_seed, digits)}", flush=True)
    return mean


def shown(values: Sequence[float], digits: int = 3) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)
