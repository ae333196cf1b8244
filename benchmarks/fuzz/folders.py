"""Targets: manifests, run folders, locks and checkpoints that were torn or edited."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from assent.errors import AssentError
from assent.pipeline import ancestry, status
from assent.pipeline.rebuild import recipe_of_manifest
from assent.runs import lineage
from assent.runs.digest import digest_json
from assent.runs.events import EventLog
from assent.runs.folder import RunFolder
from assent.runs.lock import lock, lock_holder
from assent.runs.manifest import InputRecord, Manifest, read_manifest, write_manifest
from assent.training.checkpoint import load_newest, save_checkpoint
from benchmarks.fuzz.junk import JUNK, as_lines, edited, spoilt
from benchmarks.fuzz.target import Outcome, Target, refusal

_DIGEST = "0" * 64


def _manifest(stage: str, parent: str | None = None) -> Manifest:
    inputs = [InputRecord("data", "demos.jsonl", _DIGEST, "/nowhere/demos.jsonl", artifact="data")]
    if parent:
        inputs.append(
            InputRecord("model", f"${parent}", _DIGEST, f"../{parent}-00000000", _DIGEST, f"../{parent}-00000000")
        )
    return Manifest(
        stage, "sft", 1, _DIGEST, {"max_steps": 3}, tuple(inputs), {"loss": 0.5}, 0, "0.1.0", {"torch": "2"},
        {"cores": 2}, 1.5, 1.7e9, {"model.safetensors": _DIGEST},
        {stage: {"values": {"uses": "sft", "model": "m", "data": "demos.jsonl"}, "identity": _DIGEST, "inputs": {}}},
    )  # fmt: skip


@cache
def _run() -> Path:
    """A run's folder of two stages."""
    run = RunFolder(Path(tempfile.mkdtemp(prefix="assent-fuzz-")) / "run")
    run.create()
    for stage, parent in (("base", None), ("sft", "base")):
        folder = run.stages / f"{stage}-00000000"
        folder.mkdir()
        write_manifest(folder, _manifest(stage, parent))
        run.link(stage, folder)
    log = EventLog(run.events)
    log.append("run_started", stages=["base", "sft"])
    for stage in ("base", "sft"):
        log.append("stage_started", stage=stage, kind="sft", identity=_DIGEST, reason="new")
        log.append("stage_finished", stage=stage, identity=_DIGEST, seconds=1.5)
    log.append("run_finished")
    return run.path


def _whole_manifest() -> dict[str, Any]:
    return json.loads((_run() / "sft" / "manifest.json").read_text())


@st.composite
def _manifests(draw: Callable[..., Any]) -> bytes:
    if draw(st.booleans()):
        return draw(edited((_run() / "sft" / "manifest.json").read_bytes()))
    value = draw(spoilt([_whole_manifest()], most=2))
    if draw(st.integers(0, 3)):  # edited by one who knows how to seal it
        value.pop("checksum", None)
        with contextlib.suppress(ValueError, TypeError):
            value["checksum"] = digest_json(value)
    return json.dumps(value).encode()


def _copy(folder: Path) -> Path:
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(_run(), run, symlinks=True)
    return run


def _read_manifest(drawn: bytes, folder: Path) -> Outcome:
    run = _copy(folder)
    (run / "stages" / "sft-00000000" / "manifest.json").write_bytes(drawn)
    outcome: Outcome = "taken"
    for reading in (
        lambda: read_manifest(run / "sft"),
        lambda: (nodes := lineage.trace(run), lineage.as_text(nodes), ancestry.people(nodes), ancestry.as_svg(nodes)),
        lambda: json.dumps([lineage.as_json(node) for node in lineage.trace(run / "sft")]).encode(),
        lambda: ancestry.forgetting_as_text(ancestry.forget(run, "ann")),
        lambda: status.as_text(status.status(run)),
        lambda: recipe_of_manifest(run / "sft"),
    ):
        try:
            reading()
        except AssentError as error:
            outcome = refusal(error)
    return outcome


# --- logs and locks --------------------------------------------------------------------------------------------------


@st.composite
def _logs(draw: Callable[..., Any]) -> tuple[bytes, bytes | None]:
    whole = (_run() / "events.jsonl").read_bytes()
    rows = [json.loads(line) for line in whole.splitlines()]
    log = draw(edited(whole) | st.lists(spoilt(rows, most=2), max_size=5).map(lambda found: as_lines(found).encode()))
    holder = {"pid": 2**22 - 1, "host": "elsewhere", "since": 1.7e9, "started": "1"}
    held = spoilt([holder], most=2) | JUNK
    return log, draw(st.none() | held.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20))


def _read_logs(drawn: tuple[bytes, bytes | None], folder: Path) -> Outcome:
    log, holder = drawn
    run = _copy(folder)
    (run / "events.jsonl").write_bytes(log)
    if holder is not None:
        (run / ".lock").write_bytes(holder)
    outcome: Outcome = "taken"
    try:
        status.as_text(status.status(run))
        EventLog(run / "events.jsonl").seconds_spent(_DIGEST)
        lock_holder(run / ".lock")
        with lock(run / ".lock"):
            pass
    except AssentError as error:
        outcome = refusal(error, run)
    return outcome


# --- checkpoints -----------------------------------------------------------------------------------------------------


@cache
def _saved() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="assent-fuzz-")) / "checkpoints"
    for step in (1, 2):
        state = {"weights": {"policy": {"w": torch.full((40,), float(step))}}, "generators": [1, (2, None)]}
        save_checkpoint(folder, step, state, 2)
    return folder


class _Command:
    """What a pickle may do to who reads it."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (Path.touch, (Path(self.marker),))


@st.composite
def _checkpoints(draw: Callable[..., Any]) -> tuple[str, bytes | None, bool]:
    name = draw(st.sampled_from(["state.pt", "seal.json"]))
    whole = (_saved() / "step-00000002" / name).read_bytes()
    ways = [st.none(), edited(whole)]
    if name == "seal.json":
        ways.append(spoilt([json.loads(whole)], most=2).map(lambda value: json.dumps(value).encode()))
    else:
        ways.append(st.just(pickle.dumps(_Command("/tmp/assent-fuzz-ran"))))
    return name, draw(st.one_of(ways)), draw(st.booleans())


def _load_checkpoint(drawn: tuple[str, bytes | None, bool], folder: Path) -> Outcome:
    name, data, sealed = drawn
    copy = folder / "checkpoints"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(_saved(), copy)
    newest = copy / "step-00000002"
    (newest / name).unlink() if data is None else (newest / name).write_bytes(data)
    if sealed:  # by one who knows how
        _seal_again(newest)
    marker = Path("/tmp/assent-fuzz-ran")
    said: list[str] = []
    found = load_newest(copy, said.append)
    assert not marker.exists(), "code out of a checkpoint ran"
    assert found is not None, "the one before it was not taken"
    for sentence in said:
        assert "step-00000002 is damaged" in sentence
        assert len(sentence.splitlines()) == 1
        sentence.encode()
    if found.folder == newest:
        return "taken"
    assert said
    assert found.state["step"] == 1
    assert found.state["weights"]["policy"]["w"].tolist() == [1.0] * 40
    return "refused"


def _seal_again(checkpoint: Path) -> None:
    import hashlib

    try:
        seal = json.loads((checkpoint / "seal.json").read_bytes())
        seal.pop("checksum", None)
        seal["files"] = {"state.pt": hashlib.sha256((checkpoint / "state.pt").read_bytes()).hexdigest()}
        (checkpoint / "seal.json").write_text(json.dumps({**seal, "checksum": digest_json(seal)}))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        pass


TARGETS = [
    Target("manifests", st.deferred(_manifests), _read_manifest),
    Target("logs and locks", st.deferred(_logs), _read_logs),
    Target("checkpoints", st.deferred(_checkpoints), _load_checkpoint),
]
