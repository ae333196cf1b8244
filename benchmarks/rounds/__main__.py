"""What rounds are worth, and what asking the right questions is worth.

    python -m benchmarks.rounds                     all parts; into runs/rounds
    python -m benchmarks.rounds --parts live        some of rounds, selection and live
    python -m benchmarks.rounds --seeds 0 1         some of the seeds; the last line is of all of them only

What is done is not done again: seeds can be run one at a time.  The last line is JSON: ``first_low``, ``first_high``,
``last_low`` and ``last_high`` (true reward after the first and the last round, 95% over seeds),
``active_answers_share`` (answers with which active selection reaches what random selection reaches at half the pool),
``live_seconds`` (the worst, from an answer to a saved reward model that has learned it) and ``answers_lost``.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from benchmarks.rounds.against_one import against_one
from benchmarks.rounds.live import live
from benchmarks.rounds.selection import METHODS, selection
from benchmarks.rounds.shared import SEEDS, start

PARTS = ("rounds", "selection", "live")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--methods", choices=METHODS, nargs="+", default=["information_gain"])
    given = parser.parse_args()
    start()
    out: dict[str, Any] = {}
    if "rounds" in given.parts:
        out |= against_one(given.seeds)
    if "selection" in given.parts:
        out["active_answers_share"] = selection(given.methods, given.seeds)
    if "live" in given.parts:
        out |= live()
    print(json.dumps(out))


if __name__ == "__main__":
    main()
