"""Disks that are full or read-only, files that are torn or were edited, and two runs that want one folder."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assent.cli import main
from assent.runs.lock import lock
from assent.runs.manifest import read_manifest
from benchmarks.crash import differences

Tell = Callable[[str], None]
SFT = "sft --model policy --data demos.jsonl --max-steps 8 --save-steps 2 --eval-split 0.2 --load-best-model-at-end"


@pytest.fixture(autouse=True)
def here(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workshop to break things in."""
    folder = tmp_path / "here"
    shutil.copytree(workshop, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def ends(capsys: pytest.CaptureFixture[str], command: str, status: int) -> str:
    """The last line that a command says."""
    capsys.readouterr()
    assert main(command.split()) == status, capsys.readouterr()
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return (said.err or said.out).strip().splitlines()[-1]


@pytest.mark.fault("the disk is full, at each of the places where a run writes")
def test_full_disk(small_disk: Path, capsys: pytest.CaptureFixture[str], happened: Tell) -> None:
    ends(capsys, f"{SFT} --out whole/out", 0)
    filler, sentences, stops = small_disk / "filler", set(), 0
    for free in range(0, 2400, 100):
        filler.write_bytes(b"")
        room = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        filler.write_bytes(b"x" * max(0, room - free * 1024))
        status = main([*SFT.split(), "--out", f"{small_disk}/out"])
        said = capsys.readouterr().err
        if status == 0:
            break
        assert status == 2, said
        assert "Traceback" not in said
        sentences.add(said.strip().splitlines()[-1].replace(str(small_disk) + "/", ""))
        stops += 1
    assert stops > 4, "the disk was large enough from the start"
    assert len(sentences) == 1, sentences
    assert differences(Path("whole/out"), small_disk / "out") == []
    happened(f"stopped with “{sentences.pop()}”; with room again the same command went on to the same bits")


@pytest.mark.fault("the folder cannot be written")
def test_read_only(small_disk: Path, capsys: pytest.CaptureFixture[str], happened: Tell) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    said = ends(capsys, f"{SFT} --out {small_disk}/out", 2)
    Path("r.yaml").write_text("stages:\n  sft: {model: policy, data: demos.jsonl}\n")
    again = ends(capsys, f"run r.yaml --out {small_disk}/run", 2)
    happened(f"refused before any work: “{said}”; a recipe: “{again}”")


@pytest.mark.fault("a model's safetensors file is cut short")
def test_truncated_weights(capsys: pytest.CaptureFixture[str], happened: Tell) -> None:
    weights = Path("policy/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1000])
    happened(f"refused: “{ends(capsys, f'{SFT} --out out', 2)}”")
    assert not Path("out").exists()


@pytest.mark.fault("a page of the feedback store (SQLite) is overwritten")
def test_corrupted_page(capsys: pytest.CaptureFixture[str], happened: Tell) -> None:
    collect = "collect --data sampled.jsonl --truth rules.py:words --annotators [{name: a}] --store f.db --out out"
    arguments = [part.replace("_", " ") for part in collect.replace("[{name: a}]", "[{name:_a}]").split()]
    assert main(arguments) == 0
    with sqlite3.connect("f.db") as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = file.execute("PRAGMA page_size").fetchone()[0]
        (page,) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()
    whole = Path("f.db").read_bytes()
    Path("f.db").write_bytes(whole[: (page - 1) * size] + b"\xff" * size + whole[page * size :])
    said = ends(capsys, "label export f.db --out exported.jsonl", 2)
    assert not Path("exported.jsonl").exists()
    happened(f"refused, and no answer passed over: “{said}”")


@pytest.mark.fault("a second run is started on the same folder")
def test_two_runs(capsys: pytest.CaptureFixture[str], happened: Tell) -> None:
    Path("r.yaml").write_text("stages:\n  sft: {model: policy, data: demos.jsonl, max_steps: 2}\n")
    ends(capsys, "run r.yaml --out run", 0)
    with lock("run/.lock"):
        said = ends(capsys, "run r.yaml --out run", 2)
    assert f"process {os.getpid()} on {os.uname().nodename} since " in said
    happened(
        f"refused: “{said.split(' by process')[0]} by process N on HOST since TIME{said.partition(';')[1]}”".replace(
            ";”", "; wait for it or stop it first”"
        )
    )


@pytest.mark.fault("a data file is edited between two runs")
def test_edited_data(capsys: pytest.CaptureFixture[str], happened: Tell) -> None:
    Path("r.yaml").write_text("stages:\n  sft: {model: policy, data: demos.jsonl, max_steps: 2}\n")
    ends(capsys, "run r.yaml --out run", 0)
    first = read_manifest("run/sft")
    rows = Path("demos.jsonl").read_text().splitlines(keepends=True)
    Path("demos.jsonl").write_text("".join(rows[1:]))
    main(["plan", "r.yaml", "--out", "run", "--json"])
    (stage,) = json.loads(capsys.readouterr().out)
    ends(capsys, "run r.yaml --out run", 0)
    assert read_manifest("run/sft").identity != first.identity
    assert len(list(Path("run/stages").iterdir())) == 2
    happened(f"`assent plan` says “{stage['reason']}”; the stage ran again, the first result was kept beside it")


@pytest.mark.fault("what a stage made is edited before another stage reads it")
def test_edited_artifact(capsys: pytest.CaptureFixture[str], happened: Tell) -> None:
    Path("r.yaml").write_text(
        "stages:\n  halves: {uses: comparisons, data: rankings.jsonl}\n"
        "  reward: {model: policy, data: $halves/train.jsonl, max_steps: 2}\n"
    )
    ends(capsys, "run r.yaml --out run", 0)
    train = Path("run/halves/train.jsonl")
    train.write_text("".join(train.read_text().splitlines(keepends=True)[1:]))
    said = ends(capsys, "run r.yaml --out run --set reward.max_steps=3", 2)
    happened(f"refused: “{said}”")


@pytest.mark.fault("a manifest is edited")
def test_edited_manifest(capsys: pytest.CaptureFixture[str], happened: Tell) -> None:
    ends(capsys, f"{SFT} --out out", 0)
    manifest = Path("out/manifest.json")
    manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 1'))
    happened(f"refused: “{ends(capsys, 'lineage out', 2)}”")


@pytest.mark.fault("a run is killed in the middle of its rollouts")
def test_killed_in_rollouts(capsys: pytest.CaptureFixture[str], happened: Tell) -> None:
    Path("deadly.py").write_text(
        "import os\nfrom rules import words\ncalls = 0\n\n"
        "def score(prompt, text):\n    global calls\n    calls += 1\n"
        "    if calls == 60 and os.environ.get('DEADLY'):\n        os.kill(os.getpid(), 9)\n"
        "    return words(prompt, text)\n"
    )
    command = (
        "grpo --model policy --data prompts.jsonl --reward-function deadly.py:score --max-new-tokens 6 --batch-size 16 "
        "--max-steps 6 --save-steps 2 --epochs 2 --minibatches 2 --out"
    )
    places = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    program = [sys.executable, "-m", "assent", *command.split()]
    killed = subprocess.run([*program, "one/out"], env={**places, "DEADLY": "1", "OMP_NUM_THREADS": "1"}, check=False)
    assert killed.returncode == -9
    kept = [path.name for path in Path("one/out.partial/checkpoints").iterdir()]
    assert kept == ["step-00000002"]
    for out in ("one/out", "two/out"):
        done = subprocess.run([*program, out], env={**places, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        if out == "one/out":
            assert "going on from step 2 of 6" in done.stdout
    assert differences(Path("two/out"), Path("one/out")) == []
    happened("the same command went on from the last checkpoint to the same bits")


@pytest.mark.fault("a feedback store is opened that is no database")
def test_no_database(happened: Tell, capsys: pytest.CaptureFixture[str]) -> None:
    Path("f.db").write_text("not a database, but a text")
    happened(f"refused: “{ends(capsys, 'label status f.db', 2)}”")
