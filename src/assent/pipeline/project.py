"""``assent init``: a new project from the template."""

from __future__ import annotations

import shutil
from pathlib import Path

from assent.errors import RunError

TEMPLATES = Path(__file__).with_name("templates")
_RENAMED = {"gitignore": ".gitignore"}  # under its real name it would hide files of ours, and wheels leave it out


def init_project(folder: str | Path) -> list[Path]:
    """Copy the template into ``folder``; returns the files made.  Raises :class:`RunError` when it is not empty."""
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise RunError(f"{target}: is a file, expected a new or empty folder")
    if target.is_dir() and any(target.iterdir()):
        raise RunError(f"{target}: is not empty; choose a new or empty folder")
    made: list[Path] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for source in sorted(TEMPLATES.iterdir()):
            if source.is_file():
                made.append(target / _RENAMED.get(source.name, source.name))
                shutil.copyfile(source, made[-1])
    except OSError as error:
        raise RunError(f"{target}: the project cannot be written there: {error.strerror}") from None
    return made
