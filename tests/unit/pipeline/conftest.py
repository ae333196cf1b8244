from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that the stage table can name fake_stages

import fake_stages

from assent.pipeline import schema, stages


class Silent:
    """A progress display and a list of what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def start(self, label, total, done=0): ...
    def advance(self, amount=1, **figures): ...
    def stop(self): ...

    def __call__(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def fakes(monkeypatch, tmp_path):
    """The fake stages in place of the real ones, and an empty current folder."""
    monkeypatch.setattr(schema, "STAGES", fake_stages.TABLE)
    monkeypatch.setattr(stages, "STAGES", fake_stages.TABLE)
    table = schema.from_table(json.loads(schema.dumps(schema.generate())))
    monkeypatch.setattr(schema, "stage_schemas", lambda: table)
    monkeypatch.chdir(tmp_path)
    fake_stages.CALLS.clear()
    return fake_stages.CALLS


@pytest.fixture
def silent() -> Silent:
    return Silent()
