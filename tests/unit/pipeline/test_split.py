from __future__ import annotations

import json

import pytest

from assent.errors import DataError
from assent.pipeline.run import run_stage


def test_groups_stay_together_on_every_machine(tmp_path, silent):
    rows = [json.dumps({"sentence": i // 3, "text": i}) for i in range(60)]
    (tmp_path / "d.jsonl").write_text("\n".join(rows))
    settings = {"data": str(tmp_path / "d.jsonl"), "group": "sentence"}
    out = run_stage("split", settings, tmp_path / "o", say=silent, progress=silent)
    first, second = (
        {json.loads(line)["sentence"] for line in (out / f"{name}.jsonl").read_text().splitlines()}
        for name in ("first", "second")
    )
    assert not first & second
    assert first | second == set(range(20))
    assert 4 <= len(second) <= 16


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}\n", "line 1: has no field 'g'"), ("x\n", "line 1: not JSON"), ("", "too few groups to split")],
)
def test_wrong_rows(tmp_path, silent, content, message):
    (tmp_path / "d.jsonl").write_text(content)
    settings = {"data": str(tmp_path / "d.jsonl"), "group": "g"}
    with pytest.raises(DataError, match=message):
        run_stage("split", settings, tmp_path / "o", say=silent, progress=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["d.jsonl"]
