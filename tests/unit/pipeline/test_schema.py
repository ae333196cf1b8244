"""The committed schema is that of the code, and the schema of recipes hangs together."""

from __future__ import annotations

import json
import re

import pytest

from assent.pipeline import schema
from assent.pipeline.check import Mismatch, conform
from assent.pipeline.project import TEMPLATES, init_project
from assent.pipeline.recipe import load_recipe
from assent.pipeline.stages import STAGES


def test_schema_json_is_not_stale():
    assert schema.PATH.read_text(encoding="utf-8") == schema.dumps(schema.generate()), (
        "schema.json is stale: run 'python -m assent.pipeline.schema'"
    )


def test_every_setting_of_every_stage_is_documented():
    bare = [
        f"{kind}.{name}"
        for kind, stage in schema.stage_schemas().items()
        for name, item in stage.properties.items()
        if not item.get("description")
    ]
    assert not bare


def test_recipe_schema_refers_to_what_it_defines(fakes):
    whole = schema.recipe_schema()
    text = json.dumps(whole)
    for target in set(re.findall(r'"#/\$defs/([^"]+)"', text)):
        assert target in whole["$defs"]
    assert '"artifact"' not in text
    make = whole["$defs"]["stage.make"]
    assert make["additionalProperties"] is False
    assert make["properties"]["inner"]["$ref"] == "#/$defs/make.Inner"
    assert conform({"uses": "make", "rows": 2}, make, whole["$defs"]) == {"uses": "make", "rows": 2}
    with pytest.raises(Mismatch, match="did you mean 'rows'"):
        conform({"rwos": 2}, make, whole["$defs"])


def test_project_template(tmp_path):
    made = init_project(tmp_path / "p")
    assert {path.name for path in made} >= {"recipe.yaml", "prompts.jsonl", "demonstrations.jsonl", ".gitignore"}
    text = (TEMPLATES / "recipe.yaml").read_text()
    kinds = re.findall(r"^  (\w+):$", text, re.MULTILINE)
    assert kinds
    if set(kinds) <= set(STAGES):
        assert [stage.kind for stage in load_recipe(tmp_path / "p").stages] == kinds
    for name in ("prompts.jsonl", "demonstrations.jsonl"):
        for line in (tmp_path / "p" / name).read_text().splitlines():
            assert json.loads(line)["prompt"]
