"""The table has a row for each fault that a test injects, and no other."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from table import rows

HERE = Path(__file__).parent


@pytest.mark.skipif("ASSENT_WRITE_FAULTS" in os.environ, reason="the table is being written")
def test_every_fault_has_its_row() -> None:
    sources = "".join(file.read_text(encoding="utf-8") for file in sorted(HERE.glob("test_*.py")))
    assert rows()
    assert set(rows()) == set(re.findall(r'mark\.fault\("([^"]+)"\)', sources))
