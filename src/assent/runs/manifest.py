"""The manifest of a stage's folder: what made it, from what, with what, and what came out.

It is written last.  A folder with a manifest is whole.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, cast

import assent
from assent.errors import RunError
from assent.runs.digest import MANIFEST, SHORT, digest_json
from assent.runs.folder import atomic_write_json

FORMAT = 1
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "datasets", "numpy", "vllm")
"""Packages whose versions can change a result."""


R = TypeVar("R", bound="InputRecord | Manifest")
_KINDS: Mapping[str, Any] = {
    "str": str,
    "str | None": (str, type(None)),
    "int": int,
    "float": (int, float),
    "tuple": tuple,
    "Mapping": dict,
}


@dataclass(frozen=True, slots=True)
class InputRecord:
    """One input of a stage."""

    name: str
    """The setting that names it."""
    source: str
    """As the recipe has it: ``$stage``, a path, a hub name."""
    digest: str
    """What enters the stage's identity: content, the parent's identity with the file within it, or the hub name.
    Empty for a store, which grows and does not enter."""
    path: str | None = None
    """Where the stage read it: relative to the stage's folder when it lies in the same run, else absolute; ``None``
    for a hub name."""
    parent: str | None = None
    """The identity of the stage that made it; ``None`` when no stage did."""
    parent_folder: str | None = None
    """That stage's folder, written like ``path``."""
    artifact: str = ""
    """What it is: model, data, folder, store or code; empty in manifests of before this was written down."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """See the fields.  Digests are SHA-256, 64 hexadecimal digits."""

    stage: str
    """The stage's name in the recipe."""
    kind: str
    version: int
    """The version of the stage's code contract, raised when the same input would give another result."""
    identity: str
    """Digest of kind, version, settings, seed and inputs."""
    settings: Mapping[str, Any]
    """All settings but the inputs, defaults included."""
    inputs: tuple[InputRecord, ...]
    metrics: Mapping[str, float | int | str]
    seed: int
    code: str
    """Version of assent, with the revision when it runs from a checkout."""
    packages: Mapping[str, str]
    hardware: Mapping[str, Any]
    wall_seconds: float
    """All attempts together, in seconds."""
    created: float
    """Seconds since the epoch, UTC."""
    outputs: Mapping[str, str] = field(default_factory=dict[str, str])
    """The digest of each file made, by its name in the folder; see :func:`~assent.runs.digest.digest_outputs`."""
    recipe: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """All that is needed to make it again: each stage of the recipe that had a part in it, this one last, with its
    ``values`` as a recipe has them, its ``identity``, and the digests of its ``inputs``."""


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``folder/manifest.json`` atomically, with a checksum of itself."""
    value = dataclasses.asdict(manifest)
    value["inputs"] = [dataclasses.asdict(item) for item in manifest.inputs]
    value["metrics"] = {name: _plain(figure) for name, figure in manifest.metrics.items()}
    value = {"format": FORMAT, **value}
    atomic_write_json(folder / MANIFEST, {**value, "checksum": digest_json(value)})


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest in ``folder``.  Raises :class:`RunError` when it is missing, torn, edited or from the future."""
    path = Path(folder) / MANIFEST
    remedy = f"delete {folder} to have its stage run again"
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
        digest = digest_json({name: part for name, part in loaded.items() if name != "checksum"})
    except FileNotFoundError:
        raise RunError(f"{path}: there is no manifest, so the folder is not a finished stage") from None
    except (AttributeError, TypeError):
        raise RunError(f"{path}: is not a manifest; {remedy}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read as JSON ({error}); {remedy}") from None
    value = cast("dict[str, Any]", loaded)
    if isinstance(value.get("format"), int) and value["format"] > FORMAT:
        raise RunError(f"{path}: was written by a newer assent (format {value['format']}); upgrade assent to read it")
    if value.pop("checksum", None) != digest:
        raise RunError(f"{path}: was edited or damaged after it was written; {remedy}")
    value.pop("format", None)
    try:
        value["inputs"] = tuple(_of_types(InputRecord(**item)) for item in value["inputs"])
        return _of_types(Manifest(**value))
    except (KeyError, TypeError) as error:
        raise RunError(f"{path}: is not a manifest ({error}); {remedy}") from None


def _of_types(record: R) -> R:
    """The record, whose fields have the types that they should.  ``TypeError`` names one that has not."""
    for item in dataclasses.fields(record):
        value: Any = getattr(record, item.name)
        kinds = _KINDS[str(item.type).partition("[")[0]]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise TypeError(f"field '{item.name}' of a {type(record).__name__} is {type(value).__name__}")
    return record


def has_manifest(folder: str | Path) -> bool:
    """Whether the folder is whole."""
    return (Path(folder) / MANIFEST).is_file()


def find_manifest(path: str | Path) -> Path | None:
    """The folder of the finished stage that a path lies in (or is); ``None`` when it lies in none."""
    here = Path(path).resolve()
    for folder in (here, *here.parents):
        if has_manifest(folder):
            return folder
    return None


def newest_manifest(stages: Path, stage: str) -> Manifest | None:
    """The stage's newest manifest in a run; damaged ones are passed over, since they only serve to compare."""
    pattern = re.compile(re.escape(stage) + rf"-[0-9a-f]{{{SHORT}}}")
    found: list[Manifest] = []
    if stages.is_dir():
        for folder in stages.iterdir():
            if pattern.fullmatch(folder.name) and has_manifest(folder):
                try:
                    found.append(read_manifest(folder))
                except RunError:
                    continue
    return max(found, key=lambda manifest: manifest.created, default=None)


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that can change a result, read without importing them."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def code_version() -> str:
    """assent's version, with the git revision and ``-dirty`` when it runs from a checkout."""
    checkout = Path(assent.__file__).resolve().parents[2]
    if not ((checkout / ".git").exists() and (checkout / "src" / "assent").is_dir()):
        return assent.__version__
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        revision = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return assent.__version__
    return f"{assent.__version__}+{revision}"


def hardware() -> dict[str, Any]:
    """The machine: system, processor, cores, and the GPU where a stage has already loaded torch and sees one."""
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
    torch: Any = sys.modules.get("torch")  # never import it here: this package stays light
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found


def _plain(figure: Any) -> float | int | str:
    """A metric as JSON holds it: scalars of other libraries become Python's, what is not finite its name."""
    if isinstance(figure, (bool, int, str)):
        return figure
    number = float(figure)
    return number if math.isfinite(number) else str(number)
