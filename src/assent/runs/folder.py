"""The run folder's layout and atomic writes.

::

    runs/NAME/
      recipe.yaml  events.jsonl  run.json
      stages/<stage>-<digest8>/          whole: it has a manifest
      stages/<stage>-<digest8>.partial/  unfinished: the stage's own checkpoints
      <stage> -> stages/<stage>-<digest8>
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assent.errors import RunError
from assent.runs.digest import SHORT

RECIPE, EVENTS, SUMMARY, STAGES, LOCK = "recipe.yaml", "events.jsonl", "run.json", "stages", ".lock"
CHECKPOINTS = "checkpoints"
"""The folder within an unfinished stage that it goes on from after a kill; it is deleted once the stage is whole."""
RESERVED = frozenset({RECIPE, EVENTS, SUMMARY, STAGES, LOCK, "report.json", "report.html"})
"""Names at the top of a run folder that no stage may take."""


# --- writing ---------------------------------------------------------------------------------------------------------


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file so that a reader, or a kill at any moment, sees the old content or the new, never a part."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def atomic_write_text(path: str | Path, text: str) -> None:
    """:func:`atomic_write_bytes` of UTF-8 text."""
    atomic_write_bytes(path, text.encode())


def atomic_write_json(path: str | Path, value: Any) -> None:
    """:func:`atomic_write_bytes` of indented JSON.  Raises ``ValueError`` for NaN and infinity."""
    atomic_write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sweep(folder: Path, deep: bool = True) -> None:
    """Delete what a kill left of files that were being written aside."""
    for file in folder.rglob(".*") if deep else folder.glob(".*"):
        if file.suffix in (".tmp", ".part") and (file.is_symlink() or not file.is_dir()):
            file.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Flush every file under a folder to the disk, so that a manifest never promises bytes that a power cut took."""
    for folder, _, names in os.walk(path):
        for name in names:
            sync_folder(Path(folder) / name)
        sync_folder(Path(folder))


def append_jsonl(path: str | Path, row: Any) -> None:
    """Append one row to a JSON Lines file; a torn last line that a kill left is closed off first."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    with open(path, "a+b") as stream:
        if stream.tell() > 0:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                line = b"\n" + line
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def read_jsonl(path: str | Path) -> list[Any]:
    """The whole rows of a JSON Lines file that we append to; torn lines are left out, a missing file is empty."""
    rows: list[Any] = []
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return rows
    for line in text.split("\n"):  # not splitlines: a text may hold other ends of lines, such as U+2028
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return rows


# --- layout ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where things lie in one run's folder.  Nothing here creates the folder but :meth:`create`."""

    path: Path

    @property
    def stages(self) -> Path:
        return self.path / STAGES

    @property
    def recipe(self) -> Path:
        return self.path / RECIPE

    @property
    def events(self) -> Path:
        return self.path / EVENTS

    @property
    def summary(self) -> Path:
        return self.path / SUMMARY

    @property
    def lock_file(self) -> Path:
        return self.path / LOCK

    def stage(self, name: str, identity: str) -> Path:
        """The folder of a finished stage of this identity."""
        return self.stages / f"{name}-{identity[:SHORT]}"

    def partial(self, name: str, identity: str) -> Path:
        """The folder of the same stage while it is unfinished."""
        return partial_of(self.stage(name, identity))

    def create(self) -> None:
        """Make the folder.  Raises :class:`RunError` when a file is in the way or it may not be written."""
        try:
            self.stages.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise RunError(f"{self.path}: a file is in the way of the run's folder; choose another --out") from None
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            raise RunError(f"{self.path}: cannot be written: {error.strerror}; choose another --out") from None

    def link(self, name: str, folder: Path) -> None:
        """Point ``<stage>`` at one of the stage's folders, atomically; relatively, so that a moved run still works."""
        target = self.path / name
        if target.exists() and not target.is_symlink():
            raise RunError(f"{target}: is in the way of the link to stage '{name}'; move it away")
        aside = self.path / f".{name}.{os.getpid()}.tmp"
        aside.unlink(missing_ok=True)
        os.symlink(os.path.relpath(folder, self.path), aside, target_is_directory=True)
        os.replace(aside, target)


def partial_of(folder: Path) -> Path:
    """The sibling in which a stage's folder is made before it is whole."""
    return folder.with_name(folder.name + ".partial")


def holds_progress(folder: Path) -> bool:
    """True when there is something under an unfinished folder that work could go on from: a checkpoint or a store."""
    kept = [path for path in (folder / CHECKPOINTS).glob("*") if path.suffix != ".tmp"]
    return bool(kept) or any(folder.glob("*.db"))


def is_blank(folder: Path) -> bool:
    """True when there is no file with content under ``folder``: nothing there that a resumed stage could use."""
    return not any(file.is_file() and file.stat().st_size > 0 for file in folder.rglob("*"))
