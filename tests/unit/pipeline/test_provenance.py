"""What a result was made of: the content of functions, files that change under a run, and the same again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from assent.errors import RecipeError, RunError
from assent.pipeline.graph import build_graph, module_file
from assent.pipeline.plan import plan
from assent.pipeline.rebuild import compared, recipe_of_manifest
from assent.pipeline.recipe import parse_recipe, recipe_from
from assent.pipeline.run import run, run_recipe, run_stage
from assent.runs.manifest import read_manifest

CHAIN = {"name": "r", "stages": {"make": {"rows": 2}, "use": {"data": "$make/rows.jsonl", "others": ["$make"]}}}


def with_rule(rule: str, folder: Path) -> str:
    text = "name: r\nstages:\n  make: {}\n  use: {data: $make/rows.jsonl, rule: '" + rule + "'}\n"
    (folder / "r.yaml").write_text(text)
    return text


def identity(text: str, folder: Path) -> str:
    return build_graph(parse_recipe(text, "r.yaml", path=folder / "r.yaml"))[1].identity


def test_a_functions_content_is_part_of_the_identity(fakes, silent, tmp_path):
    rules = tmp_path / "rules.py"
    rules.write_text("def a(prompt, text):\n    return 1.0\n")
    text = with_rule("rules.py:a", tmp_path)
    first = identity(text, tmp_path)
    assert identity(with_rule("rules.py:b", tmp_path), tmp_path) != first
    recipe = parse_recipe(with_rule("rules.py:a", tmp_path), "r.yaml", path=tmp_path / "r.yaml")
    folder = run_recipe(recipe, say=silent, progress=silent)
    record = read_manifest(folder / "use").inputs[-1]
    assert (record.name, record.source, record.artifact, record.path) == ("rule", "rules.py:a", "code", str(rules))
    assert f'"rule":"{rules}:a"' in (folder / "use/seen.json").read_text()  # found beside the recipe
    rules.write_text("def a(prompt, text):\n    return 2.0\n")
    assert identity(text, tmp_path) != first
    assert [(item.action, item.reason) for item in plan(recipe)] == [
        ("done", "nothing changed"),
        ("run", "rules.py:a changed"),
    ]
    with pytest.raises(RecipeError, match=r"'rule' of stage 'use': there is no file .*rule\.py'.*'rules.py'"):
        identity(with_rule("rule.py:a", tmp_path), tmp_path)


def test_a_modules_content_counts_too_and_nothing_is_imported(tmp_path, monkeypatch):
    package = tmp_path / "heavy"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "inner.py").write_text("x = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert module_file("heavy.inner") == package / "inner.py"
    assert module_file("heavy") == package / "__init__.py"
    assert "heavy" not in sys.modules
    assert [module_file(name) for name in ("heavy.none", "none.at.all", "sys", "")] == [None] * 4


def test_a_function_in_a_module(fakes, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_rules.py").write_text("def a(prompt, text): return 1.0")
    first = identity(with_rule("my_rules:a", tmp_path), tmp_path)
    (tmp_path / "my_rules.py").write_text("def a(prompt, text): return 2.0")
    assert identity(with_rule("my_rules:a", tmp_path), tmp_path) != first


def test_a_file_edited_while_the_run_waits_its_turn(fakes, silent, tmp_path, monkeypatch):
    data = tmp_path / "mine.jsonl"
    data.write_text("{}\n")
    recipe = recipe_from({"name": "r", "stages": {"make": {}, "use": {"data": str(data)}}})
    real = fakes.append

    class Edits(list):
        def append(self, name):
            real(name)
            data.write_text('{"edited": 1}\n')

    monkeypatch.setattr("fake_stages.CALLS", Edits())
    with pytest.raises(RunError, match=r"mine\.jsonl: was changed after this run had looked at it"):
        run_recipe(recipe, say=silent, progress=silent)
    assert fakes == ["make"]
    monkeypatch.undo()


def test_an_artifact_edited_after_it_was_made(fakes, silent):
    folder = run(CHAIN, say=silent, progress=silent)
    rows = folder / "make" / "rows.jsonl"
    before = rows.read_text()
    rows.write_text(before + "{}\n")
    with pytest.raises(RunError, match=r"rows\.jsonl: was changed after stage 'make' had made it; put"):
        run(CHAIN, overrides=["use.model=gpt2"], say=silent, progress=silent)
    rows.write_text(before)
    run(CHAIN, overrides=["use.model=gpt2"], say=silent, progress=silent)
    assert fakes == ["make", "use", "use"]


def test_the_same_again_from_the_manifest_alone(fakes, silent, tmp_path):
    data, rules = tmp_path / "mine.jsonl", tmp_path / "rules.py"
    data.write_text("{}\n")
    rules.write_text("")
    values = {"data": str(data), "others": ["$make", "$make/rows.jsonl"], "named": {"a": "$make"}, "rule": f"{rules}:f"}
    folder = run({"name": "r", "stages": {"make": {"rows": 2, "seed": 7}, "use": values}}, say=silent, progress=silent)
    manifest = read_manifest(folder / "use")
    os.rename(folder, tmp_path / "elsewhere")
    recipe = recipe_of_manifest(tmp_path / "elsewhere" / "use", ["out=again"])
    again = run_recipe(recipe, say=silent, progress=silent)
    assert {name: read_manifest(again / name).identity for name in ("make", "use")} == {
        name: entry["identity"] for name, entry in manifest.recipe.items()
    }
    assert (again / "make/rows.jsonl").read_text() == (tmp_path / "elsewhere/make/rows.jsonl").read_text()
    assert compared(read_manifest(tmp_path / "elsewhere" / "make"), again / "make") == (
        "again/make: all 1 files have the same digests as those of the manifest"
    )
    assert "other bytes than those of the manifest in seen.json" in compared(manifest, again / "use")  # it names paths
    data.write_text("{} \n")
    with pytest.raises(RunError, match=r"mine\.jsonl changed since stage 'use' read it, so the same cannot"):
        recipe_of_manifest(tmp_path / "elsewhere" / "use" / "manifest.json")
    with pytest.raises(RunError, match="no finished stage there"):
        recipe_of_manifest(tmp_path)


def test_what_a_kill_left_beside_is_not_part_of_the_result(fakes, silent):
    options = {"say": silent, "progress": silent}
    with pytest.raises(KeyboardInterrupt):
        run_stage("fail", {"how": "interrupt", "leave": "step 1"}, "o", **options)
    partial = Path("o.partial")
    (partial / ".rows.jsonl.x1y2.part").write_text("half")
    (partial / ".seen.json.77.tmp").write_text("half")
    run_stage("fail", {"how": "interrupt", "leave": "step 1"}, "o", **options)
    assert sorted(os.listdir("o")) == ["checkpoint.txt", "manifest.json"]
    assert read_manifest("o").outputs.keys() == {"checkpoint.txt"}
