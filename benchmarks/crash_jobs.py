"""The small runs that :mod:`benchmarks.crash` kills: one for each algorithm, and one for each stage that works long."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assent.algorithms import ALGORITHMS, load_algorithm
from assent.pipeline.schema import stage_schemas
from assent.testing.tiny import tiny_causal, tiny_reward

SAVE_STEPS = 3
_WORDS = "good bad slow fine film girl cat saw long cast".split()
_TRAINING = {"max_steps": 11, "save_steps": SAVE_STEPS, "batch_size": 8, "learning_rate": 1e-3}
_ON_ROLLOUTS = {"max_new_tokens": 6, "epochs": 2, "minibatches": 2, "samples_per_prompt": 2}
_ON_DATA = {"eval_split": 0.2, "eval_steps": 2, "load_best_model_at_end": True}
_DATA = {
    "demonstrations": "demos.jsonl",
    "comparisons": "pairs.jsonl",
    "judgements": "labels.jsonl",
    "rollouts": "prompts.jsonl",
}


@dataclass(frozen=True)
class Job:
    """One small run: a stage with its settings."""

    name: str
    kind: str
    settings: dict[str, Any]
    trains: bool = True
    """Whether it takes steps and checkpoints."""


def jobs() -> dict[str, Job]:
    """Every algorithm and stage, by name."""
    made = [_training(name) for name in ALGORITHMS]
    by_model = {key: value for key, value in _training("ppo").settings.items() if key != "reward_function"}
    made += [
        Job("pretrain", "pretrain", {**_TRAINING, **_ON_DATA, **_SHAPE, "data": "text.jsonl"}),
        Job("ppo with a reward model", "ppo", {**by_model, "reward": "reward"}),
        Job("sample", "sample", _SAMPLE, False),
        Job("evaluate", "evaluate", _EVALUATE, False),
        Job("collect", "collect", _COLLECT, False),
        Job("comparisons", "comparisons", {"data": "rankings.jsonl"}, False),
        Job("contrast", "contrast", {"data": "demos.jsonl", "completions": "sampled.jsonl"}, False),
        Job("world", "world", {"reviews": 4000}, False),
    ]
    return {job.name: job for job in made}


_SHAPE = {"vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
_SAMPLE = {"model": "policy", "data": "prompts.jsonl", "n": 2, "slots": 8, "max_new_tokens": 24}
_EVALUATE = {
    "policies": {"one": "policy", "two": "other", "three": "policy"},
    "reference": "one",
    "data": "prompts.jsonl",
    "judge_function": "rules.py:words",
    "reward": "reward",
    "max_new_tokens": 16,
}
_COLLECT = {
    "data": "sampled.jsonl",
    "truth": "rules.py:words",
    "annotators": [{"name": "ann"}, {"name": "bob", "noise": 1.0}],
    "annotators_per_question": 2,
}


def _training(name: str) -> Job:
    algorithm, kind = load_algorithm(name), _KINDS.get(name, name)
    (data,) = sorted(algorithm.data & set(_DATA))[:1]
    given: dict[str, Any] = {**_TRAINING, **_ON_ROLLOUTS, **_ON_DATA, "model": "policy", "data": _DATA[data]}
    given |= {"reward_function": "rules.py:words", "method": "ranking" if name == "reward-ranking" else "pairwise"}
    known = stage_schemas()[kind].properties
    return Job(name, kind, {key: value for key, value in given.items() if key in known})


_KINDS = {"reward-ranking": "reward", "reward-classifier": "reward"}


def make_workshop(folder: Path) -> None:
    """Models of some ten thousand weights, and data files."""
    for name, model in (("policy", tiny_causal()), ("other", tiny_causal(seed=1)), ("reward", tiny_reward())):
        model.model.save_pretrained(folder / name)
        model.tokenizer.save_pretrained(folder / name)
    draw = random.Random(0)

    def said(count: int) -> str:
        return " ".join(draw.choice(_WORDS) for _ in range(count))

    prompts = [f"The {said(1 + i % 3)} {i}" for i in range(24)]
    _write(folder / "text.jsonl", ({"text": said(8)} for _ in range(40)))
    _write(folder / "prompts.jsonl", ({"prompt": prompt} for prompt in prompts))
    _write(folder / "demos.jsonl", ({"prompt": prompt, "completion": " " + said(4)} for prompt in prompts))
    _write(
        folder / "pairs.jsonl",
        ({"prompt": prompt, "chosen": f" good {said(2)}", "rejected": f" bad {said(3)}"} for prompt in prompts),
    )
    _write(folder / "labels.jsonl", ({"text": f"{_WORDS[i % 2]} {said(3)}", "label": 1 - i % 2} for i in range(40)))
    sampled = [[f" {said(2 + k)} {k}" for k in range(3)] for _ in prompts]
    _write(
        folder / "sampled.jsonl",
        ({"prompt": p, "completion": text} for p, texts in zip(prompts, sampled, strict=True) for text in texts),
    )
    _write(
        folder / "rankings.jsonl",
        (
            {"prompt": p, "completions": texts, "ranks": draw.sample([1, 2, 3], 3), "annotator": "ann"}
            for p, texts in zip(prompts, sampled, strict=True)
        ),
    )
    (folder / "rules.py").write_text(
        "def words(prompt, text):\n    return float(len(text.split())) + text.count('e')\n"
    )


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
