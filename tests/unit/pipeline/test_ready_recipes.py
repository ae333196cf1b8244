"""The recipes that come with the package: every stage and setting is one that exists, and every input has a maker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from assent.pipeline.plan import plan
from assent.pipeline.recipe import StageSpec, load_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
SELF_CONTAINED = ("quickstart", "apprenticeship", "judge-first", "rebel", "rounds")
"""Those that read nothing from outside, so that a plan needs neither files nor network."""


TASKS = sorted(path.stem for path in (RECIPES / "tasks").glob("*.yaml"))


@pytest.mark.parametrize(
    "path", sorted([*RECIPES.glob("*.yaml"), *RECIPES.glob("tasks/*.yaml")]), ids=lambda path: path.stem
)
def test_it_is_read_and_has_the_name_of_its_file(path):
    assert load_recipe(path).name == path.stem


@pytest.mark.parametrize("name", SELF_CONTAINED)
def test_its_plan_runs_every_stage_and_reads_no_stage_before_it_is_made(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    made: set[str] = set()
    for item, stage in zip(plan(recipe), recipe.stages, strict=True):
        assert (item.name, item.action) == (stage.name, "run")
        assert parents(stage.values) <= made
        made.add(item.name)
    ends = {"rebel": {"rebel", "evaluate"}, "rounds": {"round3.policy", "round3.evaluate"}}
    assert {"sft", "report"} | ends.get(name, {"ppo", "evaluate"}) <= made


@pytest.mark.parametrize("name", TASKS)
def test_a_tasks_plan_runs_every_stage_and_its_judge_is_no_reward(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(RECIPES / f"tasks/{name}.yaml")
    assert [item.action for item in plan(recipe)] == ["run"] * len(recipe.stages)
    stages = {stage.name: stage.values for stage in recipe.stages}
    judged = stages["evaluate"]
    assert judged["shown"] >= stages["world"]["eval_prompts"]  # benchmarks.tasks reads the judge's score of each answer
    by = [value for value in (judged.get("judge"), judged.get("judge_function")) if value]
    assert len(by) == 1
    others = [value for stage, values in stages.items() if stage != "evaluate" for value in texts(values)]
    assert by[0] not in others


@pytest.mark.parametrize("name", TASKS)
def test_what_its_head_says_of_a_real_model_fits_the_recipe(name):
    path = RECIPES / f"tasks/{name}.yaml"
    head = path.read_text(encoding="utf-8").partition("name: ")[0]
    sets = re.findall(r"--set (\S+)", head)
    changed = {stage.name: stage.values for stage in load_recipe(path, sets).stages}
    assert changed["base"]["max_steps"] == 1
    judged = changed["evaluate"]
    assert not [key for key in ("data", "judge_function") if re.search("world|data.tasks", str(judged.get(key)))]


def test_every_task_has_its_page_with_the_command_that_runs_it():
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (RECIPES.parent / "docs/tasks").glob("*.md")}
    for name in TASKS:
        assert f"assent run recipes/tasks/{name}.yaml" in pages[name]


def texts(value) -> list[str]:
    """Every text within."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [value] if isinstance(value, str) else [text for item in inner for text in texts(item)]


def parents(value) -> set[str]:
    if isinstance(value, str):
        return {value[1:].split("/")[0]} if value.startswith("$") else set()
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return {name for item in inner for name in parents(item)}


def stages_of(name: str) -> dict[str, StageSpec]:
    return {stage.name: stage for stage in load_recipe(RECIPES / f"{name}.yaml").stages}


def test_apprenticeship_is_the_quickstarts_world_without_a_ranking():
    apprenticeship, quickstart = (
        {stage.name: stage for stage in load_recipe(RECIPES / f"{name}.yaml").stages}
        for name in ("apprenticeship", "quickstart")
    )
    for name in ("world", "base", "sft"):
        assert apprenticeship[name].values == quickstart[name].values
    assert {stage.kind for stage in apprenticeship.values()} & {"collect", "comparisons", "reward"} == set()
    assert apprenticeship["ppo"].values["reward"] == "$inverse-rl"
    # the true preference judges and teaches nothing
    assert [s.name for s in apprenticeship.values() if "movie_world" in str(s.values)] == ["evaluate"]


def test_rounds_starts_from_the_quickstarts_model_and_measures_by_what_no_stage_was_trained_on():
    rounds, quickstart = stages_of("rounds"), stages_of("quickstart")
    for name in ("world", "base", "sft"):
        assert rounds[name].values == quickstart[name].values
    told = {name for name, stage in rounds.items() if "movie_world" in str(stage.values)}
    assert told == {f"round{n}.{stage}" for n in (1, 2, 3) for stage in ("collect", "evaluate")}
    assert parents(rounds["round3.answers"].values) == {f"round{n}.comparisons" for n in (1, 2, 3)}


def test_rebel_is_the_quickstarts_world_with_the_published_four_parts():
    rebel, quickstart = (
        {s.name: s for s in load_recipe(RECIPES / f"{n}.yaml").stages} for n in ("rebel", "quickstart")
    )
    for name in ("world", "base", "sft", "sample", "collect", "comparisons", "reward"):
        assert rebel[name].values == quickstart[name].values
    reads = {name: parents(rebel[name].values) for name in ("generate", "score", "filter", "rebel")}
    assert reads == {
        "generate": {"sft", "world"},
        "score": {"generate", "reward"},
        "filter": {"score", "sft"},
        "rebel": {"sft", "filter"},
    }
    assert not {"reward", "reward_function"} & set(rebel["rebel"].values)
