"""Reward against KL: the curves of the policies that training kept, of the last ones, and of best of n."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from assent.evaluation.alarm import hacking_alarm, most_exploited
from assent.evaluation.best_of_n import best_of_n, best_of_n_kl, powers_of_two
from assent.evaluation.over_optimisation import (
    Curve,
    Form,
    curve_points,
    early_stopping,
    fit_over_optimisation,
)
from assent.models.policy import Policy
from assent.pipeline.stages.measured import Measuring, Sampled, scores_of
from assent.types import Prompt


def curve_of(start: Sampled, steps: Mapping[str, Sampled]) -> Curve | None:
    """The start and the checkpoints after it as one curve; ``None`` where KL or reward is missing, or all prompts but
    one are."""
    every = {"0": start, **steps}
    if len(start.completions) < 2:
        return None
    kl, proxy, gold = [], [], []
    for sampled in every.values():
        if sampled.kl is None or sampled.rewards is None:
            return None
        kl.append(sampled.kl)
        proxy.append(sampled.rewards)
        if sampled.utilities is not None:
            gold.append(sampled.utilities)
    return Curve(tuple(every), np.array(kl), np.array(proxy), np.array(gold) if gold else None)


def best_of_n_curve(measuring: Measuring, policy: Policy, most: int, keep: Callable[..., Any]) -> Curve:
    """Best of 1, 2, 4, ... ``most`` answers of the policy by the reward model, by the unbiased estimator."""

    def drawn() -> dict[str, Any]:
        # A seed of its own: the answers of the evaluation itself are not to be among those chosen from.
        completions = measuring.answers(policy, "best-of-n", most, seed=measuring.seed + 1)
        prompts = [prompt for prompt in measuring.prompts for _ in range(most)]
        judges = {"proxy": measuring.reward, "gold": measuring.judge}
        scored = {name: scores_of(judge, policy, prompts, completions) for name, judge in judges.items()}
        return {name: values for name, values in scored.items() if values is not None}

    found: dict[str, Any] = keep(f"best of {most}", drawn)
    scores = {name: np.reshape(values, (len(measuring.prompts), most)) for name, values in found.items()}
    every = powers_of_two(most)
    return Curve(
        labels=tuple(map(str, every)),
        kl=np.array([np.full(len(measuring.prompts), best_of_n_kl(n)) for n in every]),
        proxy=np.array([best_of_n(scores["proxy"], scores["proxy"], n) for n in every]),
        gold=np.array([best_of_n(scores["proxy"], scores["gold"], n) for n in every]) if "gold" in scores else None,
    )


def curve_record(name: str, curve: Curve, form: Form) -> dict[str, Any]:
    """A curve as a section of ``evaluation.json``: points, fits, the best checkpoint and the alarm."""
    record: dict[str, Any] = {
        "name": name,
        "form": form,
        "points": [asdict(point) for point in curve_points(curve)],
        "fits": {},
    }
    for reward, values in (("proxy", curve.proxy), ("gold", curve.gold)):
        if values is not None:
            with contextlib.suppress(ValueError):  # too few checkpoints that have moved
                record["fits"][reward] = asdict(fit_over_optimisation(curve.kl, values, form))
    if curve.gold is not None:
        record["early_stopping"] = asdict(early_stopping(curve))
        record["alarm"] = asdict(hacking_alarm(curve))
    return record


def exploited(
    name: str, reference: str, prompts: Sequence[Prompt], sampled: Mapping[str, Sampled], most: int
) -> list[dict[str, Any]]:
    """The prompts on which a policy gained most reward and lost most by the judge, as text."""
    ours, theirs = sampled[name], sampled[reference]
    if ours.rewards is None or theirs.rewards is None or ours.utilities is None or theirs.utilities is None:
        return []
    proxy = np.asarray(ours.rewards) - np.asarray(theirs.rewards)
    gold = np.asarray(ours.utilities) - np.asarray(theirs.utilities)
    return [
        {
            "policy": name,
            "prompt": prompts[each.place].shown(),
            "text": ours.completions[each.place].text,
            "reference_text": theirs.completions[each.place].text,
            "proxy_gain": each.proxy_gain,
            "gold_gain": each.gold_gain,
        }
        for each in most_exploited(proxy, gold, most)
    ]
