"""TRL and assent in turn, on the same model, data, batch and lengths: `python -m benchmarks.vs_trl [WORK ...]`.

TRL is the newest, with glibc's allocator tuned (three times as fast on a CPU as without), without recomputation of
activations; PPO is that of its last release which has it.  assent is the command that users type, with its defaults.
Both read the same folder (a random Llama of 6 layers x 288, vocabulary 32,000, tied embeddings) and the same rows in
the same order.  First, in float32, both compute the gradient of the same batch or of the same rollouts, which must
agree; then they run in turn, each in float32 and bfloat16.  A step's time is what each side's own log or callback
says, without the first step.  Ratios are assent's rate over the other's, medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.vs_trl.data import SHAPES, Shape
from benchmarks.vs_trl.decoding import SIZES, DecodeBench
from benchmarks.vs_trl.environments import CACHE
from benchmarks.vs_trl.process import Run
from benchmarks.vs_trl.training import TOLERANCE, Bench
from benchmarks.vs_trl.works import PRECISIONS, WORKS, Precision

Side = Callable[[Precision], Run]
NAMES = (*WORKS, "decode")


def in_turn(sides: Mapping[str, Side], precisions: tuple[Precision, ...], rounds: int) -> dict[str, dict[str, Run]]:
    """Side -> precision -> the run of median rate; every side's runs stand beside the others' in time."""
    found: dict[str, dict[str, list[Run]]] = {side: {} for side in sides}
    for _ in range(rounds):
        for precision in precisions:
            for side, run in sides.items():
                one = run(precision)
                found[side].setdefault(precision, []).append(one)
                print(
                    f"  {side:<14}{precision:<10}{one.rate():9.0f} tokens/s{one.peak / 1e9:8.2f} GB"
                    f"{one.others:7.2f} cores used by others",
                    flush=True,
                )
    return {side: {p: _median(runs) for p, runs in by.items()} for side, by in found.items()}


def _median(runs: list[Run]) -> Run:
    return sorted(runs, key=Run.rate)[len(runs) // 2]


def compare(ours: Mapping[str, Run], theirs: Mapping[str, Run]) -> dict[str, float]:
    """``best``: each side at its fastest precision; ``fp32``; ``memory``: our peak over theirs at ``best``."""
    one, other = (max(side.values(), key=Run.rate) for side in (ours, theirs))
    found = {"best": one.rate() / other.rate()}
    if "float32" in ours:
        found["fp32"] = ours["float32"].rate() / theirs["float32"].rate()
    return {name: round(value, 3) for name, value in {**found, "memory": one.peak / other.peak}.items()}


def train(name: str, shape: Shape, folder: Path, asked: argparse.Namespace) -> dict[str, float]:
    work = WORKS[name].quick() if asked.quick else WORKS[name]
    bench = Bench.set_up(work, shape, folder)
    found: dict[str, float] = {}
    if not asked.no_gradients:
        found["gradient_distance"] = bench.check_gradient()
        print(f"  gradients of the same {'rollouts' if work.rollouts else 'batch'}: {found['gradient_distance']:.1e}")
        if found["gradient_distance"] > TOLERANCE:
            sys.exit(f"{name}: the gradients differ by {found['gradient_distance']:.1e}, more than {TOLERANCE:.0e}")
    if asked.rounds == 0:
        return found
    sides: dict[str, Side] = {"trl": lambda p: bench.trl(p, work.steps), "assent": bench.assent}
    runs = in_turn(sides, asked.precisions, asked.rounds)
    counts = {side: {p: run.tokens for p, run in by.items()} for side, by in runs.items()}
    if counts["trl"] != counts["assent"]:
        sys.exit(f"{name}: the two sides did not train on the same tokens: {counts}")
    return compare(runs["assent"], runs["trl"]) | found


def decode(shape: Shape, folder: Path, asked: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for size in asked.sizes:
        print(f" batch {size}")
        bench = DecodeBench.set_up(size, shape, folder, new=16 if asked.quick else 128)
        sides: dict[str, Side] = {"transformers": bench.transformers, "vllm": bench.vllm, "assent": bench.assent}
        sides = {name: side for name, side in sides.items() if name not in asked.without}
        runs = in_turn(sides, asked.precisions, asked.rounds)
        ours = runs.pop("assent")
        found[str(size)] = {other: compare(ours, theirs) for other, theirs in runs.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vs_trl", description=__doc__)
    parser.add_argument("works", nargs="*", help=f"of {', '.join(NAMES)}; all when none is given")
    parser.add_argument("--rounds", type=int, default=2, help="times that each side runs, in turn; 0 = gradients only")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="rows decoded at once")
    parser.add_argument(
        "--without", nargs="+", default=(), help="other sides to leave out of decode: vllm, transformers"
    )
    parser.add_argument("--no-gradients", action="store_true", help="leave the comparison of gradients out")
    parser.add_argument(
        "--quick", action="store_true", help="a small model and batch: to try the script, not to measure"
    )
    parser.add_argument("--folder", type=Path, default=CACHE / "work", help="where models, data and results go")
    asked = parser.parse_args()
    unknown = sorted(set(asked.works) - set(NAMES))
    if unknown:
        parser.error(f"unknown work {', '.join(unknown)}; the works are {', '.join(NAMES)}")
    shape = "tiny" if asked.quick else "15m"
    folder = (asked.folder / shape).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, object] = {}
    for name in asked.works or NAMES:
        print(name, flush=True)
        found[name] = (
            decode(SHAPES[shape], folder, asked) if name == "decode" else train(name, SHAPES[shape], folder, asked)
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
