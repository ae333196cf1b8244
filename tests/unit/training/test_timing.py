"""Where a step's time goes: the formula against PyTorch's own count of operations, and what a run logs."""

from __future__ import annotations

import contextlib
import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from assent.models.adapters import AdapterSettings
from assent.models.cost import Cost
from assent.models.shared import train_adapter
from assent.runs import machine
from assent.runs.machine import Peak, read_peak, write_peak
from assent.testing.tiny import tiny_causal
from assent.training import timing
from assent.training.callbacks import TIMING
from tests.training.tiny_runs import train


@pytest.mark.parametrize("architecture", ["llama", "gpt_neox"])
def test_the_formula_counts_what_pytorch_counts(architecture: str) -> None:
    model = tiny_causal(architecture).model
    model.config._attn_implementation = "eager"
    cost, rows, tokens = Cost.of(model, model.get_output_embeddings()), 3, 12
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(rows, tokens, dtype=torch.long), use_cache=False)
    by_kind = counter.get_flop_counts()["Global"]
    products = sum(count for kind, count in by_kind.items() if kind in (torch.ops.aten.mm, torch.ops.aten.addmm))
    assert products == 2 * (cost.body + cost.head) * rows * tokens
    # PyTorch counts the whole square of attention, of which a causal model needs half; and the angles of positions.
    square = 2 * rows * (cost.forward([tokens], tokens) - 2 * (cost.body + cost.head) * tokens)
    angles = by_kind[torch.ops.aten.bmm] - square
    assert 0 <= angles <= rows * tokens * model.config.hidden_size


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_the_formula_counts_only_the_gradients_that_there_are(adapter: str) -> None:
    policy, rows, tokens = tiny_causal(), 3, 12
    if adapter == "lora":
        train_adapter(policy, AdapterSettings(adapter="lora", lora_r=4), 1, "the base")
    model = policy.model
    model.config._attn_implementation = "eager"
    cost = Cost.of(model, model.get_output_embeddings())
    counter = FlopCounterMode(display=False)
    with counter:
        model(torch.zeros(rows, tokens, dtype=torch.long), use_cache=False).logits.sum().backward()
    by_kind = counter.get_flop_counts()["Global"]
    products = sum(count for kind, count in by_kind.items() if kind in (torch.ops.aten.mm, torch.ops.aten.addmm))
    counted = rows * (cost.step([tokens], tokens) - 6 * cost.attention * tokens**2)
    # The first layer's input has no gradient under an adapter: three projections and what their adapters read.
    spared = 2 * rows * tokens * 3 * (32 * 32 + 32 * 4) if adapter == "lora" else 0
    assert counted - products == spared


def test_what_a_failed_run_left_is_not_counted(tmp_path) -> None:
    with contextlib.suppress(RuntimeError), timing.phase("sampling"):
        timing._seconds["sampling"] = 1e6  # as if it had sampled for days
        raise RuntimeError
    train("ppo", tmp_path / "run", max_steps=1)
    row = json.loads((tmp_path / "run" / TIMING).read_text())
    assert sum(found["seconds"] for found in row["phases"].values()) <= row["seconds"] + 1e-3


def test_a_run_logs_its_phases(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    timing._peak.cache_clear()
    write_peak(Peak(machine.cpu_name(), 1e9, 2e9, 1e9, "2026-01-01"))
    train("ppo", tmp_path / "run", max_steps=2)
    timing._peak.cache_clear()
    rows = [json.loads(line) for line in (tmp_path / "run" / TIMING).read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        phases = row["phases"]
        assert list(phases) == [name for name in timing.PHASES if name in phases]
        assert set(phases) == set(timing.PHASES)
        assert sum(found["seconds"] for found in phases.values()) <= row["seconds"] + 1e-3
        assert 0 < phases["sampling"]["tokens"] < phases["gradient"]["tokens"]
        gradient = phases["gradient"]
        assert gradient["share"] == pytest.approx(gradient["flops"] / gradient["seconds"] / 1e9, rel=1e-2, abs=1e-4)


def test_a_phase_is_counted_also_when_it_fails() -> None:
    timing._seconds.clear()
    with pytest.raises(KeyError), timing.phase("gradient"):
        raise KeyError
    assert timing._seconds.pop("gradient") > 0


def test_peaks_are_kept_by_device(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = Peak("one", 1.0, 2.0, 3.0, "2026-01-01"), Peak("two", 4.0, 5.0, 6.0, "2026-01-02")
    assert read_peak("one") is None
    path = write_peak(first)
    write_peak(second)
    assert (read_peak("one"), read_peak("two"), read_peak("three")) == (first, second, None)
    path.write_text("{")
    assert read_peak("one") is None
