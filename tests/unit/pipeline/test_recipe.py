"""Recipes: what is read, and what each mistake is answered with."""

from __future__ import annotations

import pytest

from assent.errors import RecipeError
from assent.pipeline.recipe import load_recipe, parse_recipe, recipe_from

pytestmark = pytest.mark.usefixtures("fakes")


def stage(text: str) -> str:
    return f"stages:\n  make: {{{text}}}\n"


def error(text: str, overrides=()) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "x.yaml", overrides=overrides)
    return str(caught.value)


def test_reads_kinds_seeds_and_numbers():
    recipe = parse_recipe(
        "name: n\nseed: 7\nstages:\n  make: {learning_rate: 1e-4, rows: 1e2}\n"
        "  again: {uses: make, seed: 3}\n  use: {data: $make/rows.jsonl}\n",
        "x.yaml",
    )
    assert [(s.name, s.kind, s.seed) for s in recipe.stages] == [
        ("make", "make", 7),
        ("again", "make", 3),
        ("use", "use", 7),
    ]
    assert recipe.stages[0].values == {"learning_rate": 1e-4, "rows": 100}
    assert type(recipe.stages[0].values["rows"]) is int
    assert str(recipe.out) == "runs/n"


@pytest.mark.parametrize(
    ("text", "value"), [("no", "no"), ("010", "10"), ("'1e-4'", "1e-4"), ("1:30", "1:30"), ("~", None)]
)
def test_a_text_is_what_it_looks_like(text, value):
    # a text setting takes no number, so 010 is refused rather than turned into eight
    if text == "010":
        assert "expected text or null, got 10" in error(stage(f"note: {text}"))
    else:
        assert parse_recipe(stage(f"note: {text}"), "x").stages[0].values["note"] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "stages:\n  make:\n    lerning_rate: 1\n",
            "x.yaml, line 3: unknown setting 'lerning_rate' in stage 'make' (kind make); did you mean 'learning_rate'?",
        ),
        (
            stage("learning_rate: fast"),
            "x.yaml, line 2: 'learning_rate' of stage 'make' (kind make) expected a number greater than 0, "
            "got the text 'fast'",
        ),
        (stage("learning_rate: -1"), "expected a number greater than 0, got -1"),
        (stage("learning_rate: .inf"), "expected a number greater than 0, got inf"),
        (stage("rows: 2.5"), "expected a whole number greater than 0, got 2.5"),
        (stage("rows: true"), "expected a whole number greater than 0, got true"),
        (stage("rows:"), "got nothing (null)"),
        (stage("schedule: linaer"), "expected one of linear, cosine, got the text 'linaer'; did you mean 'linear'?"),
        (stage("packing: yes"), "expected true or false, got the text 'yes'"),
        (stage("sizes: [1, x]"), "'sizes.1' of stage 'make' (kind make) expected a whole number, got the text 'x'"),
        (stage("sizes: 3"), "expected a list of whole numbers, got 3"),
        (stage("inner: {dept: 2}"), "'inner.dept' of stage 'make' (kind make): unknown setting 'dept'; did you mean"),
        ("stages:\n  mak: {}\n", "x.yaml, line 2: stage 'mak' has no 'uses', and its name is no kind of stage"),
        ("stages:\n  a: {uses: mkae}\n", "x.yaml, line 2: unknown kind of stage 'mkae'; did you mean 'make'?"),
        ("stages:\n  use: {}\n", "x.yaml, line 2: stage 'use' (kind use) needs 'data', which is missing: What to read"),
        ("stages:\n  use: {data: $mak}\n  make: {}\n", "names an unknown stage 'mak'; did you mean 'make'?"),
        ("stages:\n  use: {data: $make}\n  make: {}\n", "names stage 'make', which comes later; move 'make' above it"),
        ("stages:\n  use: {data: $use}\n", "the stages need each other in a cycle: use -> use"),
        (
            "stages:\n  a: {uses: use, data: $b}\n  b: {uses: use, data: $a}\n",
            "x.yaml, line 2: 'data' of stage 'a' (kind use): the stages need each other in a cycle: a -> b -> a",
        ),
        ("stages:\n  make: {}\n  use: {data: $make/../../x}\n", "is not of the form $stage or $stage/file"),
        ("stages:\n  make: {}\n  make: {}\n", "x.yaml, line 3: 'make' is given twice, first in line 2"),
        ("stages:\n  make: {rows: 1\n", "not YAML"),
        ("stages:\n\tmake: {}\n", "x.yaml, line 2: not YAML: found character"),
        ("", "x.yaml: the recipe is empty; it needs at least 'stages:'"),
        ("# only a comment\n", "the recipe is empty"),
        ("- a\n", "expected a mapping with 'stages:', got a list"),
        ("stages: {}\n", "x.yaml, line 1: expected 'stages:' with at least one stage"),
        ("name: x\n", "expected 'stages:' with at least one stage, got none"),
        ("stagse:\n  make: {}\n", "x.yaml, line 1: unknown key 'stagse' in the recipe; did you mean 'stages'?"),
        ("name: a b\n" + stage(""), "x.yaml, line 1: 'name' expected letters"),
        ("seed: -1\n" + stage(""), "x.yaml, line 1: 'seed' expected a whole number at least 0, got -1"),
        ("stages:\n  make: 3\n", "stage 'make' expected a mapping of settings, got 3"),
        ("stages:\n  run.json: {uses: make}\n", "'run.json' cannot be a stage's name"),
        ("stages: &a\n  make: *a\n", "an alias (*) contains itself"),
        ("stages:\n  make: !!python/object:os.system {}\n", "x.yaml, line 2: unknown setting"),
        ("stages:\n  make: {note: !!binary aGk=}\n", "is not used in recipes"),
    ],
)
def test_each_mistake_has_its_sentence(text, message):
    if "python/object" in text:  # a tag on a mapping changes nothing: no object is ever built
        assert parse_recipe(text, "x.yaml").stages[0].values == {}
        return
    assert message in error(text)


def test_merge_keys_share_settings():
    recipe = parse_recipe(
        "stages:\n  make: &m {rows: 5, packing: true}\n  b: {<<: *m, uses: make, rows: 6}\n", "x.yaml"
    )
    assert recipe.stages[1].values == {"rows": 6, "packing": True}


def test_overrides():
    recipe = parse_recipe(
        "stages:\n  make: {rows: 1}\n",
        "x.yaml",
        overrides=["make.learning_rate=1e-4", "make.note=2024", "make.inner.depth=3", "seed=5", "make.sizes=[1, 2]"],
    )
    assert recipe.stages[0].values == {
        "rows": 1,
        "learning_rate": 1e-4,
        "note": "2024",
        "inner": {"depth": 3},
        "sizes": [1, 2],
    }
    assert recipe.stages[0].seed == 5
    assert parse_recipe(recipe.text, "again").stages[0].values == recipe.stages[0].values


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("make.lerning_rate=1", "--set make.lerning_rate=1: unknown setting 'lerning_rate'"),
        ("make.rows=many", "--set make.rows=many: 'rows' of stage 'make' (kind make) expected a whole number"),
        ("mkae.rows=1", "--set mkae.rows=1: the recipe has no stage 'mkae'; did you mean 'make'?"),
        ("make.rows", "--set make.rows: expected STAGE.SETTING=VALUE"),
        ("sed=1", "--set sed=1: unknown key 'sed'; did you mean 'seed'?"),
        ("make.rows.x=1", "is no mapping of settings"),
        ("make.sizes=[1", "--set make.sizes=[1, line 1: not YAML"),
    ],
)
def test_overrides_that_are_wrong(override, message):
    assert message in error("stages:\n  make: {rows: 1}\n", [override])


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)) + "stages: {}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "counting what aliases (*) repeat"),
        ("[" * 5_000, "nested too deeply"),
        ("stages:\n  make:\n    rows: " + "9" * 5_000, "line 3: '999"),
        ("stages:\n  make:\n    rows: 0x" + "f" * 5_000, "line 3: '0xff"),
        ('stages:\n  make:\n    "\\ud800": 1', "line 3: half of a surrogate pair"),
        ('stages:\n  make:\n    word: "\\ud800"', "line 3: half of a surrogate pair"),
        ('out: "a\\0b"\nstages: {make: {}}', "line 1: a text with the character NUL"),
    ],
)
def test_what_would_harm_a_reader_of_yaml(text, message):
    assert message in error(text)


@pytest.mark.parametrize("stages", ["5", "[a]", "words", "null"])
def test_an_override_of_what_has_no_stages(stages):
    assert "the recipe has no stage 'make'" in error(f"stages: {stages}\n", ["make.rows=1"])


def test_files(tmp_path):
    with pytest.raises(RecipeError, match="no such recipe"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="UTF-8"):
        load_recipe(tmp_path / "b.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_text(stage(""))
    assert load_recipe(tmp_path).name == tmp_path.name


def test_people_and_python_values():
    recipe = recipe_from({"stages": {"fail": {"how": "x"}, "make": None}}, people=True)
    assert recipe.stage("fail").values["people"] is True
    assert "people" not in recipe.stage("make").values
