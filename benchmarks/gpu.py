"""What a GPU does of what it could: decoding by graphs, single launches and the model's own forward; training.

`python -m benchmarks.gpu [124m 1b]` prints tables for random Llamas of that size, then one JSON line.  First the GPU is
measured, as `assent doctor --measure` does, and that is kept.  All is in bfloat16, with float32 weights in training.

- ``decode``: generated tokens per second, 128 of each of 128 and of 16 rows, medians of three rounds in turn, and
  ``bound``, the rate at which weights and cache would be read as fast as a copy reads.
- training: the commands that users type, on 256 examples or completions a step (128 pairs); of each phase its share of
  the time, its tokens per second and its share of the peak, without the first step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from assent.models.load import load_policy
from assent.models.policy import Policy
from assent.pipeline.measure import measure
from assent.rollout.engine import EncodedPrompt
from assent.rollout.local import LocalEngine
from assent.runs.machine import Peak, write_peak
from assent.types import SamplingSettings
from benchmarks.decode import OwnForward
from benchmarks.vs_trl.data import Shape, make_models
from benchmarks.vs_trl.training import Bench
from benchmarks.vs_trl.works import WORKS, Work

SHAPES = {
    "124m": (Shape(12, 768, 12, 2048, context=1024), ("sft", "dpo", "grpo", "ppo")),
    "1b": (Shape(16, 2048, 32, 8192, context=1024), ("sft", "grpo")),
}
"""Shape, and the works that are timed."""
FOLDER = Path("runs/gpu")
NEW, ROUNDS, BATCH = 128, 3, 256


def decode(policy: Policy, shape: Shape, rows: int, peak: Peak) -> dict[str, float]:
    """Tokens per second of each way."""
    generator = torch.Generator().manual_seed(1)
    prompts = [
        EncodedPrompt(str(i), tuple(torch.randint(4, shape.vocabulary, (64,), generator=generator).tolist()))
        for i in range(rows)
    ]
    settings = SamplingSettings(max_new_tokens=NEW, min_new_tokens=NEW)
    ways = {"own forward": ("", OwnForward), "launches": ("off", LocalEngine), "graphs": ("", LocalEngine)}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):  # the first warms up
        for name, (kernels, engine) in ways.items():
            with patch.dict(os.environ, {"ASSENT_KERNELS": kernels}):
                begun = time.perf_counter()
                found = engine(policy, rows).generate(prompts, settings)
            rates[name].append(sum(len(c.token_ids) for c in found) / (time.perf_counter() - begun))
    layers, width = shape.layers, shape.width
    weights = sum(p.numel() for p in policy.parameters())
    read = 2 * (weights + rows * (64 + NEW / 2) * 2 * layers * width)
    found_rates = {name: round(statistics.median(values[1:])) for name, values in rates.items()}
    return {**found_rates, "bound": round(rows * peak.bandwidth / read)}


def phases(work: Work, shape: Shape, folder: Path) -> dict[str, Any]:
    """A run of the command, and its phases' shares."""
    bench = Bench.set_up(work, shape, folder)
    run = bench.assent("bfloat16")
    lines = (folder / f"assent-{work.name}" / "timing.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    rows = [json.loads(line) for line in lines]
    whole = sum(row["seconds"] for row in rows)
    found: dict[str, Any] = {"tokens_per_second": round(run.rate())}
    for name in rows[0]["phases"]:
        each = [row["phases"][name] for row in rows]
        seconds = sum(phase["seconds"] for phase in each)
        found[name] = {
            "of_time": round(seconds / whole, 3),
            "tokens_per_second": round(sum(phase.get("tokens", 0) for phase in each) / seconds),
            "of_peak": round(statistics.median(phase.get("share", 0.0) for phase in each), 4),
        }
    return found


def measure_size(name: str, peak: Peak, works: Sequence[str] | None) -> dict[str, Any]:
    shape, own = SHAPES[name]
    folder = (FOLDER / name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    models = make_models(folder, shape)
    policy = load_policy(str(models[0]), "cuda")
    policy.model.to(torch.bfloat16)
    found: dict[str, Any] = {}
    for rows in (128, 16):
        found[f"decode {rows}"] = rates = decode(policy, shape, rows, peak)
        print(f"{name} decode, {rows} rows: " + ", ".join(f"{way} {rate:,}" for way, rate in rates.items()), flush=True)
    del policy
    torch.cuda.empty_cache()
    for work in own if works is None else works:
        batch = BATCH // 2 if work == "dpo" else BATCH
        settings = {**WORKS[work].settings, "token_budget": 32_768}
        settings |= {"slots": BATCH} if WORKS[work].rollouts else {}
        found[work] = phases(replace(WORKS[work], batch=batch, settings=settings, steps=5), shape, folder)
        print(f"{name} {work}: {found[work].pop('tokens_per_second'):,} tokens/s", flush=True)
        for phase, figures in found[work].items():
            rates = f", {figures['tokens_per_second']:,} tokens/s" if figures["tokens_per_second"] else ""
            rates += f", {figures['of_peak']:.1%} of the peak" if figures["of_peak"] else ""
            print(f"  {phase:10} {figures['of_time']:6.1%} of the time{rates}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", help=f"of {', '.join(SHAPES)}; all when none is given")
    parser.add_argument("--works", nargs="*", choices=WORKS, help="of training; each size's own when left out")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.sizes) - set(SHAPES)):
        parser.error(f"unknown size {', '.join(unknown)}; the sizes are {', '.join(SHAPES)}")
    if not torch.cuda.is_available():
        sys.exit("this needs a CUDA device; benchmarks.decode and benchmarks.vs_trl measure a CPU")
    peak = measure()
    write_peak(peak)
    print(
        f"{peak.device}: {peak.float32 / 1e12:.0f} TFLOP/s in float32, {peak.bfloat16 / 1e12:.0f} in bfloat16, "
        f"{peak.bandwidth / 1e12:.2f} TB/s"
    )
    print(json.dumps({name: measure_size(name, peak, asked.works) for name in asked.sizes or SHAPES}))


if __name__ == "__main__":
    main()
