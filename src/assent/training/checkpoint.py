"""Checkpoints of a training run: written aside in a thread, synced, sealed by checksums, renamed; a torn one is never
loaded.

A checkpoint is a folder ``step-N`` with ``state.pt`` (the state as :mod:`assent.training.flat` lays it out), the files
that belong to it, and ``seal.json``: the SHA-256 of each of them, and of the seal itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import torch

from assent.runs.digest import digest_json
from assent.runs.folder import sync_folder
from assent.training.flat import Flattener, unflattened

FORMAT = 3
_STATE = "state.pt"
_SEAL = "seal.json"
_RETIRED = ".old.tmp"
"""Behind the name of a checkpoint while another of its name takes its place."""


class Checkpoint(NamedTuple):
    """A whole checkpoint: what was saved, and the folder that holds the files saved with it."""

    state: dict[str, Any]
    folder: Path


class Saver:
    """Writes the checkpoints of one run, each in a thread beside the loop; never two at once."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self.begun_at: int | None = None
        """The step of the checkpoint that is being written; ``None`` when none is."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[Path] | None = None
        self._flattener = Flattener()

    def begin(
        self,
        step: int,
        state: Mapping[str, Any],
        files: Mapping[str, Path],
        name: str = "",
        logs: Sequence[Path] = (),
        beside: Callable[[Path], None] | None = None,
    ) -> None:
        """Copy the state, link the files, and let the thread write them.  The state may change once this returns.

        ``logs``: files that grow beside the checkpoints; what is in them now is on the disk before this one is whole.
        ``beside`` writes files of its own into the folder that it is given, now.
        """
        self.wait()
        aside = make_aside(self.folder, name or name_of(step), files)
        if beside is not None:
            beside(aside)
        copied = self._flattener.flattened(state)
        self._writing = self._thread.submit(write_checkpoint, aside, step, copied, self.keep, logs)
        self.begun_at = step

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written now: another one would have to wait for it."""
        return self._writing is not None and not self._writing.done()

    def wait(self) -> None:
        """Until the checkpoint that is being written is on the disk; raises what went wrong with it."""
        writing, self._writing, self.begun_at = self._writing, None, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """:meth:`wait`, and let the thread end."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()


def name_of(step: int, updates: int = 0) -> str:
    """The folder's name; ``updates`` of the next step that were done, when it is saved in the middle of one."""
    return f"step-{step:08d}" + (f".{updates:04d}" if updates else "")


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write ``folder/step-N`` now, and then delete all but the newest ``keep``."""
    return write_checkpoint(make_aside(folder, name_of(step), {}), step, Flattener().flattened(state), keep)


def make_aside(folder: Path, name: str, files: Mapping[str, Path]) -> Path:
    """The folder that a checkpoint is written into before it is whole, with its files linked: they stay as they are
    now, since who changes one of them writes a new file and renames it."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f"{name}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for linked, path in files.items():
        link_or_copy(path, aside / linked)
    return aside


def write_checkpoint(aside: Path, step: int, flat: dict[str, Any], keep: int, logs: Sequence[Path] = ()) -> Path:
    """The flat state and the seal, then the folder's own name; the oldest ones go last.  ``logs``: synced before."""
    folder, final = aside.parent, aside.with_suffix("")
    try:
        digests = {path.name: _digest(path) for path in aside.iterdir()}
        with open(aside / _STATE, "wb") as file:
            hashing = _Hashing(file)
            torch.save(flat, cast(Any, hashing))
            file.flush()
            os.fsync(file.fileno())
        digests[_STATE] = hashing.digest.hexdigest()
        seal = {"format": FORMAT, "step": step, "files": digests}
        with open(aside / _SEAL, "w", encoding="utf-8") as file:
            json.dump({**seal, "checksum": digest_json(seal)}, file)
            file.flush()
            os.fsync(file.fileno())
        for path in logs:
            sync_folder(path)
        sync_folder(aside)
        if final.exists():
            retired = final.with_name(final.name + _RETIRED)
            shutil.rmtree(retired, ignore_errors=True)
            os.replace(final, retired)
            os.replace(aside, final)
            shutil.rmtree(retired, ignore_errors=True)
        else:
            os.replace(aside, final)
    except Exception:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(folder)
    for old in _complete(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load_newest(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest whole checkpoint of ``folder``, or ``None``.  A damaged one is named, the one before it taken, and it
    is deleted, so that it is never counted among those to keep."""
    for retired in folder.glob(f"step-*{_RETIRED}"):
        final = retired.with_name(retired.name.removesuffix(_RETIRED))
        if not final.exists():  # killed between the two renames
            os.replace(retired, final)
    damaged: list[Path] = []
    found: Checkpoint | None = None
    for path in reversed(_complete(folder)):
        try:
            found = load(path, _checked_step(path))
            break
        except Exception as error:  # of bytes that were edited a reader may say anything
            reason = " ".join(str(error).split()) or type(error).__name__
            say(f"checkpoint {path} is damaged ({reason}): going back to the one before it")
            damaged.append(path)
    if damaged and found is None:
        say(f"{folder}: no whole checkpoint is left, so the training begins again")
    for path in damaged:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    return found


def load(path: Path, step: int) -> Checkpoint:
    """A checkpoint that is known to be whole."""
    flat = torch.load(path / _STATE, weights_only=True, map_location="cpu", mmap=True)  # held once, not twice
    return Checkpoint({"step": step, **unflattened(flat)}, path)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for the file, where the file system has such; else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        sync_folder(target)


def _checked_step(path: Path) -> int:
    """What the seal says, once it and all that it seals are found whole."""
    seal = json.loads((path / _SEAL).read_text(encoding="utf-8"))
    checksum = seal.pop("checksum", None)
    if seal.get("format") != FORMAT:
        raise ValueError("it was written by another version of assent")
    if checksum != digest_json(seal):
        raise ValueError("its seal was edited")
    for name, digest in seal["files"].items():
        if _digest(path / name) != digest:
            raise ValueError(f"the checksum of {name} does not match")
    return int(seal["step"])


def _complete(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.startswith("step-") and p.suffix != ".tmp")


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Hashing:
    """A file that is hashed as it is written: the seal says what was meant, whatever the disk made of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()
