"""Two reward models, helpful and safe, each from data of its own, against helpfulness alone.

The film world's reviews insult people now and then, and the SFT model learned that from its demonstrations: an answer
is unsafe where it holds an insult.  Helpfulness is the world's true preference without what it takes for insults.  The
helpful model learns from rankings by helpfulness, the safe one from labels of single answers.  Both arms are tuned over
the same KL targets on the first seed.  Policies are sampled once a prompt, at temperature 1, on held-out films.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from assent.data.jsonl import write_completions, write_jsonl
from assent.data.readers import read_comparisons, read_judgements
from assent.intervals import wilson_interval
from assent.models.load import load_policy
from assent.pipeline.stages.evidence import classifier_quality, reward_model_quality
from assent.rewards.combine import Combination, Combined, Constrained, Gated, Named, Product, Weighted, whitened
from assent.rewards.model import load_models
from assent.rewards.source import RewardSource
from assent.rollout.plain import local_engine
from assent.training.on_policy import encode_prompts
from assent.types import Judgement, SamplingSettings
from benchmarks.rewards.shared import (
    RUN,
    SEEDS,
    TOKENS,
    films,
    helpfulness,
    optimise,
    sampled,
    shown,
    spread,
    stage,
    unsafe,
)

RANKED, LABELLED, STEPS, HELD_OUT = 800, 4000, 60, 3000
KL_TARGETS = (4.0, 8.0)
NOISE, WRONG_LABELS = 0.5, 0.02
FRONTIER: Mapping[str, tuple[Combination, Mapping[str, Any]]] = {
    "weighted 1 : 0.25": (Weighted({"helpful": 1.0, "safe": 0.25}), {}),
    "weighted 1 : 1": (Weighted({"helpful": 1.0, "safe": 1.0}), {}),
    "weighted 1 : 4": (Weighted({"helpful": 1.0, "safe": 4.0}), {}),
    "product": (Product(), {"scale_rewards": True}),
    "constrained to 2 %": (Constrained("safe"), {"cost_limit": 0.02}),
}


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


def gating() -> tuple[float, float]:
    """The largest Wilson bound of unsafe answers over seeds, and the mean share of helpfulness that it cost."""
    print("\nHelpful and safe, gated, against helpful alone")
    start = _measured(RUN / "sft")
    print("sft:", start.shown(), flush=True)
    for name in ("helpful", "safe"):
        print(f"{name} reward model of the first seed: {_quality(name)}", flush=True)
    targets = {arm: _tuned(arm) for arm in ("helpful", "gated")}
    print("KL targets tuned on the first seed:", targets)
    found: dict[str, list[Outcome]] = {arm: [_policy(arm, targets[arm], seed) for seed in SEEDS] for arm in targets}
    for arm, outcomes in found.items():
        for seed, outcome in zip(SEEDS, outcomes, strict=True):
            print(f"{arm}, seed {seed}: {outcome.shown()}", flush=True)
    gained = [(h.helpful - start.helpful, g.helpful - start.helpful) for h, g in zip(*found.values(), strict=True)]
    costs = [1.0 - g.helpful / h.helpful for h, g in zip(*found.values(), strict=True)]
    print("gain of helpfulness over sft, helpful alone and gated:", [f"{h:.3f} {g:.3f}" for h, g in gained])
    mean, low, high = spread(costs)
    print(f"helpfulness cost {mean:.4f} ({low:.4f} to {high:.4f} over seeds); by seed {shown(costs)}")
    _draw_frontier(start, {arm: outcomes[0] for arm, outcomes in found.items()}, targets["gated"])
    return max(outcome.upper for outcome in found["gated"]), mean


def _models(seed: int) -> dict[str, Path]:
    """The two reward models, each from data of its own."""
    folder = RUN / "gating" / f"rewards-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    answers, draw = sampled(), np.random.default_rng([seed, 13])
    order = draw.permutation(len(answers) // 4)
    write_completions(folder / "asked.jsonl", (a for i in order[:RANKED] for a in answers[4 * i : 4 * i + 4]))
    asked = {
        "data": str(folder / "asked.jsonl"),
        "store": str(folder / "feedback.db"),
        "truth": "benchmarks.rewards.shared:helpfulness",
        "annotators": [{"name": "reader", "noise": NOISE, "tie_width": 0.2, "fail_below": -1000.0}],
        "annotators_per_question": 1,
    }
    stage("collect", asked, folder / "collect", seed)
    stage("comparisons", {"data": str(folder / "collect/rankings.jsonl")}, folder / "comparisons", seed)
    labels = [
        Judgement(f"{c.id}", p, c.text, float(unsafe(p, c.text) == (draw.random() < WRONG_LABELS)), "safe", "reader")
        for i in order[RANKED:][: LABELLED // 4]
        for p, c in answers[4 * i : 4 * i + 4]
        if c.text.strip()
    ]
    write_jsonl(folder / "labels.jsonl", labels[400:])
    write_jsonl(folder / "held_out_labels.jsonl", labels[:400])
    helpful = {"data": f"{folder}/comparisons/train.jsonl", "eval_data": f"{folder}/comparisons/held_out.jsonl"}
    safe = {"data": f"{folder}/labels.jsonl", "eval_data": f"{folder}/held_out_labels.jsonl"}
    shared = {"model": str(RUN / "sft"), "lr_scheduler_type": "cosine", "warmup_steps": 5, "learning_rate": 1e-3}
    return {
        "helpful": stage("reward", shared | helpful | {"batch_size": 16, "num_train_epochs": 3}, folder / "h", seed),
        "safe": stage("reward", shared | safe | {"batch_size": 64, "num_train_epochs": 3}, folder / "s", seed),
    }


def _quality(name: str) -> str:
    folder, model = RUN / "gating" / f"rewards-{SEEDS[0]}", load_models(str(_models(SEEDS[0])[name]))
    if name == "safe":
        found = classifier_quality(model, read_judgements(folder / "held_out_labels.jsonl"))
    else:
        found = reward_model_quality(model, read_comparisons(folder / "comparisons/held_out.jsonl"), None)
    return f"accuracy {found['accuracy']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _source(combination: Combination | None, seed: int) -> Callable[[Any], RewardSource]:
    """Of one combination, whitened by the SFT model's answers; helpfulness alone without one."""
    models = _models(seed)
    reference = sampled()[:2000]

    def source(tokenizer: Any) -> RewardSource:
        named = {name: Named(load_models(str(path), policy_tokenizer=tokenizer)) for name, path in models.items()}
        named = whitened(named, [p for p, _ in reference], [c for _, c in reference])
        return Combined(named, combination or Weighted({"helpful": 1.0}))

    return source


def _policy(arm: str, target: float, seed: int) -> Outcome:
    combination = Gated("helpful", "safe") if arm == "gated" else None
    return _trained(arm, combination, {"kl_target": target}, seed)


def _trained(name: str, combination: Combination | None, more: Mapping[str, Any], seed: int) -> Outcome:
    settings = {"max_steps": STEPS, "batch_size": 128, "kl_coefficient": 0.1, "kl_horizon": 5000.0, **more}
    label = "-".join([name.replace(" ", ""), *(f"{value:g}" for value in more.values()), str(seed)])
    folder = RUN / "gating" / label.replace(":", "to").replace("%", "")
    truths = {"truly_unsafe": unsafe, "truly_helpful": helpfulness}
    return _measured(optimise(name, _source(combination, seed), truths, settings, folder, seed))


def _tuned(arm: str) -> float:
    """The KL target at which the arm does best: the most helpful of those that are safe, where it is to be safe."""
    tried = {target: _policy(arm, target, SEEDS[0]) for target in KL_TARGETS}
    safe = {target: found for target, found in tried.items() if arm == "helpful" or found.upper < 0.01}
    if not safe:
        return min(tried, key=lambda target: tried[target].unsafe)
    return max(safe, key=lambda target: safe[target].helpful)


def _measured(folder: Path) -> Outcome:
    """One answer to each held-out film."""
    kept = folder / "held_out_outcome.json"
    if kept.exists():
        return Outcome(*json.loads(kept.read_text(encoding="utf-8")))
    policy = load_policy(folder)
    prompts = films("held-out", HELD_OUT, 21, held_out=True)
    encoded = encode_prompts(policy.tokenizer, prompts, 128, None, "gating")
    found = local_engine(policy).generate(encoded, SamplingSettings(max_new_tokens=TOKENS, seed=5), 1)
    pairs = list(zip(prompts, (completion.text for completion in found), strict=True))
    outcome = Outcome(
        sum(unsafe(*pair) for pair in pairs), len(pairs), float(np.mean([helpfulness(*pair) for pair in pairs]))
    )
    if folder != RUN / "sft":  # a stage's folder is not written into
        kept.write_text(json.dumps(outcome), encoding="utf-8")
    return outcome


def _draw_frontier(start: Outcome, known: Mapping[str, Outcome], target: float) -> None:
    """Helpful against harmless, one point for each way of combining them."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    points = {"sft": start, **known}
    for name, (combination, more) in FRONTIER.items():
        points[name] = _trained(name, combination, {"kl_target": target, **more}, SEEDS[0])
    figure, axis = pyplot.subplots(figsize=(6, 4))
    for name, point in points.items():
        share = point.unsafe / point.prompts
        print(f"frontier: {name:20} unsafe {share:.4f} helpful {point.helpful:.3f}", flush=True)
        axis.plot(100 * share, point.helpful, "o")
        axis.annotate(name, (100 * share, point.helpful), fontsize=8, xytext=(4, 4), textcoords="offset points")
    axis.set_xlabel("unsafe answers, %")
    axis.set_ylabel("true helpfulness")
    figure.tight_layout()
    figure.savefig(RUN / "frontier.png", dpi=120)
    (RUN / "frontier.json").write_text(json.dumps(points), encoding="utf-8")
    print(f"frontier: {RUN / 'frontier.png'}")
