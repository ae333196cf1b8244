"""What reward models, ensembles and combinations of them are worth, on a world with a known truth and on people.

    python -m benchmarks.rewards                                  every part but best-of-n, into runs/rewards
    python -m benchmarks.rewards --parts gating --seeds 1 2       some of them
    python -m benchmarks.rewards --parts                          says again what has been found

What is done is not done again, and a training that was stopped goes on; each part and seed takes minutes, and all of
them four hours of one core.  ``best-of-n`` is ensembles without a policy in training, and takes another.  ``tldr`` and
``harmless`` need ``../shared/data`` and ``../shared/models``.  The last line is JSON, of the seeds that are done:
``kwise_gain`` (accuracy), ``ensemble_true_gain`` and ``best_of_n_gain`` (true reward, of a policy and of the best of
many answers), ``unsafe_rate`` (the largest Wilson upper bound over seeds) and ``helpfulness_cost`` (share of the
helpfulness of a policy that is rewarded for it alone); null for a part of which nothing is done.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from assent.runs.folder import atomic_write_json
from benchmarks.rewards import best_of_n, ensembles, frontier, gating, kwise, people
from benchmarks.rewards.shared import RUN, SEEDS, base

Found = Mapping[int, Mapping[str, Any]]
"""Seed -> what was measured."""


class Part(NamedTuple):
    """One comparison."""

    measure: Callable[[int], Mapping[str, Any]]
    """On a seed; what it returns is kept as JSON."""
    report: Callable[[Found], Mapping[str, Any]]
    """Prints all seeds, and returns what the last line holds of them."""
    seeds: tuple[int, ...] = SEEDS


PARTS: Mapping[str, Part] = {
    "kwise": Part(kwise.measure, kwise.report, kwise.SEEDS),
    "gating": Part(gating.measure, gating.report),
    "frontier": Part(frontier.measure, frontier.report, SEEDS[:1]),
    "best-of-n": Part(best_of_n.measure, best_of_n.report, best_of_n.SEEDS),
    "ensembles": Part(ensembles.measure, ensembles.report, ensembles.SEEDS),
    "tldr": Part(partial(people.measure, "tldr"), partial(people.report, "tldr")),
    "harmless": Part(partial(people.measure, "harmless"), partial(people.report, "harmless")),
}
FIGURES = ("kwise_gain", "ensemble_true_gain", "best_of_n_gain", "unsafe_rate", "helpfulness_cost")


def kept(part: str, seed: int) -> Path:
    """Where a part keeps what it measured on a seed."""
    return RUN / f"found/{part}-{seed}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", choices=PARTS, nargs="*", default=[name for name in PARTS if name != "best-of-n"])
    parser.add_argument("--seeds", type=int, nargs="*", help="those of each part when left out")
    given = parser.parse_args()
    for name in given.parts:
        for seed in given.seeds or PARTS[name].seeds:
            if not kept(name, seed).exists():
                base()
                kept(name, seed).parent.mkdir(parents=True, exist_ok=True)
                atomic_write_json(kept(name, seed), PARTS[name].measure(seed))
    out: dict[str, Any] = dict.fromkeys(FIGURES)
    for name, part in PARTS.items():
        paths = {seed: kept(name, seed) for seed in range(10) if kept(name, seed).exists()}
        if paths:
            print(f"\n{name}, {len(paths)} of {len(part.seeds)} seeds", flush=True)
            found = {seed: json.loads(path.read_text(encoding="utf-8")) for seed, path in paths.items()}
            out |= part.report(found)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
