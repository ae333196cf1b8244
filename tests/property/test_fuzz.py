"""A short run of the fuzzer, the same inputs every time; ``python -m benchmarks.fuzz`` tries thousands."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fuzz.target import hunt
from benchmarks.fuzz.targets import targets

EXAMPLES = 12


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """No waiting for the disk, and no warnings of libraries about what they are given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        yield
        logging.disable(before)


@pytest.mark.parametrize("name", list(targets()))
def test_bad_data_is_taken_or_told(name: str, tmp_path: Path) -> None:
    found = hunt(targets()[name], EXAMPLES, 0, tmp_path)
    assert not found.faults, found.faults[0]
    assert found.counts.total() >= EXAMPLES
