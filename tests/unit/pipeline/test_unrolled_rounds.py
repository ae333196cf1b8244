"""A block of rounds: the stages that it stands for, what they read, and what each mistake is answered with."""

from __future__ import annotations

import pytest

from assent.errors import RecipeError
from assent.pipeline.graph import build_graph
from assent.pipeline.recipe import Recipe, parse_recipe, recipe_from
from assent.pipeline.rounds import apportioned

pytestmark = pytest.mark.usefixtures("fakes")

RECIPE = """
stages:
  make: {}
  round:
    rounds: 3
    stages:
      draw: {uses: use, data: $previous.learn or $make}
      all: {uses: use, data: $draw/seen.json, others: [$make, $all.draw], named: {old: $older.learn or $make}}
      learn:
        uses: use
        data: $all
        model: $previous.learn
        others: [$earlier.learn/seen.json]
  end: {uses: use, data: $last.learn/report.json, named: {round: $all.learn or $make}}
"""


def unrolled(text: str = RECIPE, overrides: tuple[str, ...] = ()) -> Recipe:
    return parse_recipe(text, "x.yaml", overrides=overrides)


def error(text: str, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(RecipeError) as caught:
        unrolled(text, overrides)
    return str(caught.value)


def test_the_stages_of_every_round_stand_where_the_block_stands():
    rounds = [f"round{n}.{name}" for n in (1, 2, 3) for name in ("draw", "all", "learn")]
    assert [stage.name for stage in unrolled().stages] == ["make", *rounds, "end"]


def test_each_word_means_its_rounds():
    values = {stage.name: dict(stage.values) for stage in unrolled().stages}
    assert [values[f"round{n}.draw"]["data"] for n in (1, 2, 3)] == ["$make", "$round1.learn", "$round2.learn"]
    assert values["round2.all"]["data"] == "$round2.draw/seen.json"
    assert values["round1.all"]["others"] == ["$make", "$round1.draw"]
    assert values["round3.all"]["others"] == ["$make", "$round1.draw", "$round2.draw", "$round3.draw"]
    old = [values[f"round{n}.all"]["named"] for n in (1, 2, 3)]
    assert old == [{}, {"old0": "$make"}, {"old0": "$make", "old1": "$round1.learn"}]
    assert values["round1.learn"] == {"data": "$round1.all", "others": []}  # no round before the first
    assert values["round3.learn"]["model"] == "$round2.learn"
    assert values["round3.learn"]["others"] == ["$round1.learn/seen.json", "$round2.learn/seen.json"]
    assert values["end"] == {
        "data": "$round3.learn/report.json",
        "named": {"round0": "$make", "round1": "$round1.learn", "round2": "$round2.learn", "round3": "$round3.learn"},
    }


def test_the_same_stages_written_out_have_the_same_identities():
    written = {"stages": {s.name: {"uses": s.kind, **s.values} for s in unrolled().stages}}
    assert [(n.name, n.identity) for n in build_graph(recipe_from(written))] == [
        (n.name, n.identity) for n in build_graph(unrolled())
    ]


def test_more_rounds_leave_the_earlier_ones_as_they_are():
    three = {node.name: node.identity for node in build_graph(unrolled())}
    four = {node.name: node.identity for node in build_graph(unrolled(overrides=("round.rounds=4",)))}
    assert {name for name in three if three[name] != four[name]} == {"end"}
    assert {name for name in four if name not in three} == {"round4.draw", "round4.all", "round4.learn"}


CHANGES = """
stages:
  round:
    rounds: 2
    changes:
      2: {make: {rows: 7}}
    stages:
      make: {rows: 5, inner: {depth: 2}}
"""


def test_what_differs_in_one_round_and_on_the_command_line():
    def rows(*overrides: str) -> list[int]:
        return [stage.values["rows"] for stage in unrolled(CHANGES, overrides).stages]

    assert rows() == [5, 7]
    assert rows("round.make.rows=6") == [6, 7]
    assert rows("round1.make.rows=9", "round2.make.rows=8") == [9, 8]
    one = unrolled(CHANGES, ("round1.make.inner.depth=4",))
    assert [stage.values["inner"] for stage in one.stages] == [{"depth": 4}, {"depth": 2}]
    again = parse_recipe(one.text, "again")
    assert [stage.values for stage in again.stages] == [stage.values for stage in one.stages]


METHODS = """
stages:
  make: {}
  round:
    rounds: 2
    changes:
      1:
        policy: {methods: {first: {uses: learner, share: 0.3, note: a}, learner: {share: 0.7}}}
    stages:
      policy: {model: $previous.policy or $make, steps: 10, methods: {learner: {note: b}}}
  end: {uses: learner, model: $last.policy, max_steps: 1}
"""


@pytest.fixture
def learner(fakes, monkeypatch):
    """A kind of stage that takes steps from a model."""
    from assent.pipeline import schema
    from assent.pipeline.schema import StageSchema

    text = {"type": "string"}
    properties = {"model": {**text, "artifact": "model"}, "max_steps": {"type": "integer"}, "note": text}
    made = StageSchema("learner", "Learn", 1, True, properties, frozenset({"model", "max_steps"}), {})
    table = {**schema.stage_schemas(), "learner": made}
    monkeypatch.setattr(schema, "stage_schemas", lambda: table)


@pytest.mark.usefixtures("learner")
def test_methods_share_the_steps_and_each_starts_from_the_one_before():
    values = {stage.name: (stage.kind, dict(stage.values)) for stage in unrolled(METHODS).stages}
    assert values["round1.policy.first"] == ("learner", {"model": "$make", "max_steps": 3, "note": "a"})
    assert values["round1.policy"] == ("learner", {"model": "$round1.policy.first", "max_steps": 7})
    assert values["round2.policy"] == ("learner", {"model": "$round1.policy", "max_steps": 10, "note": "b"})
    assert "round2.policy.first" not in values
    places = {stage.name: stage.place("note") for stage in unrolled(METHODS).stages}
    assert places["round1.policy.first"] == "x.yaml, line 8"
    assert places["round2.policy"] == "x.yaml, line 10"


@pytest.mark.parametrize(
    ("steps", "shares", "each"),
    [
        (10, {"a": 0.3, "b": 0.7}, {"a": 3, "b": 7}),
        (7, {"a": 1, "b": 1, "c": 1}, {"a": 3, "b": 2, "c": 2}),
        (3, {"a": 100, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 1}),
        (100, {"a": 99, "b": 1}, {"a": 98, "b": 2}),
    ],
)
def test_steps_are_whole_and_add_up(steps, shares, each):
    assert apportioned(steps, shares) == each


def block(text: str) -> str:
    return f"stages:\n  make: {{}}\n  round:\n    rounds: 2\n    stages:\n      {text}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            block("make: {lerning_rate: 1}"),
            "x.yaml, line 6: unknown setting 'lerning_rate' in stage 'round1.make' (kind make); did you mean",
        ),
        (
            block("use:\n        data: $previous.usee or $make"),
            "x.yaml, line 7: '$previous.usee or $make' names a stage 'usee' that the block 'round' has not; "
            "did you mean 'use'?",
        ),
        (block("use: {data: $previous.use}"), "x.yaml, line 6: stage 'round1.use' (kind use) needs 'data'"),
        (block("use: {data: $all.use}"), "'$all.use' names several rounds; set it in a list or a mapping"),
        (block("use: {data: $last.use}"), "within the block of rounds an input names $previous, $earlier, $older and"),
        (block("use: {data: $make or $make}"), "'or' says what stands for round 0"),
        (block("use: {data: $make, others: [$all.use]}"), "the stages need each other in a cycle"),
        (
            block("use: {data: $make, named: {a: $all.use or $make, a0: $make}}"),
            "'a0' stands for two inputs: 'a0' gets the rounds' numbers",
        ),
        (block("use: {data: $make}\n  end: {uses: use, data: $previous.use}"), "behind the block of rounds an input"),
        (block("use: 3"), "x.yaml, line 6: stage 'use' expected a mapping of settings, got 3"),
        (block("mak: {}"), "x.yaml, line 6: unknown kind of stage 'mak'; did you mean 'make'?"),
        (block("make: {}\n  round1.make: {uses: make}"), "two stages have the name 'round1.make'"),
        (block("make: {methods: 3}"), "'methods' of 'round1.make' expected methods by name, got 3"),
        (block("make: {methods: {a: {}}}"), "'steps' of 'round1.make' expected a whole number"),
        (
            block("make: {steps: 3, methods: {a: {share: -1}}}"),
            "'share' of method 'a' expected a number above 0, got -1",
        ),
        ("stages:\n  round: {rounds: 2}\n", "x.yaml, line 2: the block of rounds 'round' needs 'stages:'"),
        ("stages:\n  round: {rounds: 0, stages: {make: {}}}\n", "expected a whole number from 1 to 1000, got 0"),
        (
            "stages:\n  round: {rounds: 2, stages: {make: {}}, chnages: {}}\n",
            "x.yaml, line 2: unknown key 'chnages' in the block of rounds 'round'; did you mean 'changes'?",
        ),
        (
            "stages:\n  r: {rounds: 2, stages: {make: {}}, changes: {3: {}}}\n",
            "'3' is no round of the block 'r', which",
        ),
        (
            "stages:\n  r: {rounds: 2, stages: {make: {}}, changes: {1: {mke: {}}}}\n",
            "the block 'r' has no stage 'mke'; did you mean 'make'?",
        ),
        (
            "stages:\n  r: {rounds: 1, stages: {make: {}}}\n  s: {rounds: 1, stages: {make: {}}}\n",
            "x.yaml, line 3: a recipe has one block of rounds, and 'r' is one",
        ),
    ],
)
def test_each_mistake_has_its_sentence(text, message):
    assert message in error(text)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("round3.make.rows=1", "--set round3.make.rows=1: '3' is no round of the block 'round', which has 1 to 2"),
        ("round1.mke.rows=1", "--set round1.mke.rows=1: the block 'round' has no stage 'mke'; did you mean 'make'?"),
        ("round2.make.rows=x", "--set round2.make.rows=x: 'rows' of stage 'round2.make' (kind make) expected a whole"),
        ("rond.make.rows=1", "the recipe has no stage 'rond'; did you mean 'round'?"),
    ],
)
def test_overrides_that_are_wrong(override, message):
    assert message in error(CHANGES, (override,))


def test_people_are_asked_in_every_round():
    text = "stages:\n  round:\n    rounds: 2\n    stages: {fail: {}}\n"
    assert [stage.values for stage in parse_recipe(text, "x", people=True).stages] == [{"people": True}] * 2
