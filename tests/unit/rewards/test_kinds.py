"""Sources as folders: written, moved with their run, read back, refused when they changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from assent.errors import DataError, ModelError, RecipeError
from assent.rewards.function import FunctionSettings
from assent.rewards.kinds import KINDS, is_source, load_kind, read_source, write_source
from assent.rewards.load import load_reward
from assent.rewards.pattern import PatternSettings
from assent.types import Completion, Prompt

PROMPT, COMPLETION = Prompt("p", text="?"), Completion("p/0", "p", "one two")


def test_every_kind_calls_itself_so():
    assert [load_kind(name).name for name in KINDS] == list(KINDS)


def test_a_source_is_read_back(tmp_path: Path):
    assert not is_source(tmp_path)
    write_source(tmp_path, load_kind("pattern"), PatternSettings(pattern="one", found=2.0), tmp_path)
    assert load_reward(str(tmp_path)).score([PROMPT], [COMPLETION]).values == (2.0,)
    with pytest.raises(RecipeError, match="is no reward model"):
        load_reward(str(tmp_path), weights={"helpful": 1.0})


def test_an_input_within_the_run_moves_with_it(tmp_path: Path):
    run = tmp_path / "run"
    (run / "words").mkdir(parents=True)
    (run / "rules").mkdir()
    (run / "rules" / "rule.py").write_text("def words(prompt, text):\n    return float(len(text.split()))\n")
    settings = FunctionSettings(function=f"{run}/rules/rule.py:words")
    write_source(run / "words", load_kind("function"), settings, run)
    assert str(tmp_path) not in (run / "words" / "reward.json").read_text()
    shutil.move(run, tmp_path / "moved")
    moved = tmp_path / "moved"
    assert read_source(moved / "words").score([PROMPT], [COMPLETION]).values == (2.0,)
    (moved / "rules" / "rule.py").write_text("def words(prompt, text):\n    return 0.0\n")
    with pytest.raises(ModelError, match=r"rule.py: was changed or moved after .*reward.json was made"):
        read_source(moved / "words")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not the description"), ({"source": "oracle", "settings": {}, "digests": {}}, "kind 'oracle'; known: pat")],
)
def test_what_describes_no_source_is_refused(tmp_path: Path, content: object, message: str):
    (tmp_path / "reward.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_source(tmp_path)
