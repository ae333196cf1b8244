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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import norm

from assent.data.jsonl import write_jsonl
from assent.evaluation.calibration import fit_temperature, length_bias, noise_ceiling, repeated_agreement
from assent.intervals import clustered_interval, clustered_standard_error
from assent.pipeline.stages.held_out import held_out_prompts
from assent.rewards.lengths import doublings
from assent.rewards.model import load_models
from assent.runs.manifest import read_manifest
from assent.types import Comparison, Completion, Prompt, short_id
from benchmarks.rewards.shared import RUN, SEEDS, SHARED, shown, stage

MODEL = SHARED / "models/reviews-6m"
FILES = {"tldr": "data/tldr/comparisons_10k.jsonl.gz", "harmless": "data/hh-harmless/test.jsonl.gz"}
KWAY = SHARED / "data/tldr/kway_rankings_with_ties.jsonl.gz"
ASKED, SAID = 60, 90
"""Last words of a prompt that the model sees, and the first ones of an answer: it reads 512 tokens at most."""
RATES = (1e-4, 4e-4)
PENALTIES = (1e-3, 1e-2, 1e-1)


class Rows(NamedTuple):
    """Comparisons, split by prompt."""

    learned: list[Comparison]
    tested: list[Comparison]


def measure(name: str, seed: int) -> dict[str, Any]:
    """The score gaps, chosen - rejected, of the model of a seed."""
    rows = _split_rows(name)
    folder = _trained(name, rows.learned, seed)
    out: dict[str, Any] = {"folder": str(folder), "gaps": _scored(folder, rows.tested).tolist()}
    if name == "tldr" and (ranked := _ranked(rows.learned)):
        out["ranked_gaps"] = _scored(folder, ranked).tolist()
    return out


def report(name: str, found: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Accuracies of model and baselines, and the model's gain over each of them."""
    rows = _split_rows(name)
    prompts = [c.prompt.id for c in rows.tested]
    print(
        f"{len(rows.learned)} comparisons learned from, {len(rows.tested)} of {len(set(prompts))} other prompts tested"
    )
    gaps = {"length": _logistic(*rows, _lengths), "words": _logistic(*rows, _words(rows.learned))}
    scored = [np.array(each["gaps"]) for each in found.values()]
    right = {kind: _right(gap) for kind, gap in gaps.items()}
    right["model"] = np.mean([_right(gap) for gap in scored], axis=0)
    out: dict[str, Any] = {"by_seed": [float(_right(gap).mean()) for gap in scored]}
    for kind, values in right.items():
        mean, low, high = clustered_interval(values, prompts)
        out[kind] = round(mean, 4)
        print(f"{kind:7}: accuracy {mean:.4f} ({low:.4f} to {high:.4f})")
    print(f"model by seed: {shown(out['by_seed'], 4)}; trained in {[each['folder'] for each in found.values()]}")
    for kind in gaps:
        gain = right["model"] - right[kind]
        half = float(norm.ppf(0.975)) * clustered_standard_error(gain, prompts)
        out[f"over_{kind}"] = [round(float(gain.mean()) + side * half, 4) for side in (0, -1, 1)]
        says = "beats" if gain.mean() > half else "loses to" if gain.mean() < -half else "is not told from"
        print(f"the model {says} {kind}: {gain.mean():+.4f} ({gain.mean() - half:+.4f} to {gain.mean() + half:+.4f})")
    sides = ([len(c.chosen) for c in rows.tested], [len(c.rejected) for c in rows.tested])
    print(f"first seed: {length_bias(scored[0], *sides)}\n{fit_temperature(scored[0], prompts)}", flush=True)
    if name == "tldr":
        out |= _rankings(rows.learned, [each["ranked_gaps"] for each in found.values() if "ranked_gaps" in each])
    return {name: out}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _comparisons(name: str) -> Iterator[Comparison]:
    for i, row in enumerate(_rows(SHARED / FILES[name])):
        prompt, chosen, rejected = (row.get(key, "") for key in ("prompt", "chosen", "rejected"))
        if name == "harmless":  # dialogues, up to what the two answers share
            cut = chosen.rfind("\n\nAssistant:")
            if not rejected.startswith(chosen[:cut]):
                continue
            prompt, chosen, rejected = chosen[:cut], chosen[cut:], rejected[cut:]
        yield _comparison(f"{name}-{i}", prompt, chosen, rejected)


def _comparison(ident: str, prompt: str, chosen: str, rejected: str) -> Comparison:
    """Prompts of which the model sees the same are the same prompt."""
    text = " ".join(prompt.split()[-ASKED:]) + "\n"
    group = short_id(text)
    better, worse = (" ".join(answer.split()[:SAID]) for answer in (chosen, rejected))
    return Comparison(ident, Prompt(group, text=text), better, worse, group=group)


def _split_rows(name: str) -> Rows:
    rows = [c for c in _comparisons(name) if c.chosen and c.rejected and c.chosen != c.rejected]
    apart = held_out_prompts((c.prompt.id for c in rows), 0.2, 0, name)
    learned, tested = ([c for c in rows if (c.prompt.id in apart) == side] for side in (False, True))
    return Rows(learned, tested)


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
    return float(read_manifest(folder).metrics["eval_loss"])


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
        "save_steps": 50,
    }
    return stage("reward", settings, folder / f"reward-{rate:g}-{seed}", seed)


def _scored(folder: Path, tested: Sequence[Comparison]) -> np.ndarray:
    """Score gaps, chosen - rejected.  What is in several comparisons is scored once."""
    sides = [(c.prompt, c.chosen) for c in tested], [(c.prompt, c.rejected) for c in tested]
    once = {(prompt.id, text): (prompt, Completion(text, prompt.id, text)) for side in sides for prompt, text in side}
    values = load_models(str(folder)).score(*(list(part) for part in zip(*once.values(), strict=True))).values
    score = dict(zip(once, values, strict=True))
    chosen, rejected = (np.array([score[prompt.id, text] for prompt, text in side]) for side in sides)
    return chosen - rejected


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


def _rankings(learned: Sequence[Comparison], gaps: Sequence[Sequence[float]]) -> dict[str, Any]:
    """How far the workers agree on pairs of summaries, and how the model does where there is a post that it knows
    nothing of; ``gaps`` are those of each seed."""
    rows = list(_rows(KWAY))
    pairs = [
        (row["id"], row["summaries"][a], row["summaries"][b], row["worker"]) for row in rows for a, b in _told(row)
    ]
    agreed = repeated_agreement(pairs)
    ties = np.mean([len(set(row["rank"])) < len(row["rank"]) for row in rows])
    usable = sum(bool(row["prompt"] or row["post"]) for row in rows)
    print(f"rankings: {len(rows)}, {ties:.3f} with ties; {usable} with a prompt or post")
    out: dict[str, Any] = {"rankings": len(rows), "with_prompt": usable}
    if agreed is not None:
        ceiling = noise_ceiling(agreed[0])
        print(f"two workers agree on {agreed[0]:.4f} of {agreed[1]} pairs that both told apart; ceiling {ceiling:.4f}")
        out |= {"agreement": round(agreed[0], 4), "ceiling": round(ceiling, 4)}
    if gaps:
        prompts = [c.prompt.id for c in _ranked(learned)]
        right = np.mean([_right(np.array(gap)) for gap in gaps], axis=0)
        mean, low, high = clustered_interval(right, prompts)
        print(f"the model on {len(prompts)} pairs of {len(set(prompts))} unseen posts: {mean:.4f} "
              f"({low:.4f} to {high:.4f})")  # fmt: skip
        out["ranked_accuracy"] = round(mean, 4)
    return out


def _told(row: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """The pairs of a ranking that its worker told apart, the better one first."""
    for a, one in enumerate(row["rank"]):
        yield from ((a, b) for b, two in enumerate(row["rank"]) if one < two)


def _ranked(learned: Sequence[Comparison]) -> list[Comparison]:
    """The pairs of the rankings of which there is a post, and none that was learned from."""
    known = {c.prompt.id for c in learned}
    pairs = (
        _comparison(f"{row['id']}-{a}-{b}", row["prompt"] or row["post"], row["summaries"][a], row["summaries"][b])
        for row in _rows(KWAY)
        if row["prompt"] or row["post"]
        for a, b in _told(row)
    )
    return [c for c in pairs if c.prompt.id not in known]
