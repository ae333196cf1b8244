from __future__ import annotations

import json
from pathlib import Path

import pytest

from assent.errors import RunError
from assent.runs.digest import digest_json
from assent.runs.lineage import as_json, as_text, trace
from assent.runs.manifest import (
    InputRecord,
    Manifest,
    code_version,
    hardware,
    newest_manifest,
    package_versions,
    read_manifest,
    write_manifest,
)


def manifest(stage: str, identity: str, *inputs: InputRecord, created: float = 0.0) -> Manifest:
    return Manifest(
        stage=stage,
        kind=stage,
        version=1,
        identity=identity * 64,
        settings={"rate": 1e-4},
        inputs=inputs,
        metrics={"loss": 0.5},
        seed=0,
        code=code_version(),
        packages=package_versions(),
        hardware=hardware(),
        wall_seconds=1.5,
        created=created,
    )


def write(root: Path, item: Manifest) -> Path:
    folder = root / "stages" / f"{item.stage}-{item.identity[:8]}"
    folder.mkdir(parents=True)
    write_manifest(folder, item)
    return folder


def test_round_trip(tmp_path):
    item = manifest("sft", "a", InputRecord("data", "d.jsonl", "c" * 64, "/d.jsonl"))
    assert read_manifest(write(tmp_path, item)) == item
    assert item.packages["python"]
    assert "torch" in item.packages


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-40], "cannot be read as JSON"),
        (lambda text: "[]", "is not a manifest"),
        (lambda text: text.replace('"loss": 0.5', '"loss": 0.1'), "was edited or damaged"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "written by a newer assent"),
    ],
)
def test_torn_or_edited(tmp_path, change, message):
    folder = write(tmp_path, manifest("sft", "a"))
    path = folder / "manifest.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(RunError, match=message):
        read_manifest(folder)
    assert newest_manifest(tmp_path / "stages", "sft") is None


def test_missing(tmp_path):
    with pytest.raises(RunError, match="there is no manifest"):
        read_manifest(tmp_path)


def test_newest_of_a_stage_with_a_longer_namesake(tmp_path):
    write(tmp_path, manifest("sft", "a", created=1.0))
    write(tmp_path, manifest("sft", "b", created=2.0))
    write(tmp_path, manifest("sft-2", "c", created=3.0))
    found = newest_manifest(tmp_path / "stages", "sft")
    assert found is not None
    assert found.identity == "b" * 64


def chain(root: Path) -> Path:
    parent = {"parent": "a" * 64, "parent_folder": "../base-aaaaaaaa"}
    write(root, manifest("base", "a", InputRecord("data", "corpus.jsonl", "d" * 64, "/corpus.jsonl")))
    write(root, manifest("sft", "b", InputRecord("model", "$base", "e" * 64, "../base-aaaaaaaa", **parent)))
    ppo = manifest(
        "ppo",
        "c",
        InputRecord("model", "$sft", "f" * 64, None, "b" * 64, "../sft-bbbbbbbb"),
        InputRecord("base", "$base", "e" * 64, None, **parent),
        InputRecord("reward", "org/rm", "0" * 64),
    )
    return write(root, ppo)


def test_lineage(tmp_path):
    folder = chain(tmp_path)
    (folder / "checkpoints").mkdir()
    nodes = trace(folder / "checkpoints")
    text = as_text(nodes)
    assert [line.split("  ")[0] for line in text.splitlines()] == [
        "ppo (ppo) cccccccc",
        "├─ model: sft (sft) bbbbbbbb",
        "│",
        "│",
        "├─ base: base (base) aaaaaaaa, see above",
        "└─ reward: org/rm (hub)",
    ]
    assert "└─ data: corpus.jsonl dddddddd" in text
    tree = json.loads(json.dumps(as_json(nodes[0])))
    assert tree["inputs"][0]["made_by"]["inputs"][0]["made_by"]["stage"] == "base"
    assert [node.manifest.stage for node in trace(tmp_path)] == ["ppo"]


def test_a_moved_run_and_a_parent_that_is_gone(tmp_path):
    chain(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    (node,) = trace(tmp_path / "new")
    assert node.inputs[0][1] is not None
    for file in (tmp_path / "new/stages/base-aaaaaaaa").iterdir():
        file.unlink()
    assert "base: $base aaaaaaaa (its folder is gone)" in as_text(trace(tmp_path / "new"))


def test_lineage_of_nothing(tmp_path):
    with pytest.raises(RunError, match="no such file or folder"):
        trace(tmp_path / "x")
    with pytest.raises(RunError, match="no finished stage made this"):
        trace(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": []},
        {"stage": 5},
        {"created": "yesterday"},
        {"inputs": [{"name": "a", "source": 1, "digest": ""}]},
        {"inputs": 3},
        {"seed": True},
    ],
)
def test_a_manifest_that_was_edited_and_sealed_again_is_refused(change, tmp_path):
    folder = write(tmp_path, manifest("a", "a"))
    value = json.loads((folder / "manifest.json").read_text()) | change
    del value["checksum"]
    (folder / "manifest.json").write_text(json.dumps({**value, "checksum": digest_json(value)}))
    with pytest.raises(RunError, match=r"is not a manifest"):
        read_manifest(folder)


@pytest.mark.parametrize("text", ["[1]", "null", '{"metrics": NaN}', '{"stage": "\\ud800"}', "[" * 100_000])
def test_a_manifest_that_is_other_json_is_refused(text, tmp_path):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(RunError, match="manifest"):
        read_manifest(tmp_path)


def test_a_circle_is_an_edited_manifest(tmp_path):
    item = manifest("a", "a", InputRecord("model", "$a", "", None, "a" * 64, "../a-aaaaaaaa"))
    write(tmp_path, item)
    with pytest.raises(RunError, match="names itself among its own parents"):
        trace(tmp_path)
