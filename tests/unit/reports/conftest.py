from __future__ import annotations

from pathlib import Path

import fixture
import pytest

from assent.reports.extract import extract
from assent.reports.page import render


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up run."""
    return fixture.write_run(tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="session")
def page(run: Path) -> str:
    """Its report: two dozen pictures, which take a second."""
    return render(extract(run))
