"""Checkpoints: written aside, sealed, and never loaded torn."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from assent.training.checkpoint import load_newest, save_checkpoint


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
    assert loaded["step"] == 100
    assert loaded["x"].tolist() == [100.0] * 4


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


@pytest.mark.parametrize("damage", [torn, edited, no_seal, seal_is_rubbish, seal_is_cut, no_state])
def test_a_damaged_one_is_named_and_the_one_before_it_taken(damage: Callable[[Path], None], tmp_path: Path):
    save(tmp_path, 1, 2, 3)
    damage(tmp_path / "step-00000003")
    said: list[str] = []
    loaded = load_newest(tmp_path, said.append)
    assert loaded is not None
    assert loaded["step"] == 2
    assert len(said) == 1
    assert "step-00000003 is damaged" in said[0]
    assert "going back" in said[0]
    damage(tmp_path / "step-00000002")
    damage(tmp_path / "step-00000001")
    assert load_newest(tmp_path, said.append) is None
    save(tmp_path, 3)
    loaded = load_newest(tmp_path, silent)
    assert loaded is not None
    assert loaded["step"] == 3


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
    assert loaded["step"] == 1
