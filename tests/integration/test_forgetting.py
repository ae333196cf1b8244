"""From a model back to every person behind it, and the same model without one of them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
from whole_runs import run_beside

from assent.cli import main
from assent.runs.lineage import trace

RECIPE = """
name: r
stages:
  sft: {model: policy, data: mine.jsonl, max_steps: 2}
  sample: {model: $sft, data: prompts.jsonl, n: 3, max_new_tokens: 6}
  collect:
    data: $sample/completions.jsonl
    truth: rules.py:words
    annotators: [{name: ann}, {name: bob}]
  comparisons: {data: $collect/rankings.jsonl}
  reward: {model: $sft, data: $comparisons/train.jsonl, max_steps: 2}
  rloo: {model: $sft, reward: $reward, data: prompts.jsonl, max_steps: 2, batch_size: 8, max_new_tokens: 6}
"""
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def home(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    rows = [json.loads(line) for line in (workshop / "demos.jsonl").read_text().splitlines()]
    lines = [json.dumps(row | {"author": ("cleo", "dan")[i % 2]}) + "\n" for i, row in enumerate(rows)]
    (folder / "mine.jsonl").write_text("".join(lines))
    return run_beside(workshop, folder, RECIPE)


@pytest.fixture(autouse=True)
def _there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_a_model_leads_to_everyone_behind_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "lineage", "runs/r/rloo")
    assert "reward: reward (reward)" in text
    assert "truth: rules.py:words" in text
    people = text.partition("people behind it:\n")[2].splitlines()
    assert [line.split(" of ")[0].strip() for line in people] == [
        "cleo: 12 rows",
        "dan: 12 rows",
        "simulated:ann: 8 rows",
        "simulated:bob: 8 rows",
    ]
    found = json.loads(said(capsys, "lineage", "runs/r/rloo/model.safetensors", "--json"))[0]
    assert {who: count for item in found["people"] for who, count in item["rows"].items()} == {
        "cleo": 12,
        "dan": 12,
        "simulated:ann": 8,
        "simulated:bob": 8,
    }
    assert "simulated:ann" not in said(capsys, "lineage", "runs/r/sft")


def test_the_lineage_as_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "lineage", "runs/r/rloo", "--svg", "lineage.svg") == "lineage.svg\n"
    drawn = xml.parse("lineage.svg").getroot()
    boxes = {box.find(f"{SVG}text").text: box for box in drawn.iter(f"{SVG}g")}  # pyright: ignore[reportOptionalMemberAccess]
    stages = {"sft", "sample", "collect", "comparisons", "reward", "rloo"}
    assert boxes.keys() == stages | {"policy", "mine.jsonl", "prompts.jsonl", "rules.py:words"}
    assert {name for name, box in boxes.items() if box.get("class") == "stage"} == stages
    lines = {name: [text.text for text in box.iter(f"{SVG}text")][1] for name, box in boxes.items()}
    assert lines["collect"] == "2 people, 16 rows"
    assert lines["mine.jsonl"] == "2 people, 24 rows"
    assert len(list(drawn.iter(f"{SVG}path"))) >= 10


def test_without_an_annotator_exactly_what_they_reached_is_made_again(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name for path in (home / "runs/r/stages").iterdir()}
    found = json.loads(said(capsys, "lineage", "runs/r", "--forget-annotator", "simulated:ann", "--json"))
    listed = [item["stage"] for item in found["stages"]]
    assert listed == ["collect", "comparisons", "reward", "rloo"]
    assert found["remedies"] == ["run the recipe again with --set collect.without=[simulated:ann]"]
    text = said(capsys, "lineage", "runs/r/sample", "--forget-annotator", "simulated:ann")  # anywhere in the run
    assert text.startswith("without simulated:ann, 4 stages must be made again:\n  collect ")
    said(capsys, "run", "r.yaml", "--set", "collect.without=[simulated:ann]")
    made = {path.name for path in (home / "runs/r/stages").iterdir()} - before
    assert sorted(name.rpartition("-")[0] for name in made) == sorted(listed)
    assert "simulated:ann" not in said(capsys, "lineage", "runs/r/rloo")
    assert "simulated:bob: 8 rows" in said(capsys, "lineage", "runs/r/rloo")
    (node,) = trace("runs/r/comparisons")
    assert "simulated:ann" not in (node.folder / "train.jsonl").read_text()
    said(capsys, "run", "r.yaml")  # and back: nothing is lost
    assert "simulated:ann: 8 rows" in said(capsys, "lineage", "runs/r/rloo")


def test_an_author_of_demonstrations_reached_everything(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "lineage", "runs/r/rloo", "--forget-annotator", "cleo")
    assert "6 stages must be made again" in text
    assert "read 12 rows of theirs" in text
    assert "take their rows out of" in text
    assert main(["lineage", "runs/r/rloo", "--forget-annotator", "nobody"]) == 2
    assert "no answer of 'nobody' is behind it; known are cleo, dan, simulated:ann" in capsys.readouterr().err


def test_the_same_model_from_its_manifest_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "run", "--from-manifest", "runs/r/rloo", "--out", "again")
    assert "again/rloo: all 7 files have the same digests as those of the manifest" in text, text
    assert (home / "again/rloo/model.safetensors").read_bytes() == (home / "runs/r/rloo/model.safetensors").read_bytes()
    assert "everything is done" in said(capsys, "plan", "--from-manifest", "runs/r/rloo", "--out", "again")
