"""What reward models, ensembles and combinations of them are worth, on a world with a known truth and on people.

    python -m benchmarks.rewards                      all parts; an hour on two cores, into runs/rewards
    python -m benchmarks.rewards --only gating        one of kwise, ensembles, gating, people

What is done is not done again.  ``people`` needs ``../shared/data`` and ``../shared/models``.  The last line is JSON:
``kwise_gain`` (accuracy), ``ensemble_true_gain`` (true reward), ``unsafe_rate`` (the largest Wilson upper bound over
seeds) and ``helpfulness_cost`` (share of the helpfulness of a policy that is rewarded for it alone).
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from benchmarks.rewards.ensembles import ensembles
from benchmarks.rewards.gating import gating
from benchmarks.rewards.kwise import kwise
from benchmarks.rewards.people import people
from benchmarks.rewards.shared import base

PARTS = ("kwise", "gating", "ensembles", "people")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append")
    wanted = parser.parse_args().only or PARTS
    out: dict[str, Any] = {}
    if set(wanted) - {"people"}:
        base()
    if "kwise" in wanted:
        out["kwise_gain"] = kwise()
    if "gating" in wanted:
        out["unsafe_rate"], out["helpfulness_cost"] = gating()
    if "ensembles" in wanted:
        out["ensemble_true_gain"] = ensembles()
    if "people" in wanted:
        out["people"] = people()
    print(json.dumps(out))


if __name__ == "__main__":
    main()
