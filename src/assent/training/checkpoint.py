"""Checkpoints of a training run: written aside, synced, checksummed, renamed; a torn one is never loaded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from assent.runs.folder import sync_folder

_STATE = "state.pt"
_SEAL = "seal.json"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write ``folder/step-N`` and then delete all but the newest ``keep``."""
    folder.mkdir(parents=True, exist_ok=True)
    final, aside = folder / f"step-{step:08d}", folder / f"step-{step:08d}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        with open(aside / _STATE, "wb") as file:
            torch.save({"step": step, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        with open(aside / _SEAL, "w", encoding="utf-8") as file:
            json.dump({"step": step, "sha256": _digest(aside / _STATE)}, file)
            file.flush()
            os.fsync(file.fileno())
        shutil.rmtree(final, ignore_errors=True)
        os.replace(aside, final)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(folder)
    for old in _complete(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load_newest(folder: Path, say: Any) -> dict[str, Any] | None:
    """The newest whole checkpoint of ``folder``, or ``None``.  A damaged one is named and the one before it taken."""
    for path in reversed(_complete(folder)):
        try:
            seal = json.loads((path / _SEAL).read_text(encoding="utf-8"))
            if _digest(path / _STATE) != seal["sha256"]:
                raise ValueError("its checksum does not match")
            return torch.load(path / _STATE, weights_only=True, map_location="cpu")
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"checkpoint {path} is damaged ({error}): going back to the one before it")
    return None


def _complete(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.startswith("step-") and p.suffix != ".tmp")


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
