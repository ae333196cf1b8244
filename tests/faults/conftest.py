"""The table of faults in docs/reliability.md is what these tests saw: each compares its row, or writes it.

``ASSENT_WRITE_FAULTS=1 pytest tests/faults`` writes the rows anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from table import rows, write

from benchmarks.crash_jobs import make_workshop
from tests.threads import threads


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models and data files."""
    folder = tmp_path_factory.mktemp("workshop")
    make_workshop(folder)
    return folder


@pytest.fixture
def happened(request: pytest.FixtureRequest) -> Iterator[Callable[[str], None]]:
    """Told what happened, holds it against the row of the test's fault."""
    fault = request.node.get_closest_marker("fault").args[0]
    told: list[str] = []

    def tell(text: str) -> None:
        text = re.sub(r"-[0-9a-f]{8}\b", "-DIGEST", re.sub(r"(?:[\w.-]*/)+(?=[\w.-])", "", text))
        text = " ".join(text.split()).replace("|", "/")
        told.append(text)
        found = rows()
        if os.environ.get("ASSENT_WRITE_FAULTS"):
            write({**found, fault: text})
        else:
            assert found.get(fault) == text, "the table is stale: ASSENT_WRITE_FAULTS=1 pytest tests/faults"

    yield tell
    assert told or request.session.testsfailed, f"nothing was told of '{fault}'"
