"""Experiment trackers: TensorBoard and Weights & Biases (offline) as they are, the others by their documented calls."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record

from assent.config import make_settings
from assent.errors import RecipeError
from assent.runs.digest import digest_outputs
from assent.training.callbacks import read_metrics
from assent.training.optim import LoopSettings
from assent.training.supervised import train
from assent.training.trackers import run_name
from tests.training.tiny_runs import Progress, supervised_task


def trained(folder: Path, *trackers: str, **settings: Any) -> list[dict[str, Any]]:
    """The rows of ``metrics.jsonl`` of a short run."""
    task = supervised_task("sft", folder, report_to=trackers, max_steps=3, eval_steps=2, **settings)
    train(task)
    return read_metrics(folder / "metrics.jsonl")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_has_every_figure_of_every_step(tmp_path: Path):
    rows = trained(tmp_path, "tensorboard")
    found = scalars(tmp_path)
    assert found.keys() == {name for row in rows for name in row} - {"step"} | {"seconds", "tokens_per_second"}
    for row in rows:
        for name, value in row.items():
            if name != "step":
                assert (row["step"], pytest.approx(value, rel=1e-6)) in found[name]
    assert not any(name.startswith("tensorboard/") for name in digest_outputs(tmp_path))


def wandb_records(path: Path) -> list[bytes]:
    """The records of an offline run: LevelDB's log in blocks of 32 KiB, behind seven bytes of its own."""
    data, at, found, parts = path.read_bytes(), 7, [], []
    while at + 7 <= len(data):
        if 32_768 - at % 32_768 < 7:
            at += 32_768 - at % 32_768
        _, size, kind = struct.unpack_from("<IHB", data, at)
        parts.append(data[at + 7 : at + 7 + size])
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the end of one
            found.append(b"".join(parts))
            parts = []
    return found


def test_wandb_offline_has_every_figure_of_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    rows = trained(tmp_path / "run", "wandb", run_name="a run", tracking_project="films")
    wandb.teardown()  # finish() only asks the service to close the file: it may be written later
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    history, names = [], []
    for data in wandb_records(path):
        record = Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            items = record.history.item
            history.append({(i.key or i.nested_key[0]): json.loads(i.value_json) for i in items})
        elif record.HasField("run"):
            names.append((record.run.project, record.run.display_name))
    assert names[0] == ("films", "a run")
    assert [row["_step"] for row in history] == [1, 2, 3]
    for row, logged in zip(rows, history, strict=True):
        assert all(logged[name] == pytest.approx(value) for name, value in row.items() if name != "step")
        assert logged["tokens_per_second"] > 0
    assert wandb.run is None  # finished


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """MLflow and trackio by the calls that their documentation gives; what was called."""
    calls: list[tuple[str, Any]] = []

    def noted(name: str, result: Any = None) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append((name, (*args, kwargs)))
            return result

        return call

    mlflow, trackio = ModuleType("mlflow"), ModuleType("trackio")
    mlflow_run = SimpleNamespace(info=SimpleNamespace(run_id="m1"))
    for name in ("set_experiment", "log_params", "log_metrics", "end_run"):
        setattr(mlflow, name, noted(name))
    mlflow.start_run = noted("start_run", mlflow_run)  # pyright: ignore[reportAttributeAccessIssue]
    trackio_run = SimpleNamespace(log=noted("log"), finish=noted("finish"))
    trackio.init = noted("init", trackio_run)  # pyright: ignore[reportAttributeAccessIssue]
    for module in (mlflow, trackio):
        module.__spec__ = SimpleNamespace(name=module.__name__)  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_mlflow_gets_settings_and_figures(tmp_path: Path, stand_ins: list[tuple[str, Any]]):
    rows = trained(tmp_path / "out", "mlflow")
    assert [name for name, _ in stand_ins] == [
        "set_experiment", "start_run", "log_params", "log_metrics", "log_metrics", "log_metrics", "end_run"
    ]  # fmt: skip
    called = dict(stand_ins)
    assert called["set_experiment"] == ("assent", {})
    assert called["start_run"] == ({"run_name": "out"},)
    assert called["log_params"][0]["max_steps"] == "3"
    figures, options = called["log_metrics"]
    assert options == {"step": 3}
    assert figures.items() >= {k: v for k, v in rows[2].items() if k != "step"}.items()


def test_trackio_gets_settings_and_figures(tmp_path: Path, stand_ins: list[tuple[str, Any]]):
    rows = trained(tmp_path / "out", "trackio")
    assert [name for name, _ in stand_ins] == ["init", "log", "log", "log", "finish"]
    called = dict(stand_ins)
    (options,) = called["init"]
    assert (options["project"], options["name"], options["resume"]) == ("assent", "out", "allow")
    assert options["config"]["max_steps"] == 3
    figures, step = called["log"]
    assert step == {"step": 3}
    assert figures.items() >= {k: v for k, v in rows[2].items() if k != "step"}.items()


def test_a_resumed_run_goes_on_in_the_same_run(tmp_path: Path, stand_ins: list[tuple[str, Any]]):
    class Killed(Exception):
        pass

    def killed() -> None:
        raise Killed

    settings: dict[str, Any] = {"report_to": ("mlflow", "tensorboard"), "max_steps": 6, "save_steps": 2}
    with pytest.raises(Killed):
        train(supervised_task("sft", tmp_path, Progress({5: killed}), **settings))
    assert stand_ins[-1][0] == "end_run"  # also where it fails
    stand_ins.clear()
    train(supervised_task("sft", tmp_path, **settings))
    assert ("start_run", ({"run_id": "m1"},)) in stand_ins
    assert "log_params" not in dict(stand_ins)
    assert [step for step, _ in scalars(tmp_path)["loss"]] == [1, 2, 3, 4, 5, 6]


def test_a_tracker_that_fails_is_left_out_and_training_goes_on(tmp_path: Path, stand_ins: list[tuple[str, Any]]):
    said: list[str] = []
    failing = sys.modules["mlflow"]

    def away(*_: Any, **__: Any) -> None:
        stand_ins.append(("log_metrics", None))
        raise ConnectionError("the server is away")

    failing.log_metrics = away  # pyright: ignore[reportAttributeAccessIssue]
    train(supervised_task("sft", tmp_path, say=said.append, report_to=("mlflow",), max_steps=3))
    assert [name for name, _ in stand_ins].count("log_metrics") == 1
    assert said == ["mlflow gets no more figures of this run: ConnectionError: the server is away"]
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3


def test_a_tracker_that_is_not_installed_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("assent.training.trackers.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match="recipe, ppo: setting 'report_to': mlflow is not installed here"):
        make_settings(LoopSettings, {"report_to": ["mlflow"]}, "recipe, ppo")


def test_what_a_run_is_called(tmp_path: Path):
    assert run_name(tmp_path / "runs" / "quickstart" / "stages" / "ppo-1a2b3c4d.partial") == "quickstart/ppo-1a2b3c4d"
    assert run_name(tmp_path / "out" / "sft.partial") == "sft"
