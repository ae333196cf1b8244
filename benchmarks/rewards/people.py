"""Reward models on real people's choices, beside baselines that read no meaning: TL;DR summaries, HH-harmless.

Prompts are split by their text, four fifths to learn from.  The model is ``reviews-6m``, three seeds, on the
comparisons of one prompt as one group, so that each summary is scored once.  The baselines, logistic regressions on
differences of features of the two answers, learn from the same rows: their lengths, and the counts of their words.  A
gain is paired by comparison (the model's being the mean over seeds), with an interval of 95% clustered by prompt.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import norm

from assent.data.jsonl import read_jsonl, write_jsonl
from assent.evaluation.calibration import fit_temperature, length_bias, noise_ceiling, repeated_agreement
from assent.intervals import clustered_interval, clustered_standard_error
from assent.pipeline.stages.held_out import held_out_prompts
from assent.rewards.lengths import doublings
from assent.rewards.model import load_models
from assent.types import Comparison, Completion, Prompt, short_id
from benchmarks.rewards.shared import RUN, SEEDS, SHARED, shown, stage

MODEL = SHARED / "models/reviews-6m"
TLDR, KWAY = SHARED / "data/tldr/comparisons_10k.jsonl.gz", SHARED / "data/tldr/kway_rankings_with_ties.jsonl.gz"
HARMLESS = SHARED / "data/hh-harmless/test.jsonl.gz"
WORDS = {"tldr": (60, 90), "harmless": (60, 90)}
"""Last words of a prompt that the model sees, and the first ones of an answer: it reads 512 tokens at most."""
RATES = (1e-4, 4e-4)
_PEOPLE = RUN / "people/tldr"
PENALTIES = (1e-3, 1e-2, 1e-1)


def people() -> dict[str, Any]:
    """Both data sets, those that are there."""
    out: dict[str, Any] = {}
    for name, path, read in (("tldr", TLDR, _tldr), ("harmless", HARMLESS, _harmless)):
        if path.exists() and MODEL.exists():
            out[name] = _compared(name, list(read(path)))
    if KWAY.exists():
        out["rankings"] = _rankings()
    return out


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _tldr(path: Path) -> Iterator[Comparison]:
    for i, row in enumerate(_rows(path)):
        yield _comparison("tldr", i, row["prompt"], row["chosen"], row["rejected"])


def _harmless(path: Path) -> Iterator[Comparison]:
    for i, row in enumerate(_rows(path)):
        cut = row["chosen"].rfind("\n\nAssistant:")
        if row["rejected"].startswith(row["chosen"][:cut]):
            yield _comparison("harmless", i, row["chosen"][:cut], row["chosen"][cut:], row["rejected"][cut:])


def _comparison(name: str, place: int, prompt: str, chosen: str, rejected: str) -> Comparison:
    asked, said = WORDS[name]
    ident = short_id(prompt)
    text = " ".join(prompt.split()[-asked:]) + "\n"
    answers = [" ".join(answer.split()[:said]) for answer in (chosen, rejected)]
    return Comparison(f"{name}-{place}", Prompt(ident, text=text), *answers, group=ident)


def _compared(name: str, given: Sequence[Comparison]) -> dict[str, Any]:
    rows = [c for c in given if c.chosen and c.rejected and c.chosen != c.rejected]
    apart = held_out_prompts((c.prompt.id for c in rows), 0.2, 0, name)
    learned, tested = ([c for c in rows if (c.prompt.id in apart) == side] for side in (False, True))
    prompts = [c.prompt.id for c in tested]
    count = len(set(prompts))
    print(f"\n{name}: {len(learned)} comparisons learned from, {len(tested)} of {count} other prompts tested")
    gaps = {"length": _logistic(learned, tested, _lengths), "words": _logistic(learned, tested, _words(learned))}
    scored = [_scored(_trained(name, learned, seed), tested) for seed in SEEDS]
    right = {kind: _right(gap) for kind, gap in gaps.items()}
    right["model"] = np.mean([_right(gap) for gap in scored], axis=0)
    out: dict[str, Any] = {"by_seed": [float(_right(gap).mean()) for gap in scored]}
    for kind, values in right.items():
        mean, low, high = clustered_interval(values, prompts)
        out[kind] = mean
        print(f"{kind:7}: accuracy {mean:.4f} ({low:.4f} to {high:.4f})")
    print(f"model by seed: {shown(out['by_seed'])}")
    for kind in ("length", "words"):
        gain = right["model"] - right[kind]
        half = float(norm.ppf(0.975)) * clustered_standard_error(gain, prompts)
        out[f"over_{kind}"] = [float(gain.mean()), float(gain.mean()) - half, float(gain.mean()) + half]
        says = "beats" if gain.mean() > half else "loses to" if gain.mean() < -half else "is not told from"
        print(f"the model {says} {kind}: {gain.mean():+.4f} ({gain.mean() - half:+.4f} to {gain.mean() + half:+.4f})")
    sides = ([len(c.chosen) for c in tested], [len(c.rejected) for c in tested])
    bias, fit = length_bias(scored[0], *sides), fit_temperature(scored[0], prompts)
    print(f"first seed: {bias}\n{fit}", flush=True)
    return out


def _right(gap: np.ndarray) -> np.ndarray:
    return np.where(gap == 0, 0.5, gap > 0).astype(float)


# --- the reward model -------------------------------------------------------------------------------------------------


def _trained(name: str, learned: Sequence[Comparison], seed: int) -> Path:
    """At the rate of which the loss on a tenth of the prompts learned from was least, on the first seed."""
    folder = RUN / "people" / name
    folder.mkdir(parents=True, exist_ok=True)
    tuning = held_out_prompts((c.prompt.id for c in learned), 0.1, 1, name)
    write_jsonl(folder / "train.jsonl", (c for c in learned if c.prompt.id not in tuning))
    write_jsonl(folder / "tune.jsonl", (c for c in learned if c.prompt.id in tuning))
    made = {rate: _reward(folder, rate, SEEDS[0]) for rate in RATES}
    best = min(made, key=lambda rate: _eval_loss(made[rate]))
    return _reward(folder, best, seed)


def _eval_loss(folder: Path) -> float:
    return float(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["metrics"]["eval_loss"])


def _reward(folder: Path, rate: float, seed: int) -> Path:
    settings = {
        "model": str(MODEL),
        "data": str(folder / "train.jsonl"),
        "eval_data": str(folder / "tune.jsonl"),
        "overlong": "truncate",
        "batch_size": 16,
        "num_train_epochs": 1,
        "learning_rate": rate,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1,
        "dtype": "bfloat16",
    }
    return stage("reward", settings, folder / f"reward-{rate:g}-{seed}", seed)


def _scored(folder: Path, tested: Sequence[Comparison]) -> np.ndarray:
    """Score gaps, chosen - rejected."""
    model = load_models(str(folder))
    sides = []
    for side in ("chosen", "rejected"):
        rows = [Completion(c.id, c.prompt.id, getattr(c, side)) for c in tested]
        sides.append(np.array(model.score([c.prompt for c in tested], rows).values))
    return sides[0] - sides[1]


# --- baselines --------------------------------------------------------------------------------------------------------


def _lengths(text: str) -> np.ndarray:
    return doublings([len(text)])


def _words(learned: Sequence[Comparison], most: int = 2000) -> Any:
    """Counts of the commonest words, on a log scale."""
    seen = Counter(word for c in learned for text in (c.chosen, c.rejected) for word in set(_split(text)))
    place = {word: i for i, (word, _) in enumerate(seen.most_common(most))}

    def features(text: str) -> np.ndarray:
        out = np.zeros(len(place))
        for word, count in Counter(_split(text)).items():
            if word in place:
                out[place[word]] = np.log1p(count)
        return out

    return features


def _split(text: str) -> list[str]:
    return re.findall(r"[a-z']+|[.!?]", text.lower())


def _logistic(learned: Sequence[Comparison], tested: Sequence[Comparison], features: Any) -> np.ndarray:
    """Gaps of a logistic regression on differences of features, its penalty tuned on a tenth of the prompts."""
    known: dict[str, np.ndarray] = {}

    def gaps(rows: Sequence[Comparison]) -> np.ndarray:
        for c in rows:
            for text in (c.chosen, c.rejected):
                if text not in known:
                    known[text] = features(text)
        return np.array([known[c.chosen] - known[c.rejected] for c in rows])

    tuning = held_out_prompts((c.prompt.id for c in learned), 0.1, 1, "baseline")
    train = gaps([c for c in learned if c.prompt.id not in tuning])
    tune = gaps([c for c in learned if c.prompt.id in tuning])
    fits = [_fit(train, penalty) for penalty in PENALTIES]
    best = min(fits, key=lambda beta: float(np.logaddexp(0, -tune @ beta).mean()))
    return gaps(tested) @ best


def _fit(gaps: np.ndarray, penalty: float) -> np.ndarray:
    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        logits = gaps @ beta
        value = np.logaddexp(0, -logits).mean() + penalty * float(beta @ beta)
        return float(value), -gaps.T @ expit(-logits) / len(gaps) + 2 * penalty * beta

    return minimize(loss, np.zeros(gaps.shape[1]), jac=True, method="L-BFGS-B").x


# --- rankings ---------------------------------------------------------------------------------------------------------


def _rankings() -> dict[str, Any]:
    """How far the workers agree on pairs of TL;DR's summaries, and how the TL;DR model does where there is a prompt."""
    rows = list(_rows(KWAY))
    pairs = [
        (row["id"], row["summaries"][a], row["summaries"][b], row["worker"])
        for row in rows
        for a, one in enumerate(row["rank"])
        for b, two in enumerate(row["rank"])
        if one < two
    ]
    agreed = repeated_agreement(pairs)
    ties = np.mean([len(set(row["rank"])) < len(row["rank"]) for row in rows])
    usable = [row for row in rows if row["prompt"] or row["post"]]
    print(f"\nrankings: {len(rows)}, {ties:.3f} with ties; {len(usable)} with a prompt or post")
    out: dict[str, Any] = {"rankings": len(rows), "with_prompt": len(usable)}
    if agreed is not None:
        ceiling = noise_ceiling(agreed[0])
        print(f"two workers agree on {agreed[0]:.4f} of {agreed[1]} pairs that both told apart; ceiling {ceiling:.4f}")
        out |= {"agreement": agreed[0], "ceiling": ceiling}
    made = sorted(_PEOPLE.glob("reward-*/manifest.json"))
    if made and usable:
        learned = {c.prompt.id for part in ("train", "tune") for c in read_jsonl(_PEOPLE / f"{part}.jsonl", Comparison)}
        tested = [
            _comparison("tldr", 0, row["prompt"] or row["post"], row["summaries"][a], row["summaries"][b])
            for row in usable
            if short_id(row["prompt"] or row["post"]) not in learned
            for a, one in enumerate(row["rank"])
            for b, two in enumerate(row["rank"])
            if one < two
        ]
        if tested:
            right = _right(_scored(made[0].parent, tested))
            mean, low, high = clustered_interval(right, [c.prompt.id for c in tested])
            print(f"the TL;DR model on the pairs of {len({c.prompt.id for c in tested})} unseen prompts: "
                  f"{mean:.4f} ({low:.4f} to {high:.4f})")  # fmt: skip
            out["accuracy"] = mean
    return out
