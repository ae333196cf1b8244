"""Runs with packed rows are the runs with padded rows."""

from pathlib import Path
from typing import Any

import pytest
from tiny_runs import train

from assent.training.callbacks import read_metrics

TIMES = ("seconds", "tokens_per_second")


def figures(name: str, folder: Path, **settings: Any) -> list[dict[str, float]]:
    train(name, folder, max_steps=4, **settings)
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(folder / "metrics.jsonl")]


@pytest.mark.parametrize("name", ["sft", "dpo", "reward", "ppo"])
def test_the_curve_is_the_same(name: str, tmp_path: Path):
    padded = figures(name, tmp_path / "padded", token_budget=100_000)
    for budget in (40, 100_000):
        packed = figures(name, tmp_path / str(budget), packing=True, token_budget=budget)
        assert len(packed) == len(padded)
        for one, other in zip(packed, padded, strict=True):
            assert one == pytest.approx(other, rel=1e-3, abs=1e-4)
