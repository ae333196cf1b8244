"""Targets: recipes, overrides, and the settings that are typed after a verb."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

import assent.cli
from assent.config import make_settings
from assent.errors import AssentError
from assent.pipeline.graph import build_graph
from assent.pipeline.recipe import load_recipe, parse_recipe
from assent.pipeline.run import stage_spec
from assent.pipeline.schema import load_stage, stage_schemas
from benchmarks.fuzz.junk import TEXTS, edited, spoilt
from benchmarks.fuzz.target import Outcome, Target, refusal

_READY = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
_YAML = st.recursive(
    TEXTS.filter(lambda text: "\ud800" not in text) | st.integers() | st.floats() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab$./", max_size=3), inner, max_size=3),
    max_leaves=5,
)
_VALUES = st.sampled_from(
    ["1", "0.5", "1e-4", "-1", "true", "null", "[a, b]", "{a: 1}", "[{name: a}]", "nan", ".inf", "a", "policy",
     "9" * 400,
     "1e999", "!!set {a}", "&a [*a]", "[" * 2_000, "0x" + "f" * 5_000, "'", "2024", ""],
)  # fmt: skip


@cache
def _ready() -> list[Any]:
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in _READY]


@st.composite
def _recipes(draw: Callable[..., Any]) -> tuple[bytes, list[str]]:
    if draw(st.booleans()):
        text = draw(edited(draw(st.sampled_from(_READY)).read_bytes()))
    else:
        tree = draw(spoilt(_ready(), junk=_YAML, most=2))
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=draw(st.booleans())).encode()
    return text, draw(st.lists(_overrides(), max_size=1))


@st.composite
def _overrides(draw: Callable[..., Any]) -> str:
    stage = draw(st.sampled_from([*_ready()[0]["stages"], "sfft", "", "seed"]))
    kinds = stage_schemas()
    known = sorted(kinds[stage].properties) if stage in kinds else ["data", "uses"]
    parts = [stage, *draw(st.lists(st.sampled_from([*known, "", "a", "uses"]), max_size=2))]
    return ".".join(parts) + draw(st.sampled_from(["=", "=", "=", "", "=="])) + draw(_VALUES | TEXTS)


def _recipe(drawn: tuple[bytes, list[str]], folder: Path) -> Outcome:
    text, overrides = drawn
    path = folder / "recipe.yaml"
    path.write_bytes(text)
    try:
        recipe = load_recipe(path, overrides)
    except AssentError as error:
        return refusal(error, *([] if overrides else [path]))
    assert recipe.stages
    again = parse_recipe(recipe.text, "again")
    assert [(s.name, s.kind, repr(dict(s.values))) for s in again.stages] == [
        (s.name, s.kind, repr(dict(s.values))) for s in recipe.stages
    ]
    try:
        build_graph(recipe)
    except AssentError as error:
        return refusal(error)
    return "taken"


@st.composite
def _commands(draw: Callable[..., Any]) -> list[str]:
    kind = draw(st.sampled_from(sorted(name for name, stage in stage_schemas().items() if stage.verb)))
    stage = stage_schemas()[kind]
    words = [kind, "--out", "out"]
    for name in stage.required:
        words += [f"--{name.replace('_', '-')}", "given"]
    for name in draw(st.lists(st.sampled_from(sorted(stage.properties)), max_size=3)):
        flag = "--" + name.replace("_", "-") + draw(st.sampled_from(["", "", "", ".a", ".name"]))
        words += [flag, draw(_VALUES | TEXTS)] if draw(st.integers(0, 9)) else [flag]
    return words


def _command(words: list[str], folder: Path) -> Outcome:
    """The command line up to where the stage would begin."""

    def checked(kind: str, settings: dict[str, Any], out: str, seed: int, overwrite: bool, nproc: int) -> None:
        spec = stage_spec(kind, settings, seed)
        make_settings(load_stage(kind).Settings, dict(spec.values), kind)

    said, before = io.StringIO(), assent.cli._run_stage
    assent.cli._run_stage = checked
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = assent.cli.main(words)
    finally:
        assent.cli._run_stage = before
    assert status in (0, 2), said.getvalue()
    assert "Traceback" not in said.getvalue(), said.getvalue()
    if status:
        last = said.getvalue().strip()
        assert last.startswith("assent: ")
        assert len(last.splitlines()) == 1, last
        assert len(last) < 2_000, last[:300]
        last.encode()
    return "refused" if status else "taken"


TARGETS = [Target("recipes", _recipes(), _recipe), Target("settings typed after a verb", _commands(), _command)]
