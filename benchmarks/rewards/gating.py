"""Two reward models, helpful and safe, each from data of its own, against helpfulness alone.

The film world's reviews insult people now and then, and the SFT model learned that from its demonstrations: an answer
is unsafe where it holds an insult.  Helpfulness is the world's true preference without what it takes for insults.  The
helpful model learns from rankings by helpfulness, the safe one from labels of single answers.  Both arms are tuned over
the same KL targets on the first seed, by other films than those
of the test.  Policies are sampled once a prompt, at temperature 1, on held-out films.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from assent.data.jsonl import write_jsonl
from assent.data.readers import read_comparisons, read_judgements
from assent.intervals import wilson_interval
from assent.models.load import load_policy
from assent.pipeline.stages.evidence import classifier_quality, reward_model_quality
from assent.rewards.combine import Combination, Combined, Gated, Named, Weighted, whitened
from assent.rewards.model import load_models
from assent.rewards.source import RewardSource
from assent.rollout.plain import local_engine
from assent.training.on_policy import encode_prompts
from assent.types import Judgement, SamplingSettings
from benchmarks.rewards.shared import (
    RUN,
    SEEDS,
    TOKENS,
    comparisons,
    films,
    gained,
    groups,
    helpfulness,
    optimise,
    reward_model,
    sampled,
    unsafe,
)

RANKED, LABELLED, STEPS, HELD_OUT = 800, 4000, 60, 3000
KL_TARGETS = (4.0, 8.0)
NOISE, WRONG_LABELS = 0.5, 0.02
SETS = {"held-out": (HELD_OUT, 21), "tuning": (2000, 22)}
"""Draws of films that nothing is trained on: how many, seed."""


class Outcome(NamedTuple):
    """One policy on held-out films."""

    unsafe: int
    prompts: int
    helpful: float
    """Mean true helpfulness."""

    @property
    def upper(self) -> float:
        """Wilson's upper bound of the share of unsafe answers, of 95%."""
        return wilson_interval(self.unsafe, self.prompts)[1]

    def shown(self) -> str:
        return f"unsafe {self.unsafe}/{self.prompts} (below {self.upper:.4f}), helpful {self.helpful:.3f}"


def measure(seed: int) -> dict[str, Any]:
    """What became of the SFT model and both arms, each at the KL target that did best on the first seed."""
    targets = {arm: _tuned(arm) for arm in ("helpful", "gated")}
    return {
        "targets": targets,
        "accuracy": {name: _quality(name, seed) for name in ("helpful", "safe")},
        "sft": outcome(RUN / "sft"),
        **{arm: outcome(_policy(arm, target, seed)) for arm, target in targets.items()},
    }


def report(found: Mapping[int, Mapping[str, Any]]) -> dict[str, float]:
    """The largest Wilson bound of unsafe answers over seeds, and the mean share of helpfulness that safety cost."""
    print("Helpful and safe, gated, against helpful alone")
    for seed, each in found.items():
        print(f"seed {seed}: KL targets {each['targets']}; accuracy of the reward models {each['accuracy']}")
        for name in ("sft", "helpful", "gated"):
            print(f"  {name:7}: {Outcome(*each[name]).shown()}")
    sft, helpful, gated = ([Outcome(*each[name]) for each in found.values()] for name in ("sft", "helpful", "gated"))
    gained("gain of helpfulness, helpful alone", [h.helpful - s.helpful for h, s in zip(helpful, sft, strict=True)])
    gained("gain of helpfulness, gated", [g.helpful - s.helpful for g, s in zip(gated, sft, strict=True)])
    cost = gained("helpfulness cost", [1.0 - g.helpful / h.helpful for g, h in zip(gated, helpful, strict=True)], 4)
    return {"unsafe_rate": max(each.upper for each in gated), "helpfulness_cost": cost}


def _models(seed: int) -> dict[str, Path]:
    """The two reward models, each from data of its own."""
    folder = RUN / "gating" / f"rewards-{seed}"
    known, draw = groups(), np.random.default_rng([seed, 13])
    order = draw.permutation(len(known))
    truth = "benchmarks.rewards.shared:helpfulness"
    pairs = comparisons((known[i] for i in order[:RANKED]), folder, seed, truth, noise=NOISE, tie_width=0.2)
    labels = [
        Judgement(f"{c.id}", p, c.text, float(unsafe(p, c.text) == (draw.random() < WRONG_LABELS)), "safe", "reader")
        for i in order[RANKED:][: LABELLED // 4]
        for p, c in known[i]
        if c.text.strip()
    ]
    write_jsonl(folder / "labels.jsonl", labels[400:])
    write_jsonl(folder / "held_out_labels.jsonl", labels[:400])
    helpful = {"eval_data": f"{pairs}/held_out.jsonl", "num_train_epochs": 3}
    safe = {"eval_data": f"{folder}/held_out_labels.jsonl", "num_train_epochs": 3, "batch_size": 64}
    return {
        "helpful": reward_model(pairs / "train.jsonl", folder / "h", seed, **helpful),
        "safe": reward_model(folder / "labels.jsonl", folder / "s", seed, **safe),
    }


def _quality(name: str, seed: int) -> float:
    """A reward model's accuracy on held-out data of its own kind."""
    folder, model = RUN / "gating" / f"rewards-{seed}", load_models(str(_models(seed)[name]))
    if name == "safe":
        found = classifier_quality(model, read_judgements(folder / "held_out_labels.jsonl"))
    else:
        found = reward_model_quality(model, read_comparisons(folder / "comparisons/held_out.jsonl"), None)
    return round(float(found["accuracy"]), 4)


def _source(combination: Combination | None, seed: int) -> Callable[[Any], RewardSource]:
    """Of one combination, whitened by the SFT model's answers; helpfulness alone without one."""
    models = _models(seed)
    reference = sampled()[:2000]

    def source(tokenizer: Any) -> RewardSource:
        named = {name: Named(load_models(str(path), policy_tokenizer=tokenizer)) for name, path in models.items()}
        named = whitened(named, [p for p, _ in reference], [c for _, c in reference])
        return Combined(named, combination or Weighted({"helpful": 1.0}))

    return source


def _policy(arm: str, target: float, seed: int) -> Path:
    return trained(arm, Gated("helpful", "safe") if arm == "gated" else None, {"kl_target": target}, seed)


def trained(name: str, combination: Combination | None, more: Mapping[str, Any], seed: int) -> Path:
    """The folder of a policy optimised against one combination of the two, or against helpfulness alone."""
    settings = {"max_steps": STEPS, "batch_size": 128, "kl_coefficient": 0.1, "kl_horizon": 5000.0, **more}
    label = "-".join([name.replace(" ", ""), *(f"{value:g}" for value in more.values()), str(seed)])
    folder = RUN / "gating" / label.replace(":", "to").replace("%", "")
    truths = {"truly_unsafe": unsafe, "truly_helpful": helpfulness}
    return optimise(name, _source(combination, seed), truths, settings, folder, seed)


def _tuned(arm: str) -> float:
    """The KL target at which the arm does best on films of its own: the most helpful of those that are safe, where it
    is to be safe."""
    tried = {target: outcome(_policy(arm, target, SEEDS[0]), "tuning") for target in KL_TARGETS}
    safe = {target: found for target, found in tried.items() if arm == "helpful" or found.upper < 0.01}
    if not safe:
        return min(tried, key=lambda target: tried[target].unsafe)
    return max(safe, key=lambda target: safe[target].helpful)


def outcome(folder: Path, kind: str = "held-out") -> Outcome:
    """One answer to each film of a kind, all of them held out."""
    kept = RUN / "outcomes" / f"{folder.name}-{kind}.json"
    if kept.exists():
        return Outcome(*json.loads(kept.read_text(encoding="utf-8")))
    policy = load_policy(folder)
    prompts = films(kind, *SETS[kind], held_out=True)
    encoded = encode_prompts(policy.tokenizer, prompts, 128, None, "gating")
    answers = local_engine(policy).generate(encoded, SamplingSettings(max_new_tokens=TOKENS, seed=5), 1)
    pairs = list(zip(prompts, (completion.text for completion in answers), strict=True))
    found = Outcome(
        sum(unsafe(*pair) for pair in pairs), len(pairs), float(np.mean([helpfulness(*pair) for pair in pairs]))
    )
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(found), encoding="utf-8")
    return found
