"""``assent release``: the gate as a verb, over a suite in a file that is frozen at its first use.

A suite is YAML: ``name``, ``version``, ``seed``, and the settings of the stage ``release`` but for the two models; a
path in it is looked for beside it.  Beside it too lies its lock, which holds a digest of each version: what a version
asks never changes, so that two releases by it can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from assent.errors import RecipeError, RunError
from assent.pipeline import yamltext
from assent.pipeline.graph import Node, build_node
from assent.pipeline.recipe import StageSpec, check_values
from assent.pipeline.run import run_spec
from assent.pipeline.schema import stage_schema
from assent.runs.digest import digest_json
from assent.runs.folder import atomic_write_json

_OWN = {"name": "suite", "version": "suite_version"}
"""Key of a suite -> setting of the stage."""
_MODELS = ("model", "against")


def release(suite: str, model: str, against: str, out: str, overwrite: bool = False) -> tuple[bool, Path]:
    """Whether ``model`` passed the suite against the released model ``against``, and the folder of the evidence.

    Raises :class:`~assent.errors.RecipeError` for a suite that is wrong, or that changed under its version.
    """
    spec = load_suite(suite, model, against)
    base = Path(suite).parent
    freeze(lock_of(suite), spec, build_node(spec, {}, base))
    folder = run_spec(spec, base, out, overwrite=overwrite)
    found = json.loads((folder / "release.json").read_text(encoding="utf-8"))
    return bool(found["passed"]), folder


def load_suite(suite: str, model: str, against: str) -> StageSpec:
    """The gate's stage with the two models.  Raises :class:`~assent.errors.RecipeError` naming file and line."""
    try:
        text = Path(suite).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{suite}: cannot be read as text: {error}") from None
    tree, lines = yamltext.parse(text, suite)
    if not isinstance(tree, Mapping):
        raise RecipeError(f"{suite}: expected settings, such as 'name: films'; see the guide")
    given: dict[str, Any] = dict(tree)
    for key in (*_OWN, "data", "checks"):
        if key not in given:
            raise RecipeError(f"{suite}: a suite needs '{key}'")
    for key in (*_OWN.values(), *_MODELS, "policies"):
        if key in given:
            raise RecipeError(f"{suite}, line {lines[(key,)]}: '{key}' is not a suite's to say; take it out")
    places = {_OWN.get(str(path[0]), str(path[0])): f"{suite}, line {n}" for path, n in lines.items() if len(path) == 1}
    places |= {"model": "--model", "against": "--against"}
    seed = given.pop("seed", 0)
    values = {_OWN.get(key, key): value for key, value in given.items()} | {"model": model, "against": against}
    if "seed" in stage_schema("release", suite).properties:
        values["seed"] = seed
    spec = StageSpec("release", "release", values, seed, suite, places)
    inner = {("stages", "release", *path): f"{suite}, line {n}" for path, n in lines.items()}
    return replace(spec, values=check_values(spec, inner))


def lock_of(suite: str) -> Path:
    """Where the digests of a suite's versions are kept."""
    return Path(suite).with_suffix(".lock")


def freeze(lock: Path, spec: StageSpec, node: Node) -> str:
    """The suite's digest, kept in the lock at its first use.

    Raises :class:`~assent.errors.RecipeError` where this version asked something else before.
    """
    properties = stage_schema("release", spec.where).properties
    digest = digest_json(
        {
            "settings": {k: v for k, v in node.settings.items() if properties[k].get("identity", True)},
            "inputs": {item.label: item.digest for item in node.inputs if item.label not in _MODELS},
            "seed": spec.seed,
        }
    )
    try:
        known = json.loads(lock.read_text(encoding="utf-8")) if lock.exists() else {}
    except ValueError as error:
        raise RunError(f"{lock}: cannot be read as JSON ({error}); put it back from version control") from None
    version = str(spec.values["suite_version"])
    if known.get(version, digest) != digest:
        raise RecipeError(
            f"{spec.place('suite_version')}: version {version} of this suite was used before with other settings or "
            f"data ({lock}); undo the change, or raise version"
        )
    if version not in known:
        atomic_write_json(lock, {**known, version: digest})
    return digest
