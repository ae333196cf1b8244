"""Which model an adapter folder belongs on: ``base_model_name_or_path`` of its ``adapter_config.json``."""

from __future__ import annotations

import json
import os
from pathlib import Path

ADAPTER_CONFIG = "adapter_config.json"
"""The file that makes a folder an adapter's, as ``peft`` writes it."""


def adapter_base(source: str | Path) -> str | None:
    """The folder or hub name that the adapter in a folder is for; ``None`` where the folder is no adapter's.

    A relative path counts from the adapter's folder, or else from the current one.  Empty where the file says nothing.
    """
    folder = Path(source)
    try:
        named = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except OSError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    if not isinstance(named, str) or not named:
        return ""
    beside = folder.resolve() / named
    return str(beside.resolve()) if beside.is_dir() else named


def bases_of(source: str | Path) -> list[str]:
    """What an adapter folder is for, what that one is for, and so on down to a whole model; empty for a whole model."""
    found: list[str] = []
    base = adapter_base(source)
    while base and base not in found:
        found.append(base)
        base = adapter_base(base)
    return found


def written_base(base: str, folder: Path, home: Path) -> str:
    """How an adapter in ``folder`` names its base: relative where both lie within ``home``, so that a run can be moved;
    a hub name as it is, any other folder by its whole path."""
    path = Path(base)
    if not path.is_dir():
        return base
    path = path.resolve()
    return os.path.relpath(path, folder.resolve()) if path.is_relative_to(home.resolve()) else str(path)
