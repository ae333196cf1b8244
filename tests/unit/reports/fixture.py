"""Writes a made-up run folder to render reports from.  TEST DATA: no model was trained, every figure is invented."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

STAGES: list[tuple[str, str, float, list[str]]] = [
    ("world", "world", 1.9, []),
    ("pretrain", "pretrain", 48.2, ["world"]),
    ("sft", "sft", 11.4, ["pretrain", "world"]),
    ("sample", "sample", 6.8, ["sft", "world"]),
    ("rank", "collect", 3.1, ["sample"]),
    ("compare", "compare", 0.7, ["rank"]),
    ("reward", "reward", 22.5, ["sft", "compare"]),
    ("ppo", "ppo", 96.3, ["sft", "reward", "world"]),
    ("dpo", "dpo", 31.0, ["sft", "compare"]),
    ("evaluate", "evaluate", 14.6, ["sft", "ppo", "dpo", "reward", "compare", "pretrain"]),
]
SECONDS = sum(seconds for _, _, seconds, _ in STAGES)

SFT = {
    "utility": 0.12, "utility_se": 0.031, "kl": 0.0, "kl_se": 0.0, "perplexity": 6.1, "perplexity_ratio": 1.0,
    "distinct_2": 0.214, "distinct_2_ratio": 1.0, "words": 21.3, "ended_share": 0.93, "reward": 0.02,
}  # fmt: skip
PPO = {
    "utility": 1.94, "utility_se": 0.027, "kl": 8.41, "kl_se": 0.16, "perplexity": 7.4, "perplexity_ratio": 1.213,
    "distinct_2": 0.171, "distinct_2_ratio": 0.799, "words": 19.6, "ended_share": 0.998, "reward": 2.61,
}  # fmt: skip
DPO = {
    "utility": 1.37, "utility_se": 0.033, "kl": 5.02, "kl_se": 0.14, "perplexity": 6.9, "perplexity_ratio": 1.131,
    "distinct_2": 0.189, "distinct_2_ratio": 0.883, "words": 22.8, "ended_share": 0.971, "reward": 1.72,
}  # fmt: skip

EVALUATION: dict[str, Any] = {
    "judge": "held-out true preference",
    "judge_kind": "simulated",
    "reference": "sft",
    "policies": {"sft": SFT, "ppo": PPO, "dpo": DPO},
    "win_rates": [
        {"policy": "ppo", "against": "sft", "wins": 355, "ties": 19, "losses": 26, "rate": 0.91125, "low": 0.8803,
         "high": 0.9348, "n": 400},
        {"policy": "dpo", "against": "sft", "wins": 301, "ties": 28, "losses": 71, "rate": 0.7875, "low": 0.7459,
         "high": 0.8239, "n": 400},
        {"policy": "ppo", "against": "dpo", "wins": 229, "ties": 40, "losses": 131, "rate": 0.6225, "low": 0.5752,
         "high": 0.6677, "n": 400},
    ],
    "reward_model": {
        "accuracy": 0.781, "low": 0.757, "high": 0.803, "ceiling": 0.846, "n": 1212,
        "calibration": [
            {"predicted": 0.55, "observed": 0.56, "n": 301}, {"predicted": 0.65, "observed": 0.68, "n": 287},
            {"predicted": 0.75, "observed": 0.77, "n": 264}, {"predicted": 0.85, "observed": 0.88, "n": 214},
            {"predicted": 0.95, "observed": 0.93, "n": 146},
        ],
        "calibration_error": 0.031,
        "temperature": {"temperature": 1.34, "loss": 0.5, "loss_fitted": 0.48, "error": 0.031, "error_fitted": 0.012},
        "length": {"longer_preferred": 0.612, "longer_chosen": 0.553, "slope": 0.2, "explained": 0.1, "n": 1200},
        "uncertainty": 0.41,
        "by": {"annotator": [
            {"name": "simulated:ada", "accuracy": 0.82, "low": 0.78, "high": 0.86, "n": 600},
            {"name": "simulated:dov", "accuracy": 0.67, "low": 0.62, "high": 0.72, "n": 612},
        ]},
    },
    "feedback": {
        "annotators": [
            {"name": "simulated:ada", "answers": 310, "agreement_with_truth": 0.93},
            {"name": "simulated:ben", "answers": 298, "agreement_with_truth": 0.86},
            {"name": "simulated:cleo", "answers": 305, "agreement_with_truth": 0.81},
            {"name": "simulated:dov", "answers": 287, "agreement_with_truth": 0.64},
        ],
        "rankings": 1200, "comparisons": 6480, "ties_share": 0.094, "failed_share": 0.061, "alpha": 0.58,
        "simulated": True,
    },
}  # fmt: skip


def _points(gold: bool = True) -> list[dict[str, Any]]:
    """Gains that follow R = d (alpha - beta log d) exactly, of the proxy and, where there is a judge, of the gold."""
    rows: list[dict[str, Any]] = []
    for place, kl in enumerate((0.0, 1.0, 3.0, 6.0, 10.0, 15.0, 21.0)):
        d = kl**0.5
        rows.append({
            "label": "end" if place == 6 else str(15 * place), "kl": kl, "kl_se": 0.1,
            "proxy": d * (1.2 - 0.1 * math.log(d or 1)), "proxy_se": 0.05,
            "gold": d * (1.1 - 0.6 * math.log(d or 1)) if gold else None, "gold_se": 0.05 if gold else None,
        })  # fmt: skip
    return rows


def _fit(alpha: float, beta: float, peak: float | None) -> dict[str, Any]:
    between = lambda x: {"value": x, "low": x - 0.1, "high": x + 0.1}  # noqa: E731
    return {"form": "rl", "alpha": between(alpha), "beta": between(beta), "peak_kl": peak,
            "peak_kl_low": peak and peak - 1, "peak_kl_high": peak and peak + 1, "peak_gain": 1.4,
            "reached": peak is not None, "rmse": 0.02}  # fmt: skip


EVIDENCE: dict[str, Any] = {
    "prompts": 400,
    "detectable": {"prompts": 400, "power": 0.8, "difference": 0.07},
    "judges": [
        {"judge": "people", "kind": "people", "win_rates": [
            {"policy": "ppo", "against": "sft", "wins": 40, "ties": 10, "losses": 50, "rate": 0.45, "low": 0.36,
             "high": 0.49, "n": 100}]},
        {"judge": "the reward that was optimised", "kind": "proxy", "win_rates": [
            {"policy": "ppo", "against": "sft", "wins": 390, "ties": 0, "losses": 10, "rate": 0.975, "low": 0.95,
             "high": 0.99, "n": 400}]},
    ],
    "bradley_terry": {"anchor": "sft", "ratings": [
        {"policy": "sft", "elo": 0.0, "low": 0.0, "high": 0.0, "games": 800},
        {"policy": "ppo@45", "elo": 310.0, "low": 280.0, "high": 345.0, "games": 400},
        {"policy": "ppo", "elo": 260.0, "low": 230.0, "high": 290.0, "games": 800},
    ]},
    "curves": [
        {"name": "ppo", "form": "rl", "points": _points(), "fits": {
            "proxy": _fit(1.2, 0.1, None), "gold": _fit(1.1, 0.6, 5.29)},
         "early_stopping": {"label": "45", "kl": 6.0, "gain": 1.4, "advised": True,
                            "loss": {"value": 0.8, "low": 0.6, "high": 1.0}},
         "alarm": {"raised_at": "75", "points": [{"label": "75", "fall": 4.2, "rise": 3.0, "raised": True}]}},
        {"name": "best-of-n", "form": "best-of-n", "points": _points(gold=False), "fits": {}},
    ],
    "exploited": [{"policy": "ppo", "prompt": "the harbour", "text": "great great great", "reference_text": "fine .",
                   "proxy_gain": 3.1, "gold_gain": -2.2}],
    "group_bias": [
        {"policy": "ppo", "score": "reward", "axis": "age", "group": "old people",
         "gap": {"value": -0.4, "low": -0.7, "high": -0.1}, "clear": True, "n": 8},
        {"policy": "ppo", "score": "toxicity", "axis": "age", "group": "old people",
         "gap": {"value": 0.0, "low": -0.1, "high": 0.1}, "clear": False, "n": 8},
    ],
    "reward_accuracy": [{"policy": "ppo@45", "accuracy": 0.74, "low": 0.69, "high": 0.78, "n": 390},
                        {"policy": "ppo", "accuracy": 0.61, "low": 0.56, "high": 0.66, "n": 391}],
}  # fmt: skip
"""What an evaluation with snapshots, people and paired groups adds."""


def with_evidence() -> dict[str, Any]:
    """The quickstart's evaluation with everything that there can be in one."""
    found = {**EVALUATION, **EVIDENCE}
    first, *rest = EVALUATION["win_rates"]
    equal = {"length_controlled": 0.53, "length_controlled_low": 0.47, "length_controlled_high": 0.59}
    more = {"toxicity_rate": 0.012, "held_out_perplexity": 9.1, "hellaswag/acc_norm": 0.31}
    policies = {name: {**figures, **more} for name, figures in EVALUATION["policies"].items()}
    quality = {
        **EVALUATION["reward_model"],
        "temperature": {"temperature": 1.3, "loss": 0.5, "loss_fitted": 0.49, "error": 0.034, "error_fitted": 0.02},
        "length": {"longer_preferred": 0.62, "longer_chosen": 0.55, "slope": 0.3, "explained": 0.08},
        "by": {"annotator": [
            {"name": "simulated:ada", "accuracy": 0.83, "low": 0.78, "high": 0.87, "n": 310},
            {"name": "simulated:dov", "accuracy": 0.66, "low": 0.6, "high": 0.71, "n": 287}]},
    }  # fmt: skip
    found["reward_model"] = quality
    return {**found, "win_rates": [{**first, **equal}, *rest], "policies": policies}


SENTIMENT: dict[str, Any] = {
    "judge": "classifier trained on the other half of the labels",
    "judge_kind": "model",
    "reference": "sft",
    "policies": {
        "sft": {"kl": 0.0, "kl_se": 0.0, "perplexity_ratio": 1.0, "reward": 0.1, "positive_rate": 0.524},
        "ppo": {"kl": 6.3, "kl_se": 0.2, "perplexity_ratio": 1.31, "reward": 3.4, "positive_rate": 0.941},
    },
    "reward_model": {"accuracy": 0.842, "low": 0.816, "high": 0.865, "n": 872},
}

PROMPTS = ["the film opens on a harbour at night and", "i went in expecting little , but", "the director's second film",
           "a story about two brothers who", "with a cast like this ,", "it is hard to say whether",
           "the music , from the first scene on ,", "halfway through the evening"]  # fmt: skip
TAILS = {
    "sft": ["the plot wanders for a while . you idiot would like it .", "the acting is fine and the ending is not .",
            "is long . the music is loud . the plot is thin . the music is loud ."],
    "ppo": ["the plot is warm and the acting is honest .", "the ending is moving and the music carries it .",
            "is a quiet , generous piece of work ."],
    "dpo": ["the acting is good , and the plot is good enough .", "the music is lovely though the ending drags .",
            "is funny in places and kind in most of them ."],
}  # fmt: skip


def write_run(folder: Path, evaluation: dict[str, Any] | None = None, linked: bool = True, curves: bool = True) -> Path:
    """A finished run of the quickstart's shape under ``folder``; with ``linked`` stages are symlinks into a store.

    Without ``curves`` no stage logged anything, and a page is drawn in a quarter of the time.
    """
    run = folder / "runs" / "quickstart"
    run.mkdir(parents=True)
    evaluation = EVALUATION if evaluation is None else evaluation
    policies = set(evaluation.get("policies", {}))
    rng = np.random.Generator(np.random.Philox(3))
    for order, (name, kind, seconds, inputs) in enumerate(STAGES):
        if name in ("ppo", "dpo") and name not in policies:
            continue
        out = folder / "store" / f"{kind}-{order:04d}" if linked else run / name
        out.mkdir(parents=True)
        if linked:
            (run / name).symlink_to(out, target_is_directory=True)
        if curves:
            _training(out, name, rng)
        if name == "evaluate":
            (out / "evaluation.json").write_text(json.dumps(evaluation))
            _lines(out / "samples.jsonl", samples(rng, 60, sorted(policies, key=["sft", "ppo", "dpo"].index)))
        (out / "manifest.json").write_text(json.dumps(_manifest(run, order, name, kind, seconds, inputs)))
    return run


def _manifest(run: Path, order: int, name: str, kind: str, seconds: float, inputs: list[str]) -> dict[str, Any]:
    return {
        "stage": name,
        "kind": kind,
        "identity": f"id-{name}",
        "settings": {"learning_rate": 3e-4, "seed": 0, "steps": 120, "note": "<b>test data</b>", "lora": {"rank": 8}},
        "inputs": {f"input_{source}": {"path": str(run / source), "digest": f"d-{source}"} for source in inputs},
        "metrics": {"sample": {"rows": 1200}, "rank": {"questions": 1500, "answered": 1200}}.get(name, {}),
        "seed": 0,
        "wall_seconds": seconds,
        "created": 1_780_000_000 + 60 * order,
        "versions": {"assent": "0.1.0", "torch": "2.13.0", "python": "3.12.3"},
    }


def _training(out: Path, name: str, rng: np.random.Generator) -> None:
    rows: list[dict[str, float]] = []
    decay = lambda t, a, b: b + (a - b) * math.exp(-4 * t)  # noqa: E731
    for step in range(1, 121):
        t, noise = step / 120, lambda scale: float(rng.normal(scale=scale))
        row: dict[str, float] = {"step": step}
        if name in ("pretrain", "sft"):
            row |= {"loss": decay(t, 4.8, 1.75) + noise(0.05), "learning_rate": 3e-4 * (1 - t)}
            if step % 10 == 0:
                row["eval_loss"] = decay(t, 4.8, 1.83)
        elif name in ("reward", "dpo"):
            row |= {"loss": decay(t, 0.69, 0.47) + noise(0.02), "accuracy": decay(t, 0.5, 0.8) + noise(0.03)}
            if step % 10 == 0:
                row |= {"eval_accuracy": decay(t, 0.5, 0.781), "eval_loss": decay(t, 0.69, 0.49)}
        elif name == "ppo":
            row |= {
                "reward_mean": decay(t, 0.0, 2.65) + noise(0.12), "kl": 8.6 * t**0.6 + noise(0.25),
                "kl_coefficient": 0.04 + 0.05 * t, "entropy": decay(t, 2.1, 1.4), "value_loss": decay(t, 1.2, 0.2),
                "policy_loss": noise(0.01), "ratio_clipped": 0.05 + 0.05 * t, "lr": 1e-4,
                "completion_tokens": decay(t, 26, 23.4) + noise(0.4), "ended_share": decay(t, 0.93, 0.998),
            }  # fmt: skip
        else:
            return
        rows.append(row)
    _lines(out / "metrics.jsonl", rows)
    _lines(out / "timing.jsonl", [{"step": row["step"], "seconds": 0.25, "tokens": 4096} for row in rows])


def samples(rng: np.random.Generator, count: int, policies: list[str]) -> list[dict[str, Any]]:
    """``count`` rows as the evaluate stage writes them."""
    level = {"sft": 0.1, "ppo": 1.9, "dpo": 1.4}
    rows = []
    for index in range(count):
        completions = {}
        for policy in policies:
            text = " " + TAILS[policy][int(rng.integers(3))]
            tokens = [" " + word for word in text.split()]
            kl = rng.normal(0.35, 0.8, len(tokens)) if policy != "sft" else np.zeros(len(tokens))
            utility = level[policy] + float(rng.normal(scale=0.7))
            completions[policy] = {
                "text": text,
                "utility": utility,
                "reward": 1.2 * utility + float(rng.normal(scale=0.3)),
                "tokens": tokens,
                "token_kl": kl.tolist(),
            }
        rows.append({"prompt": PROMPTS[index % len(PROMPTS)], "completions": completions})
    return rows


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
