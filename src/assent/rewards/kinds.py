"""Sources of reward as folders: ``reward.json`` says which kind of source and with which settings.

Such a folder stands wherever a reward model's does, so that what is written about a source is written once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from assent.config import Settings, make_settings
from assent.errors import DataError, ModelError
from assent.rewards.source import RewardSource
from assent.runs.digest import digest_path
from assent.runs.folder import atomic_write_json

FILE = "reward.json"


@dataclass(frozen=True)
class SourceKind:
    """A kind of source; settings that name inputs carry their kind of artifact (:func:`assent.config.Input`)."""

    name: str
    summary: str
    Settings: type[Settings]
    make: Callable[[Any], RewardSource]
    """From settings.  Raises :class:`~assent.errors.UserError` for what cannot work."""


KINDS: Mapping[str, str] = {
    "pattern": "assent.rewards.pattern",
    "length": "assent.rewards.length",
    "json": "assent.rewards.json_validity",
    "answer": "assent.rewards.answer",
    "code": "assent.rewards.code",
    "function": "assent.rewards.function",
    "classifier": "assent.rewards.classifier",
    "judge": "assent.rewards.judge",
    "human": "assent.rewards.human",
}
"""Name -> the module whose ``KIND`` it is."""


def load_kind(name: str) -> SourceKind:
    """The kind of a name in :data:`KINDS`."""
    return import_module(KINDS[name]).KIND


def is_source(source: str | Path) -> bool:
    """Whether a path is the folder of a source of reward that is no model."""
    return (Path(source) / FILE).is_file()


def write_source(folder: Path, kind: SourceKind, settings: Settings, within: Path) -> None:
    """Write a source's folder.  Inputs that lie ``within`` (the run's folder) are named relative to it, so that the run
    can be moved; of a function's file the digest is kept, so that it cannot change unseen."""
    values = settings.model_dump()
    digests: dict[str, str] = {}
    for key, artifact in _inputs(kind).items():
        if artifact == "store" and "://" not in str(values[key]):
            values[key] = str(Path(values[key]).expanduser().resolve())  # it may not be there yet
        path, colon, name = _path_of(values[key])
        if path is None:
            continue
        inside = path.resolve().is_relative_to(within.resolve())
        values[key] = (os.path.relpath(path.resolve(), folder.resolve()) if inside else str(path.resolve())) + (
            colon + name
        )
        if path.suffix == ".py":
            digests[key] = digest_path(path)
    atomic_write_json(folder / FILE, {"source": kind.name, "settings": values, "digests": digests})


def read_source(folder: str | Path) -> RewardSource:
    """The source that a folder describes.  Raises :class:`DataError` for one that cannot be read or used any more."""
    path = Path(folder) / FILE
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        name, values, digests = given["source"], dict(given["settings"]), dict(given["digests"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"is not the description of a source of reward ({error}); make it again", path) from None
    if name not in KINDS:
        raise DataError(f"describes a source of kind '{name}'; known: {', '.join(KINDS)}", path)
    kind = load_kind(name)
    for key in _inputs(kind):
        values[key] = _located(values.get(key), Path(folder))
        found = _path_of(values[key])[0]
        if key in digests and (found is None or digest_path(found) != digests[key]):
            raise ModelError(f"{found or values[key]}: was changed or moved after {path} was made; make {folder} again")
    return kind.make(make_settings(kind.Settings, values, str(path)))


def _inputs(kind: SourceKind) -> dict[str, str]:
    """Settings that name inputs -> the kind of artifact."""
    extras = {key: item.json_schema_extra for key, item in kind.Settings.model_fields.items()}
    return {
        key: str(extra["artifact"]) for key, extra in extras.items() if isinstance(extra, dict) and "artifact" in extra
    }


def _path_of(value: Any) -> tuple[Path | None, str, str]:
    """The file or folder that an input names, and the function within it; ``None`` for a hub name and the like."""
    if not isinstance(value, str):
        return None, "", ""
    path, colon, name = value.rpartition(":") if ".py:" in value else (value, "", "")
    return (Path(path), colon, name) if Path(path).exists() else (None, "", "")


def _located(value: Any, folder: Path) -> Any:
    return os.path.normpath(folder / value) if isinstance(value, str) and value.startswith("..") else value
