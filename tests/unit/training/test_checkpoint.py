"""Checkpoints: written aside, sealed, and never loaded torn."""

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from assent.runs.digest import digest_json
from assent.training.checkpoint import FORMAT, Saver, load_newest, name_of, save_checkpoint


def save(folder: Path, *steps: int, keep: int = 3) -> None:
    for step in steps:
        save_checkpoint(folder, step, {"x": torch.full((4,), float(step))}, keep)


def silent(text: str) -> None:
    raise AssertionError(f"nothing was to be said, and not: {text}")


def test_the_newest_is_loaded_and_the_oldest_go(tmp_path: Path):
    save(tmp_path, 1, 2, 9, 10, 100, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]
    loaded = load_newest(tmp_path, silent)
    assert loaded is not None
    assert loaded.state["step"] == 100
    assert loaded.state["x"].tolist() == [100.0] * 4


def test_no_checkpoint(tmp_path: Path):
    assert load_newest(tmp_path / "nothing", silent) is None
    (tmp_path / "step-00000001.tmp").mkdir()
    assert load_newest(tmp_path, silent) is None


def torn(path: Path) -> None:
    data = (path / "state.pt").read_bytes()
    (path / "state.pt").write_bytes(data[: len(data) // 2])


def edited(path: Path) -> None:
    data = bytearray((path / "state.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "state.pt").write_bytes(data)


def no_seal(path: Path) -> None:
    (path / "seal.json").unlink()


def seal_is_rubbish(path: Path) -> None:
    (path / "seal.json").write_text("[]")


def seal_is_cut(path: Path) -> None:
    (path / "seal.json").write_text('{"step": 3, "sha')


def no_state(path: Path) -> None:
    (path / "state.pt").unlink()


def seal_is_edited(path: Path) -> None:
    (path / "seal.json").write_text((path / "seal.json").read_text().replace('"step": 3', '"step": 4'))


def of_another_version(path: Path) -> None:
    (path / "seal.json").write_text('{"step": 3, "sha256": "0"}')


def is_a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("")


def sealed_rubbish(path: Path) -> None:
    """By one who knows how to seal it; the reader of its bytes raises an IndexError."""
    (path / "state.pt").write_bytes(b"\x80\x02.")
    seal = {"format": FORMAT, "step": 3, "files": {"state.pt": hashlib.sha256(b"\x80\x02.").hexdigest()}}
    (path / "seal.json").write_text(json.dumps({**seal, "checksum": digest_json(seal)}))


DAMAGE = [
    sealed_rubbish,
    torn,
    edited,
    no_seal,
    seal_is_rubbish,
    seal_is_cut,
    no_state,
    seal_is_edited,
    of_another_version,
    is_a_file,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_is_named_and_the_one_before_it_taken(damage: Callable[[Path], None], tmp_path: Path):
    save(tmp_path, 1, 2, 3)
    damage(tmp_path / "step-00000003")
    said: list[str] = []
    loaded = load_newest(tmp_path, said.append)
    assert loaded is not None
    assert loaded.state["step"] == 2
    assert len(said) == 1
    assert "step-00000003 is damaged" in said[0]
    assert "going back" in said[0]
    assert not (tmp_path / "step-00000003").exists()
    for path in (tmp_path / "step-00000002", tmp_path / "step-00000001"):
        torn(path)
    assert load_newest(tmp_path, said.append) is None
    assert said[-1] == f"{tmp_path}: no whole checkpoint is left, so the training begins again"
    save(tmp_path, 3)
    loaded = load_newest(tmp_path, silent)
    assert loaded is not None
    assert loaded.state["step"] == 3


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path, 1)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    loaded = load_newest(tmp_path, silent)
    assert loaded is not None
    assert loaded.state["step"] == 1


def test_a_damaged_one_is_not_among_those_kept(tmp_path: Path):
    save(tmp_path, 50, 100)
    torn(tmp_path / "step-00000100")
    load_newest(tmp_path, lambda text: None)
    save(tmp_path, 70, keep=1)  # before the step of the damaged one is reached again
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000070"]


def test_the_middle_of_a_step_comes_after_its_beginning():
    assert sorted([name_of(8), name_of(7, 10), name_of(7, 2), name_of(7)]) == [
        "step-00000007",
        "step-00000007.0002",
        "step-00000007.0010",
        "step-00000008",
    ]


def test_a_file_is_kept_as_it_was_when_the_saving_began(tmp_path: Path):
    best = tmp_path / "best.pt"
    best.write_bytes(b"the best so far")
    saver = Saver(tmp_path, 2)
    saver.begin(1, {}, {"best.pt": best})
    (tmp_path / "new").write_bytes(b"better")
    os.replace(tmp_path / "new", best)
    saver.close()
    loaded = load_newest(tmp_path, silent)
    assert loaded is not None
    assert (loaded.folder / "best.pt").read_bytes() == b"the best so far"
    (loaded.folder / "best.pt").write_bytes(b"edited")
    said: list[str] = []
    assert load_newest(tmp_path, said.append) is None
    assert "the checksum of best.pt does not match" in said[0]


def test_the_loop_goes_on_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    held, weights, write = threading.Event(), torch.ones(3), torch.save

    def slow(*args: Any) -> None:
        assert held.wait(10)
        write(*args)

    monkeypatch.setattr(torch, "save", slow)
    saver = Saver(tmp_path, 2)
    saver.begin(1, {"weights": weights}, {})
    weights.fill_(2.0)  # the next update
    assert load_newest(tmp_path, silent) is None
    held.set()
    saver.wait()
    loaded = load_newest(tmp_path, silent)
    assert loaded is not None
    assert loaded.state["weights"].tolist() == [1.0] * 3
    saver.close()


def test_what_goes_wrong_in_the_thread_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    for told in ("wait", "begin", "close"):
        saver = Saver(tmp_path, 2)
        saver.begin(1, {}, {})
        with pytest.raises(OSError, match="No space"):
            saver.begin(2, {}, {}) if told == "begin" else getattr(saver, told)()
        saver.close()
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_another_was_about_to_replace_is_found_after_a_kill(tmp_path: Path, monkeypatch: Any):
    save(tmp_path, 1, 2)
    replace = os.replace

    def killed(source: Path, target: Path) -> None:
        if target.name == "step-00000002":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 2)
    assert not (tmp_path / "step-00000002").exists()
    loaded = load_newest(tmp_path, silent)
    assert loaded is not None
    assert loaded.state["step"] == 2
    assert loaded.folder == tmp_path / "step-00000002"
