"""Runs: nothing twice, nothing half-written, and going on after each way of stopping."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import fake_stages
import pytest

from assent.errors import DataError, RecipeError, RunError
from assent.pipeline.outcome import latest_run
from assent.pipeline.plan import plan
from assent.pipeline.recipe import parse_recipe, recipe_from
from assent.pipeline.run import run, run_recipe, run_stage
from assent.pipeline.stage import Waiting
from assent.pipeline.status import as_text, status
from assent.runs.events import EventLog
from assent.runs.lineage import trace
from assent.runs.lock import lock
from assent.runs.manifest import read_manifest

CHAIN = {"name": "r", "stages": {"make": {"rows": 2}, "use": {"data": "$make/rows.jsonl", "others": ["$make"]}}}


def failing(how: str, leave: str = ""):
    return recipe_from({"name": "f", "stages": {"make": {}, "fail": {"how": how, "leave": leave}}})


def test_twice_does_no_work_twice(fakes, silent):
    folder = run(CHAIN, say=silent, progress=silent)
    assert fakes == ["make", "use"]
    run(CHAIN, say=silent, progress=silent)
    assert fakes == ["make", "use"]
    assert folder == Path("runs/r")
    assert os.readlink(folder / "make").startswith("stages/make-")
    assert (folder / "make/rows.jsonl").read_text().count("\n") == 2
    assert any(line.startswith("total") for line in silent.said)

    manifest = read_manifest(folder / "use")
    assert manifest.inputs[0].parent == read_manifest(folder / "make").identity
    made = str(folder / os.readlink(folder / "make"))
    assert json.loads((folder / "use/seen.json").read_text())["others"] == [made]
    assert read_manifest(folder / "make").metrics == {"rows": 2, "loss": "nan"}
    summary = json.loads((folder / "run.json").read_text())
    assert summary["state"] == "finished"
    assert [entry["stage"] for entry in summary["stages"]] == ["make", "use"]
    report = json.loads((folder / "report.json").read_text())
    assert report == {"rows": 2, "wall_seconds": summary["wall_seconds"]}
    assert (folder / "report.html").exists()
    assert not (folder / ".lock").exists()
    assert latest_run() == folder
    assert status(folder)["state"] == "finished"
    (node,) = trace(folder)
    assert node.manifest.stage == "use"


def test_the_standing_of_a_run_whose_log_was_edited_or_tells_of_publishing(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.append("run_started", stages=["sft"])
    log.append("stage_finished", stage="sft", identity="i", seconds=1.0)
    log.append("stage_published", identity="i", repository="me/model")
    log.append("run_finished", seconds=1.0)
    with open(log.path, "a", encoding="utf-8") as file:
        for row in (
            {"event": "stage_started", "time": "now"},
            {"time": 1.0},
            {"event": "run_started", "time": 2.0},
            [1],
        ):
            file.write(json.dumps(row) + "\n")
    found = status(tmp_path)
    assert "sft" in as_text(found)


def test_only_what_changed_runs_again(fakes, silent):
    run(CHAIN, say=silent, progress=silent)
    (Path("runs/r") / os.readlink("runs/r/use") / "manifest.json").unlink()
    with pytest.raises(RunError, match="has no manifest"):
        run(CHAIN, say=silent, progress=silent)
    run(CHAIN, overrides=["seed=1"], say=silent, progress=silent)
    assert fakes == ["make", "use", "make", "use"]
    assert len(list(Path("runs/r/stages").glob("make-*"))) == 2


def test_named_inputs_keep_their_names(fakes, silent):
    stages = {"make": {}, "use": {"data": "$make/rows.jsonl", "named": {"a": "$make", "b": "gpt2"}, "store": "s.db"}}
    run({"name": "n", "stages": stages}, say=silent, progress=silent)
    seen = json.loads(Path("runs/n/use/seen.json").read_text())
    assert seen["named"] == {"a": seen["data"].removesuffix("/rows.jsonl"), "b": "gpt2"}
    assert [item.name for item in read_manifest("runs/n/use").inputs] == ["data", "named.a", "named.b", "store"]


def test_waiting_goes_on_later(fakes, silent):
    recipe = failing("waiting", leave="asked")
    with pytest.raises(Waiting, match="3 of 10"):
        run_recipe(recipe, say=silent, progress=silent)
    found = status("runs/f")
    assert found["state"] == "waiting"
    assert "label at" in as_text(found)
    assert plan(recipe)[1].action == "resume"
    run_recipe(recipe, say=silent, progress=silent)
    assert read_manifest("runs/f/fail").metrics == {"resumed": 1}
    assert fakes == ["make", "fail waiting", "fail waiting"]


@pytest.mark.parametrize("how", ["interrupt", "terminate"])
def test_stopped_runs_keep_their_checkpoint(fakes, silent, how):
    recipe = failing(how, leave="step 5")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, say=silent, progress=silent)
    (partial,) = Path("runs/f/stages").glob("fail-*.partial")
    assert (partial / "checkpoint.txt").read_text() == "step 5"
    assert status("runs/f")["state"] == "interrupted"
    run_recipe(recipe, say=silent, progress=silent)
    assert not partial.exists()
    assert status("runs/f")["state"] == "finished"


def test_killed_outright(fakes, silent, tmp_path):
    text = "name: f\nstages:\n  make: {}\n  fail: {how: kill, leave: step 5}\n"
    (tmp_path / "f.yaml").write_text(text)
    command = [sys.executable, fake_stages.__file__, "run", "f.yaml"]
    assert subprocess.run(command, capture_output=True).returncode == -9
    assert Path("runs/f/.lock").exists()
    assert status("runs/f")["state"] == "killed"
    run_recipe(parse_recipe(text, "f.yaml"), say=silent, progress=silent)
    assert fakes == ["fail kill"]
    assert read_manifest("runs/f/fail").metrics == {"resumed": 1}


@pytest.mark.parametrize("moment", ["before the checkpoints go", "before the name"])
def test_a_kill_after_the_manifest_repeats_nothing(fakes, silent, monkeypatch, moment):
    recipe = failing("waiting", leave="asked")
    with pytest.raises(Waiting):
        run_recipe(recipe, say=silent, progress=silent)
    (partial,) = Path("runs/f/stages").glob("fail-*.partial")
    (partial / "checkpoints").mkdir()

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "before the name":
            patch.setattr(Path, "rename", killed)
        else:
            patch.setattr("assent.pipeline.attempt.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(recipe, say=silent, progress=silent)
    written = read_manifest(partial)
    run_recipe(recipe, say=silent, progress=silent)
    assert fakes == ["make", "fail waiting", "fail waiting"]
    assert read_manifest("runs/f/fail") == written
    assert not Path("runs/f/fail/checkpoints").exists()


def test_a_manifest_that_was_edited_does_not_make_a_folder_whole(fakes, silent, monkeypatch):
    recipe = recipe_from({"name": "f", "stages": {"make": {}}})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_recipe(recipe, say=silent, progress=silent)
    (partial,) = Path("runs/f/stages").glob("make-*.partial")
    manifest = partial / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"rows": 3', '"rows": 9'))
    run_recipe(recipe, say=silent, progress=silent)
    assert fakes == ["make", "make"]
    assert read_manifest("runs/f/make").metrics["rows"] == 3


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("full", RunError, "no space left on the disk"),
        ("full elsewhere", RunError, "no space left on the disk"),
        ("data", DataError, r"x\.jsonl, line 3: column 'prompt' is missing"),
        ("bug", ZeroDivisionError, "a fault"),
    ],
)
def test_failures_leave_nothing_half_written(fakes, silent, how, kind, message):
    with pytest.raises(kind, match=message):
        run_recipe(failing(how), say=silent, progress=silent)
    assert not list(Path("runs/f/stages").glob("fail*"))
    assert status("runs/f")["state"] == "failed"
    assert not Path("runs/f/.lock").exists()


def test_a_stages_own_check_comes_before_any_work(fakes, silent):
    recipe = recipe_from({"stages": {"make": {}, "b": {"uses": "make", "rows": 13}}})
    with pytest.raises(RecipeError, match=r"recipe, line 3, stage 'b' \(kind make\): 13 rows bring bad luck$"):
        run_recipe(recipe, say=silent, progress=silent)
    assert fakes == []


def test_a_file_that_a_stage_did_not_make(fakes, silent):
    with pytest.raises(RunError, match=r"stage 'make' made no 'row\.jsonl'; did you mean 'rows\.jsonl'\?"):
        run({"name": "r", "stages": {"make": {}, "use": {"data": "$make/row.jsonl"}}}, say=silent, progress=silent)


def test_a_run_in_use_and_a_folder_in_the_way(fakes, silent):
    Path("runs/r").mkdir(parents=True)
    with lock("runs/r/.lock"), pytest.raises(RunError, match="is not empty and not the folder of a run"):
        run(CHAIN, say=silent, progress=silent)
    run(CHAIN, say=silent, progress=silent)
    with lock("runs/r/.lock"), pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        run(CHAIN, say=silent, progress=silent)
    Path("file").write_text("")
    with pytest.raises(RunError, match="in the way"):
        run({**CHAIN, "out": "file/run"}, say=silent, progress=silent)


def test_one_stage_alone(fakes, silent):
    options = {"say": silent, "progress": silent}
    out = run_stage("make", {"rows": 4}, "out/made", **options)
    assert read_manifest(out).metrics["rows"] == 4
    run_stage("make", {"rows": 4}, "out/made", **options)
    assert fakes == ["make"]
    assert sorted(os.listdir("out")) == ["made"]
    with pytest.raises(RunError, match="holds the result of other settings or inputs"):
        run_stage("make", {"rows": 5}, "out/made", **options)
    run_stage("make", {"rows": 5}, "out/made", overwrite=True, **options)
    assert read_manifest(out).metrics["rows"] == 5

    used = run_stage("use", {"data": "out/made/rows.jsonl"}, "out/used", **options)
    (node,) = trace(used)
    assert node.inputs[0][1] is not None  # lineage goes on through a path into another stage's folder
    Path("other").mkdir()
    Path("other/thesis.txt").write_text("precious")
    with pytest.raises(RunError, match=r"other: exists and is not empty; choose another --out"):
        run_stage("make", {}, "other", **options)
    assert Path("other/thesis.txt").exists()
    with pytest.raises(RecipeError, match="--data: '\\$make' names a stage"):
        run_stage("use", {"data": "$make"}, "x", **options)


def test_one_stage_alone_goes_on_only_from_its_own_work(fakes, silent):
    options = {"say": silent, "progress": silent}
    with pytest.raises(KeyboardInterrupt):
        run_stage("fail", {"how": "interrupt", "leave": "step 1"}, "o", **options)
    with pytest.raises(RunError, match="holds unfinished work of other settings"):
        run_stage("fail", {"how": "other", "leave": "step 1"}, "o", **options)
    run_stage("fail", {"how": "interrupt", "leave": "step 1"}, "o", **options)
    assert read_manifest("o").metrics == {"resumed": 1}
    assert sorted(name for name in os.listdir() if "o" in name) == ["o"]
