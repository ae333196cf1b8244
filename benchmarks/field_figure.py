"""The field's figure: win rate against the larger SFT model of base, prompted base, SFT, PPO and PPO-ptx at two sizes.

    python -m benchmarks.field_figure [--out FOLDER]

runs the recipe beside this file (ten minutes on one thread; again = goes on), draws ``docs/field-figure.png`` and
prints a table.  After figure 1 of Ouyang et al. 2022 (arXiv:2203.02155); here a program judges, not people.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from transformers import AutoModelForCausalLM

import assent

RECIPE = Path(__file__).with_suffix(".yaml")
PICTURE = Path(__file__).parents[1] / "docs/field-figure.png"
SIZES = ("small", "large")
METHODS = {
    "base": ("Base", "#9aa3ab"),
    "prompted": ("Base, prompted", "#c9a227"),
    "sft": ("SFT", "#7a5ba6"),
    "ppo": ("PPO", "#1f6f8b"),
    "ppo_ptx": ("PPO-ptx", "#c2703d"),
}
REFERENCE = "large_sft"


def rates(found: Mapping[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Policy -> win rate against the larger SFT model, low, high; its own is one half."""
    rows = {row["policy"]: row for row in found["win_rates"] if row["against"] == REFERENCE}
    return {name: (row["rate"], row["low"], row["high"]) for name, row in rows.items()} | {REFERENCE: (0.5, 0.5, 0.5)}


def draw(won: Mapping[str, tuple[float, float, float]], parameters: Mapping[str, int]) -> None:
    figure, axis = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
    for place, (method, (label, colour)) in enumerate(METHODS.items()):
        shift = 1 + 0.02 * (place - 2)  # intervals side by side
        x = [parameters[size] * shift for size in SIZES]
        middle, low, high = zip(*(won[f"{size}_{method}"] for size in SIZES), strict=True)
        errors = np.abs(np.array([low, high]) - np.array(middle))
        axis.errorbar(x, middle, yerr=errors, color=colour, marker="o", markersize=4, capsize=3, label=label)
    axis.axhline(0.5, color="#33393f", linewidth=0.6, linestyle=":")
    axis.set_xscale("log")
    axis.set_xticks([parameters[size] for size in SIZES], [f"{parameters[size]:,}" for size in SIZES])
    axis.minorticks_off()
    axis.set_ylim(0.0, 1.0)
    axis.set_xlabel("parameters of the policy")
    axis.set_ylabel("win rate against the larger SFT model")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description="Win rates of five kinds of model at two sizes.")
    parser.add_argument("--out", default="runs/field-figure", help="folder of the run")
    given = parser.parse_args()
    run = assent.run(str(RECIPE), overrides=[f"out={given.out}"])
    found = json.loads((run / "evaluate/evaluation.json").read_text(encoding="utf-8"))
    won = rates(found)
    models = {size: AutoModelForCausalLM.from_pretrained(run / f"{size}_base") for size in SIZES}
    parameters = {size: int(model.num_parameters()) for size, model in models.items()}
    draw(won, parameters)
    for size in SIZES:
        for method, (label, _) in METHODS.items():
            rate, low, high = won[f"{size}_{method}"]
            figures = found["policies"][f"{size}_{method}"]
            lost = figures["held_out_perplexity"]
            print(f"{size:5} {label:15} {rate:.3f} ({low:.3f} to {high:.3f})  perplexity of held-out text {lost:.2f}")
    print(json.dumps({"parameters": parameters, "win_rates": {name: values[0] for name, values in won.items()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
