"""Content digests: the same bytes have the same digest on every machine.

A digest is 64 hexadecimal digits of SHA-256.  Digests of files are remembered within a process and computed again when
the file's size, time or inode changes.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from assent.errors import RunError

SHORT = 8
"""Digits of a digest that go into a folder's name."""

MANIFEST = "manifest.json"
"""A stage's folder carries its manifest in this file; its times would make equal content look different."""

_seen: dict[tuple[str, int, int, int, int], str] = {}


def digest_json(value: Any) -> str:
    """The digest of a value of plain JSON types; the order of keys does not matter.

    Raises ``ValueError`` for NaN and infinity, ``TypeError`` for what JSON cannot hold.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: str | Path) -> str:
    """The digest of a file's bytes.  Raises :class:`RunError` when it cannot be read."""
    try:
        status = os.stat(path)
        key = (os.path.abspath(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if key not in _seen:
            with open(path, "rb") as stream:
                _seen[key] = hashlib.file_digest(stream, "sha256").hexdigest()
        return _seen[key]
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None


def digest_folder(path: str | Path) -> str:
    """The digest of all files under a folder, by relative name and content; its own manifest is left out.

    Links to files count as the files; links to folders count by their target's name, so that a loop cannot hang us.
    """
    root = Path(path)
    entries: list[tuple[str, str]] = []
    for folder, subfolders, names in os.walk(root):
        here = Path(folder)
        for name in subfolders:
            if (here / name).is_symlink():
                entries.append(((here / name).relative_to(root).as_posix(), f"-> {os.readlink(here / name)}"))
        for name in names:
            file = here / name
            if here == root and name == MANIFEST:
                continue
            entries.append((file.relative_to(root).as_posix(), digest_file(file)))
    return digest_json(sorted(entries))


def digest_outputs(folder: str | Path) -> dict[str, str]:
    """The digest of each file that a stage made, by its name relative to the ``folder``.

    Left out: the manifest, readings of the clock (``timing.jsonl``, ``tensorboard/``), checkpoints, and stores, which
    grow.
    """
    root = Path(folder)
    found: dict[str, str] = {}
    for file in sorted(root.rglob("*")):
        name = file.relative_to(root).as_posix()
        apart = (
            name in (MANIFEST, "timing.jsonl")
            or name.startswith(("checkpoints/", "tensorboard/"))
            or ".db" in file.suffixes
        )
        if file.is_file() and not (apart or file.name.endswith((".db-wal", ".db-shm"))):
            found[name] = digest_file(file)
    return found


def digest_path(path: str | Path) -> str:
    """The digest of a file or folder.  Raises :class:`RunError` when there is neither."""
    return digest_folder(path) if Path(path).is_dir() else digest_file(path)
