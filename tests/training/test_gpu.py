"""What is promised on a GPU: exact resume with ``deterministic``, and a stated tolerance without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_resume import check_equal, interrupt
from tiny_runs import Progress, train, weights

from assent.training.callbacks import read_metrics
from assent.training.randomness import use_deterministic_kernels

WEIGHT = 6 * 1e-3
"""Six steps at a learning rate of 1e-3: about as far as Adam can move a weight whose gradient is rounding alone."""
MEAN = 1e-5
LOSS = 1e-3

gpu = pytest.mark.gpu
needs_one = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    use_deterministic_kernels(False)


def in_two_parts(name: str, folder: Path, **settings: Any) -> tuple[Any, Any]:
    """The models of a run on the GPU, and of one that was interrupted after its fourth step."""
    straight = train(name, folder / "straight", device="cuda", **settings)
    with pytest.raises(KeyboardInterrupt):
        train(name, folder / "resumed", Progress({4: interrupt}), device="cuda", **settings)
    return straight, train(name, folder / "resumed", device="cuda", **settings)


@gpu
@needs_one
@pytest.mark.parametrize("name", ["sft", "reward", "dpo", "kto", "grpo", "ppo"])
def test_resume_is_exact_with_deterministic_kernels(name: str, tmp_path: Path) -> None:
    one, other = in_two_parts(name, tmp_path, deterministic=True)
    check_equal(tmp_path / "straight", tmp_path / "resumed", one, other)


@gpu
@needs_one
@pytest.mark.parametrize("name", ["sft", "reward", "dpo"])
def test_without_them_it_is_exact_up_to_rounding(name: str, tmp_path: Path) -> None:
    """Of data sets; rollouts part where rounding first changes a drawn token."""
    one, other = in_two_parts(name, tmp_path)
    for key, value in weights(one).items():
        apart = (value - weights(other)[key]).abs()
        assert apart.max() <= WEIGHT, key
        assert apart.mean() <= MEAN, key
    rows = [read_metrics(tmp_path / part / "metrics.jsonl") for part in ("straight", "resumed")]
    for before, after in zip(*rows, strict=True):
        assert after["loss"] == pytest.approx(before["loss"], rel=LOSS)


def test_what_one_run_asked_for_does_not_outlive_it(tmp_path: Path) -> None:
    train("sft", tmp_path / "one", max_steps=1, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    train("sft", tmp_path / "two", max_steps=1)
    assert not torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        train("sft", tmp_path / "three", max_steps=1)
        assert torch.are_deterministic_algorithms_enabled(), "the host program's own wish"
    finally:
        torch.use_deterministic_algorithms(False)
