"""The command; see the package."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.fuzz.target import hunt
from benchmarks.fuzz.targets import targets


def main(arguments: list[str] | None = None) -> int:
    known = targets()
    parser = argparse.ArgumentParser(description="Bad data by the thousand.")
    parser.add_argument("--examples", type=int, default=1_000, help="for each target")
    parser.add_argument("--only", nargs="*", default=[], choices=list(known), metavar="TARGET", help=", ".join(known))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.disable(logging.CRITICAL)
    total, faults = Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="assent-fuzz-") as home:
        for name in given.only or known:
            folder = Path(home) / name.replace(" ", "-")
            folder.mkdir()
            begun = time.perf_counter()
            found = hunt(known[name], given.examples, given.seed, folder)
            total += found.counts
            faults += len(found.faults)
            seconds = time.perf_counter() - begun
            print(
                f"{name:28} {found.counts['taken']:6} taken {found.counts['refused']:6} refused "
                f"{len(found.faults):3} faults {seconds:7.1f} s",
                flush=True,
            )
            for fault in found.faults:
                print(fault, flush=True)
    print(json.dumps({"inputs": total.total(), "taken": total["taken"], "refused": total["refused"], "faults": faults}))
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
