"""Identities, reasons, and inputs that are not there."""

from __future__ import annotations

import pytest

from assent.errors import RecipeError, RunError
from assent.pipeline.graph import build_graph, is_hub_name
from assent.pipeline.plan import as_text, plan
from assent.pipeline.recipe import load_recipe
from assent.pipeline.run import run_recipe

pytestmark = pytest.mark.usefixtures("fakes")
TEXT = "name: r\nstages:\n  make: {rows: 2}\n  use: {data: $make/rows.jsonl}\n"


def load(tmp_path, text=TEXT, *overrides):
    (tmp_path / "r.yaml").write_text(text)
    return load_recipe(tmp_path / "r.yaml", overrides)


def reasons(recipe):
    return {item.name: (item.action, item.reason) for item in plan(recipe)}


def test_reasons(tmp_path, silent):
    recipe = load(tmp_path)
    assert reasons(recipe) == {"make": ("run", "never ran"), "use": ("run", "never ran; after make")}
    run_recipe(recipe, say=silent, progress=silent)
    assert reasons(recipe) == {"make": ("done", "nothing changed"), "use": ("done", "nothing changed")}
    assert "everything is done" in as_text(plan(recipe))

    changed = reasons(load(tmp_path, TEXT, "make.learning_rate=0.002", "seed=1"))
    assert changed["make"] == ("run", "seed changed: 0 -> 1; settings changed: learning_rate 0.001 -> 0.002")
    assert changed["use"] == ("run", "seed changed: 0 -> 1; parent make will run")


def test_what_changes_no_identity(tmp_path):
    def first(*overrides):
        return build_graph(load(tmp_path, TEXT, *overrides))[0].identity

    assert first() == first("make.learning_rate=0.001") == first("make.device=cuda") == first("name=other")
    assert len({first(), first("make.rows=3"), first("seed=1"), first("make.inner.depth=2")}) == 4


def test_a_changed_file_is_seen(tmp_path, silent):
    data = tmp_path / "data.jsonl"
    data.write_text("a\n")
    recipe = load(tmp_path, "name: r\nstages:\n  use: {data: data.jsonl, model: gpt2}\n")
    run_recipe(recipe, say=silent, progress=silent)
    data.write_text("b\n")
    assert reasons(recipe)["use"] == ("run", "data.jsonl changed")
    data.write_text("a\n")
    assert reasons(recipe)["use"][0] == "done"
    assert reasons(load(tmp_path, recipe.text, "use.model=org/name"))["use"][1] == "model changed: gpt2 -> org/name"


def test_a_missing_input_names_its_place(tmp_path):
    (tmp_path / "prompts.jsonl").write_text("x\n")
    text = "stages:\n  use:\n    data: promts.jsonl\n"
    with pytest.raises(RecipeError) as caught:
        plan(load(tmp_path, text))
    assert "r.yaml, line 3: 'data' of stage 'use': there is no file or folder" in str(caught.value)
    assert "did you mean 'prompts.jsonl'?" in str(caught.value)
    with pytest.raises(RecipeError, match=r"--set use\.data=\./gpt2"):
        plan(load(tmp_path, text, "use.data=./gpt2"))


def test_paths_are_looked_for_beside_the_recipe_first(tmp_path, monkeypatch):
    home = tmp_path / "project"
    home.mkdir()
    (home / "data.jsonl").write_text("beside the recipe\n")
    (home / "r.yaml").write_text("stages:\n  use: {data: data.jsonl}\n")
    (tmp_path / "data.jsonl").write_text("in the current folder\n")
    (node,) = build_graph(load_recipe("project/r.yaml"))
    assert node.inputs[0].path == home.relative_to(tmp_path) / "data.jsonl"
    (node,) = build_graph(load_recipe("project/r.yaml", ["use.data=data.jsonl"]))
    assert str(node.inputs[0].path) == "data.jsonl"


@pytest.mark.parametrize(
    ("name", "hub"),
    [
        ("gpt2", True),
        ("stanfordnlp/sst2", True),
        ("org/name@main", True),
        ("prompts.jsonl", False),
        ("data/prompts.jsonl", False),
        ("./gpt2", False),
        ("/gpt2", False),
        ("~/gpt2", False),
        ("a/b/c", False),
        ("my-model", False),
        ("", False),
    ],
)
def test_hub_names(name, hub):
    assert is_hub_name(name) is hub


def test_damaged_folders(tmp_path, silent):
    recipe = load(tmp_path)
    run_recipe(recipe, say=silent, progress=silent)
    manifest = plan(recipe)[0].folder / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"manifest\.json: cannot be read as JSON"):
        plan(recipe)
    manifest.write_text(whole.replace('"rows": 2', '"rows": 9'))
    with pytest.raises(RunError, match="was edited or damaged"):
        plan(recipe)
    manifest.unlink()
    with pytest.raises(RunError, match="has no manifest"):
        plan(recipe)
