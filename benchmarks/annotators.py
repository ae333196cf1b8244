"""What becomes of several annotators' answers, and what a reward model learns from it: majority against competence.

    python -m benchmarks.annotators                     all three parts; half an hour on two cores
    python -m benchmarks.annotators --only linear       seconds
    python -m benchmarks.annotators --only people       the TL;DR rankings, where ../shared/data has them

``linear``: a linear reward on twelve features, with utilities known, twenty seeds.  ``world``: reward models that the
reward stage trains on answers written in the quickstart's world, six seeds, into ``runs/annotators``; what is done is
not done again.  In both, each question goes to three of six simulated annotators whose failings are stated in
:data:`CASTS`, every adjudication gets the same rankings, and is tuned over the same values by the loss on its own
held-out comparisons (in the world on the first seed).
Accuracy is that on pairs of answers to other prompts, by the true preference, which nothing was trained or tuned on.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import yaml
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import t as student

import assent
from assent.data.jsonl import write_jsonl
from assent.data.movie_world import Habits, film_prompt, sample_films, utility, write_review
from assent.data.readers import read_rankings, write_completions
from assent.feedback.adjudication import Adjudication, adjudicate
from assent.feedback.agreement import agreement
from assent.feedback.bias import biases
from assent.feedback.competence import fit_competence
from assent.feedback.reliability import reliability
from assent.feedback.simulate import SimulatedAnnotator
from assent.feedback.votes import votes_from_rankings
from assent.runs.manifest import has_manifest, read_manifest
from assent.types import Comparison, Completion, Prompt, Ranking

CASTS: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "mixed": {
        "careful": {"noise": 0.5},
        "fair": {"noise": 1.0},
        "hasty": {"noise": 3.0},
        "hastier": {"noise": 3.0},
        "lazy": {"noise": 1.0, "laziness": 0.9},
        "contrary": {"noise": 1.0, "contrariness": 1.0},
    },
    "alike": {name: {"noise": 1.0} for name in ("a", "b", "c", "d", "e", "f")},
}
"""Noise is in units of the spread of utilities among answers to one prompt, times a half."""
ARMS: tuple[Adjudication, ...] = get_args(Adjudication)
TLDR = Path(__file__).parents[2] / "shared/data/tldr/kway_rankings_with_ties.jsonl.gz"
RUN = Path("runs/annotators")
RECIPE = Path(__file__).parents[1] / "recipes/quickstart.yaml"


def paired(results: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean accuracy of each arm over seeds, and what it gains on the majority with an interval of 95% over seeds."""
    out: dict[str, dict[str, float]] = {}
    for arm in results[0]:
        gains = np.array([each[arm] - each["majority"] for each in results])
        half = float(student.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains)))
        mean = float(gains.mean())
        accuracy = float(np.mean([each[arm] for each in results]))
        out[arm] = {"accuracy": accuracy, "gain": mean, "low": mean - half, "high": mean + half}
    return out


def table(title: str, figures: Mapping[str, Mapping[str, float]]) -> None:
    print(f"\n{title}\n\n| adjudication | accuracy | less that of majority (95 %) |\n|---|---|---|")
    for arm, row in figures.items():
        gain = "" if arm == "majority" else f"{row['gain']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
        print(f"| `{arm}` | {row['accuracy']:.3f} | {gain} |")


# --- a linear reward --------------------------------------------------------------------------------------------------

FEATURES, ANSWERS, PROMPTS, SPREAD = 12, 4, 150, 2.0
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)


def linear(cast: str, seed: int) -> dict[str, float]:
    """Accuracy of each arm."""
    draw = np.random.default_rng(seed)
    true = draw.normal(size=FEATURES)
    true *= SPREAD / np.sqrt(2.0) / np.linalg.norm(true)
    answers = draw.normal(size=(PROMPTS, ANSWERS, FEATURES))
    rankings = list(_linear_rankings(answers @ true, cast, draw, seed))
    tests = draw.normal(size=(5000, FEATURES))
    right = tests @ true > 0
    fit = fit_competence(votes_from_rankings([r for r in rankings if not _apart(r.prompt.id)]))
    found: dict[str, float] = {}
    for arm in ARMS:
        train = _gaps(adjudicate([r for r in rankings if not _apart(r.prompt.id)], arm, fit), answers)
        held_out = _gaps(adjudicate([r for r in rankings if _apart(r.prompt.id)], arm, fit), answers)
        weights = [_logistic(*train, penalty) for penalty in PENALTIES]
        losses = [_loss(each, *held_out)[0] for each in weights]
        best = weights[int(np.argmin(losses))]
        found[arm] = float(((tests @ best > 0) == right).mean())
    return found


def _linear_rankings(utilities: np.ndarray, cast: str, draw: np.random.Generator, seed: int) -> Iterator[Ranking]:
    people = [
        SimulatedAnnotator(f"simulated:{name}", tie_width=0.25, **failings) for name, failings in CASTS[cast].items()
    ]
    for i, row in enumerate(utilities):
        for who in draw.permutation(len(people))[:3]:
            order = draw.permutation(ANSWERS)
            ids = tuple(f"{k}" for k in order)
            ranks = people[who].rank(f"q{i}", row[order].tolist(), seed)
            yield Ranking(f"{i}:{who}", Prompt(f"{i}", text="?"), ids, ids, ranks, people[who].name)


def _apart(prompt_id: str) -> bool:
    return int(prompt_id) % 5 == 0


def _gaps(pairs: Sequence[Comparison], answers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features chosen - rejected [P, F], the probability that chosen is better [P], weights [P]."""
    gaps = [answers[int(c.prompt.id), int(c.chosen)] - answers[int(c.prompt.id), int(c.rejected)] for c in pairs]
    sure = [0.5 if c.tie else c.confidence for c in pairs]
    weights = np.array([c.weight for c in pairs])
    return np.array(gaps), np.array(sure), weights / weights.sum()


def _loss(beta: np.ndarray, gaps: np.ndarray, sure: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    logits = gaps @ beta
    loss = weights @ (sure * np.logaddexp(0, -logits) + (1 - sure) * np.logaddexp(0, logits))
    return float(loss), gaps.T @ (weights * (expit(logits) - sure))


def _logistic(gaps: np.ndarray, sure: np.ndarray, weights: np.ndarray, penalty: float) -> np.ndarray:
    def penalised(beta: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _loss(beta, gaps, sure, weights)
        return value + penalty * float(beta @ beta), slope + 2 * penalty * beta

    return minimize(penalised, np.zeros(gaps.shape[1]), jac=True).x


# --- the quickstart's world -------------------------------------------------------------------------------------------

ASKED, TESTED = 600, 400
RATES = (1e-3, 2e-3)
WORLD_ARMS: tuple[Adjudication, ...] = ("majority", "model")
WRITERS = (Habits(0.95, 0.95, 0.2, 0.1, 0.3), Habits(0.8, 0.8, 0.5, 0.3, 0.7), Habits(0.6, 0.6, 0.8, 0.6, 1.2))
"""From careful to careless; each of the four answers to a prompt is by one of them, drawn at random."""


def world(seed: int) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Accuracy of each arm, and the competence found of each annotator with its interval."""
    folder = RUN / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    asked, tested = _answers(ASKED, seed, held_out=False), _answers(TESTED, seed, held_out=True)
    write_completions(folder / "asked.jsonl", asked)
    # The failings are stated for answers whose utilities spread as those of the linear reward do.
    unit = _spread(asked) * np.sqrt(2.0) / SPREAD
    people = [
        {"name": name, "tie_width": 0.25 * unit, "fail_below": -100, **failings, "noise": failings["noise"] * unit}
        for name, failings in CASTS["mixed"].items()
    ]
    collect = {
        "data": str(folder / "asked.jsonl"),
        "store": str(folder / "feedback.db"),
        "truth": "assent.data.movie_world:utility",
        "annotators": people,
        "annotators_per_question": 3,
    }
    _stage("collect", collect, folder / "collect", seed)
    found: dict[str, float] = {}
    for arm in WORLD_ARMS:
        pairs = {"data": str(folder / "collect/rankings.jsonl"), "adjudication": arm}
        _stage("comparisons", pairs, folder / arm, seed)
        found[arm] = _reward(folder, arm, seed, tested)
    metrics = read_manifest(folder / "model").metrics
    names = [name.removeprefix("competence/") for name in metrics if name.startswith("competence/")]
    known = {
        name.removeprefix("simulated:"): {part: float(metrics[f"{part}/{name}"]) for part in _PARTS} for name in names
    }
    print(f"seed {seed}: {json.dumps(found)}", flush=True)
    return found, known


_PARTS = ("competence", "competence_low", "competence_high", "right")
Answers = list[tuple[Prompt, Completion]]


def _answers(count: int, seed: int, held_out: bool) -> Answers:
    """Four different answers to each of ``count`` films."""
    draw, out = np.random.default_rng([seed, held_out]), Answers()
    for i, film in enumerate(sample_films(count, held_out, seed)):
        prompt = film_prompt(film, f"{'test' if held_out else 'film'}-{i}")
        texts: dict[str, None] = {}
        while len(texts) < 4:
            texts.setdefault(write_review(film, WRITERS[int(draw.integers(len(WRITERS)))], draw))
        out += [(prompt, Completion(f"{prompt.id}.{k}", prompt.id, text)) for k, text in enumerate(texts)]
    return out


def _spread(answers: Answers) -> float:
    """Standard deviation of utilities among the answers to one prompt."""
    utilities = np.array([utility(prompt, completion.text) for prompt, completion in answers]).reshape(-1, 4)
    return float(np.sqrt(utilities.var(axis=1, ddof=1).mean()))


def _rates(arm: str) -> tuple[float, ...]:
    """All on the first seed; on the others that of which the loss on the arm's own held-out comparisons was least."""
    tried = [RUN / "seed-0" / f"reward-{arm}-{rate:g}" for rate in RATES]
    if not all(map(has_manifest, tried)):
        return RATES
    losses = [float(read_manifest(folder).metrics["eval_loss"]) for folder in tried]
    return (RATES[int(np.argmin(losses))],)


def _reward(folder: Path, arm: str, seed: int, tested: Answers) -> float:
    for rate in _rates(arm):
        settings = {
            "model": str(_base()),
            "data": str(folder / arm / "train.jsonl"),
            "eval_data": str(folder / arm / "held_out.jsonl"),
            "batch_size": 16,
            "num_train_epochs": 3,
            "learning_rate": rate,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 5,
        }
        _stage("reward", settings, folder / f"reward-{arm}-{rate:g}", seed)
    return _accuracy(folder / f"reward-{arm}-{_rates(arm)[0]:g}", tested)


def _accuracy(folder: Path, tested: Answers) -> float:
    """Share of pairs of answers of different utility that the reward model orders as the true preference does."""
    from assent.models.load import load_reward_model
    from assent.rewards.model import ModelReward

    model = load_reward_model(folder)
    scores = ModelReward(model, model.tokenizer).score(*(list(part) for part in zip(*tested, strict=True))).values
    said = np.array(scores).reshape(-1, 4)
    true = np.array([utility(prompt, completion.text) for prompt, completion in tested]).reshape(-1, 4)
    i, j = np.triu_indices(4, 1)
    apart = true[:, i] != true[:, j]
    return float(((said[:, i] > said[:, j]) == (true[:, i] > true[:, j]))[apart].mean())


def _base() -> Path:
    """The quickstart's pretrained model; its first stages are run where they have not been."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    stages = {name: recipe["stages"][name] for name in ("world", "base")}
    assent.run({**recipe, "stages": stages, "name": RUN.name}, say=lambda text: None)
    return RUN / "base"


def _stage(kind: str, settings: dict[str, Any], out: Path, seed: int) -> None:
    if not has_manifest(out):
        assent.run_stage(kind, settings, out, seed=seed)


# --- people -----------------------------------------------------------------------------------------------------------


def people() -> dict[str, Any]:
    """Agreement, competence and biases of the 32 workers of the TL;DR rankings."""
    with gzip.open(TLDR, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    RUN.mkdir(parents=True, exist_ok=True)
    plain = [
        {"prompt": {"id": row["id"], "text": row["post"] or row["id"]}, "completions": row["summaries"],
         "ranks": row["rank"], "annotator": row["worker"]}
        for row in rows
    ]  # fmt: skip
    write_jsonl(RUN / "tldr.jsonl", plain)
    rankings = read_rankings(RUN / "tldr.jsonl")
    found, known = agreement(rankings), reliability(rankings)
    swayed = biases(votes_from_rankings(rankings))
    print("\nThe rankings of TL;DR\n\n| worker | pairs shared | competence (95 %) | right | first shown | longer |")
    print("|---|---|---|---|---|---|")
    for name, row in sorted(known.items(), key=lambda item: -item[1].competence.value):
        c, bias = row.competence, swayed[name]
        cells = [f"{c.value:.2f} ({c.low:.2f} to {c.high:.2f})", f"{row.right.value:.2f}"]
        cells += [f"{e.value:.2f} ({e.low:.2f} to {e.high:.2f})" if e else "" for e in (bias.first_shown, bias.longer)]
        print(f"| {name[:6]} | {row.pairs} | {' | '.join(cells)} |")
    worth = [row.competence.value for row in known.values()]
    return {"agreement": asdict(found), "workers": len(worth), "competence_median": float(np.median(worth))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["linear", "world", "people"])
    parser.add_argument("--seeds", type=int, default=6, help="Of the reward models in the quickstart's world.")
    options = parser.parse_args()
    out: dict[str, Any] = {}
    if options.only in (None, "linear"):
        for cast in CASTS:
            out[f"linear_{cast}"] = paired([linear(cast, seed) for seed in range(20)])
            table(f"Linear reward, annotators {cast}, 20 seeds", out[f"linear_{cast}"])
    if options.only in (None, "people") and TLDR.exists():
        out["people"] = people()
    if options.only in (None, "world"):
        seeds = [world(seed) for seed in range(options.seeds)]
        out["world"] = paired([found for found, _ in seeds])
        table(f"Reward models in the quickstart's world, {options.seeds} seeds", out["world"])
        out["competence"] = [known for _, known in seeds]
    print(json.dumps(out))


if __name__ == "__main__":
    main()
