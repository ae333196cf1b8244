"""Writes that are never half there, and the lock."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from assent.errors import RunError
from assent.runs.events import EventLog
from assent.runs.folder import RunFolder, append_jsonl, atomic_write_json, atomic_write_text, is_blank, read_jsonl
from assent.runs.lock import lock, lock_holder


def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch):
    file = tmp_path / "deep/x.json"
    atomic_write_json(file, {"a": 1})
    with pytest.raises(ValueError):
        atomic_write_json(file, {"a": float("nan")})
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        atomic_write_text(file, "new")
    assert json.loads(file.read_text()) == {"a": 1}
    assert [path.name for path in file.parent.iterdir()] == ["x.json"]


def test_a_torn_last_line_costs_only_itself(tmp_path):
    file = tmp_path / "x.jsonl"
    append_jsonl(file, {"a": 1})
    with open(file, "a") as stream:
        stream.write('{"a": 2')
    append_jsonl(file, {"a": 3})
    assert read_jsonl(file) == [{"a": 1}, {"a": 3}]
    assert read_jsonl(tmp_path / "none") == []


def test_seconds_of_interrupted_attempts_add_up(tmp_path):
    log = EventLog(tmp_path / "e")
    for event, seconds in (("stage_interrupted", 2.0), ("stage_waiting", 3.0)):
        log.append(event, identity="i", seconds=seconds)
    log.append("stage_interrupted", identity="other", seconds=9.0)
    assert log.seconds_spent("i") == 5.0
    log.append("stage_finished", identity="i", seconds=1.0)
    assert log.seconds_spent("i") == 0.0


def test_links_are_relative_and_replaced(tmp_path):
    run = RunFolder(tmp_path / "r")
    run.create()
    for identity in ("a" * 64, "b" * 64):
        run.stage("sft", identity).mkdir()
        run.link("sft", run.stage("sft", identity))
        assert os.readlink(run.path / "sft") == f"stages/sft-{identity[:8]}"
    (run.path / "ppo").mkdir()
    with pytest.raises(RunError, match="in the way"):
        run.link("ppo", run.stage("sft", "b" * 64))


def test_blank(tmp_path):
    assert is_blank(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/empty").touch()
    assert is_blank(tmp_path)
    (tmp_path / "a/full").write_text("x")
    assert not is_blank(tmp_path)


def test_a_live_holder_is_named_and_the_lock_let_go(tmp_path):
    file = tmp_path / ".lock"
    with lock(file):
        holder = lock_holder(file)
        assert holder is not None
        assert holder["pid"] == os.getpid()
        program = (
            "import sys\nfrom assent.runs.lock import lock\nfrom assent.errors import RunError\n"
            "try:\n    with lock(sys.argv[1]): print('taken')\n"
            "except RunError as error: print(error)"
        )
        output = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True).stdout
        assert f"in use by process {os.getpid()} on {platform.node()}" in output
    assert lock_holder(file) is None
    assert not file.exists()


def holder_line(**changed) -> str:
    return json.dumps({"pid": os.getpid(), "host": platform.node(), "since": 1.0, "started": "1", **changed})


def test_stale_locks_are_taken_over(tmp_path):
    file = tmp_path / ".lock"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    # a dead process; a number given to another process since; a write torn by a kill
    edited = (
        holder_line(pid=2**70, host="x"),
        holder_line(pid=-1, host="x"),
        holder_line(since="x", host="x"),
        "[" * 9_999,
    )
    for content in (holder_line(pid=dead.pid), holder_line(started="0"), '{"pid": 1', "", *edited):
        file.write_text(content)
        with lock(file):
            assert lock_holder(file)
        assert not file.exists()


def test_a_holder_on_another_machine_is_believed(tmp_path):
    file = tmp_path / ".lock"
    file.write_text(holder_line(host="elsewhere"))
    with pytest.raises(RunError, match=r"on elsewhere .* or delete .*\.lock if that process is gone"), lock(file):
        pass
