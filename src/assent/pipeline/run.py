"""Runs a recipe, or one stage alone: what is done stays done, what was interrupted goes on, the manifest comes last."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assent.config import make_settings
from assent.errors import RecipeError, RunError
from assent.pipeline import outcome, publish, schema
from assent.pipeline.attempt import Attempt, Say, finish
from assent.pipeline.graph import Node, build_node
from assent.pipeline.guards import disk_full_told, terminable
from assent.pipeline.plan import PlannedStage, is_done, plan
from assent.pipeline.recipe import Recipe, StageSpec, check_values, load_recipe, recipe_from
from assent.pipeline.stage import Metrics, Progress, Waiting
from assent.runs.digest import SHORT
from assent.runs.events import EventLog
from assent.runs.folder import RunFolder, atomic_write_text, is_blank, partial_of, sweep
from assent.runs.lock import lock
from assent.runs.manifest import code_version, has_manifest, read_manifest


def run(
    recipe: str | Path | Recipe | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    people: bool = False,
    wait: bool = False,
    say: Say | None = None,
    progress: Progress | None = None,
) -> Path:
    """Run a recipe from its file, its values, or as loaded; returns the run's folder.  See :func:`run_recipe`."""
    if isinstance(recipe, Recipe):
        return run_recipe(recipe, say=say, progress=progress)
    if isinstance(recipe, Mapping):
        return run_recipe(recipe_from(recipe, overrides, people=people, wait=wait), say=say, progress=progress)
    return run_recipe(load_recipe(recipe, overrides, people=people, wait=wait), say=say, progress=progress)


def run_recipe(recipe: Recipe, *, say: Say | None = None, progress: Progress | None = None) -> Path:
    """Run what must run, in the recipe's order, into ``recipe.out``; returns that folder.

    Raises :class:`UserError` for the user's mistakes, :class:`Waiting` when people must answer first, and
    ``KeyboardInterrupt`` on Ctrl-C or SIGTERM, after the stage has had its chance to save.  In each case running again
    goes on from there.
    """
    say, progress = _display(say, progress)
    run_folder = RunFolder(recipe.out)
    planned = plan(recipe)  # its mistakes are told before anything is written
    _refuse_foreign_run(run_folder)
    with disk_full_told(run_folder.path), terminable(), contextlib.ExitStack() as stack:
        run_folder.create()
        stack.enter_context(lock(run_folder.lock_file))
        sweep(run_folder.path, deep=False)
        events = EventLog(run_folder.events)
        planned = plan(recipe)  # again: another process may have finished stages while this one looked
        atomic_write_text(run_folder.recipe, recipe.text)
        names = [item.name for item in planned]
        events.append("run_started", recipe=str(recipe.path or ""), stages=names, code=code_version())
        started, state = time.monotonic(), "failed"
        try:
            _run_all(planned, run_folder, events, say, progress)
            state = "finished"
        except Waiting:
            state = "waiting"
            raise
        except KeyboardInterrupt:
            state = "interrupted"
            raise
        finally:
            with contextlib.suppress(OSError):  # a full disk must not hide what filled it
                seconds = time.monotonic() - started
                events.append(f"run_{state}", seconds=round(seconds, 3))
                outcome.write_summary(run_folder, recipe, planned, state, seconds)
        outcome.publish_report(run_folder, planned)
        for line in outcome.table(planned):
            say(line)
    return run_folder.path


def run_stage(
    kind: str,
    settings: Mapping[str, Any],
    out: str | Path,
    *,
    seed: int = 0,
    overwrite: bool = False,
    say: Say | None = None,
    progress: Progress | None = None,
) -> Path:
    """Run one stage alone into the folder ``out``; returns it.

    Inputs are paths or hub names.  A finished ``out`` of the same identity is left as it is.  Raises :class:`RunError`
    when something else is there, unless ``overwrite``.
    """
    return run_spec(stage_spec(kind, settings, seed), None, out, overwrite=overwrite, say=say, progress=progress)


def run_spec(
    spec: StageSpec,
    base: Path | None,
    out: str | Path,
    *,
    overwrite: bool = False,
    say: Say | None = None,
    progress: Progress | None = None,
) -> Path:
    """:func:`run_stage` for a stage whose settings are checked; ``base`` is the folder its paths are looked for in."""
    say, progress = _display(say, progress)
    folder = Path(os.path.abspath(out)) if Path(out).name in ("", "..") else Path(out)
    node = build_node(spec, {}, base)
    _refuse_foreign(folder, node, overwrite)
    if folder.exists() and has_manifest(folder) and read_manifest(folder).identity == node.identity:
        say(f"{folder}: already done")
        _publish(spec, folder, say)
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder.parent}: cannot be made: {error.strerror}; choose another --out") from None
    lock_file = folder.with_name(f".{folder.name}.lock")
    with disk_full_told(folder), terminable(), lock(lock_file):
        marker = folder.with_name(f".{folder.name}.identity")
        _claim_partial(partial_of(folder), marker, node, overwrite)
        attempt = Attempt(node, partial_of(folder), {}, partial_of(folder), say, progress)
        try:
            metrics, seconds = attempt.run()
            if folder.exists():
                shutil.rmtree(folder)  # empty, or the user said --overwrite
            finish(attempt, folder, metrics, seconds)
        finally:
            if not partial_of(folder).exists():
                marker.unlink(missing_ok=True)
    say(f"{folder}: done in {seconds:.1f} s{outcome.figures(metrics)}")
    _publish(spec, folder, say)
    return folder


def stage_spec(kind: str, settings: Mapping[str, Any], seed: int) -> StageSpec:
    """The settings of a stage that is run alone, checked.  Raises :class:`RecipeError` naming the option."""
    stage = schema.stage_schema(kind, "assent")
    values = {key: value for key, value in settings.items() if value is not None or key not in stage.inputs}
    if "seed" in stage.properties:
        values["seed"] = seed
    places = {key: f"--{key.replace('_', '-')}" for key in values}
    spec = StageSpec(kind, kind, values, seed, kind, places)
    for key, value in values.items():
        if key in stage.inputs and isinstance(value, str) and value.startswith("$"):
            raise RecipeError(f"{places[key]}: '{value}' names a stage; outside a recipe give a path or a hub name")
    return StageSpec(kind, kind, check_values(spec, {}), seed, spec.where, places)


# --- the stages of a recipe ------------------------------------------------------------------------------------------


def _run_all(
    planned: list[PlannedStage], run_folder: RunFolder, events: EventLog, say: Say, progress: Progress
) -> None:
    folders = {item.name: item.folder for item in planned}
    _check_settings(item for item in planned if item.action != "done")
    for number, item in enumerate(planned, 1):
        head = f"[{number}/{len(planned)}] {item.name}"
        if is_done(item.folder, item.digest):
            say(f"{head}: done before, {item.folder}")
        else:
            verb = {"run": "running", "resume": "going on", "done": "running"}[item.action]
            say(f"{head}: {verb} ({item.reason})")
            parents = {name: folders[name] for name in item.node.parents}
            partial = run_folder.partial(item.name, item.digest)
            attempt = Attempt(item.node, partial, parents, run_folder.path, say, progress)
            metrics, seconds = _attempt_logged(attempt, item, events)
            say(f"{head}: {seconds:.1f} s{outcome.figures(metrics)}")
        run_folder.link(item.name, item.folder)
        _publish(item.node.spec, item.folder, say, events, item.digest)


def _publish(spec: StageSpec, folder: Path, say: Say, events: EventLog | None = None, identity: str = "") -> None:
    """Upload the model where that was asked for; within a run, once."""
    name = publish.wanted(spec)
    fields = {"identity": identity, "repository": name}
    if name is None or (events and any(fields.items() <= row.items() for row in events.read())):
        return
    publish.publish(name, folder, say)
    if events:
        events.append("stage_published", **fields)


def _check_settings(planned: Iterable[PlannedStage]) -> None:
    """Let every stage's own settings check the values now, not when its turn comes in an hour."""
    for item in planned:
        spec = item.node.spec
        make_settings(schema.load_stage(spec.kind).Settings, dict(spec.values), f"{spec.where}, {spec.title}")


def _attempt_logged(attempt: Attempt, item: PlannedStage, events: EventLog) -> tuple[Metrics, float]:
    """Run a stage of a recipe and log how it ended; the seconds include those of attempts that were interrupted."""
    identity = item.digest
    earlier = events.seconds_spent(identity)
    events.append("stage_started", stage=item.name, kind=item.kind, identity=identity, reason=item.reason)
    started, state, message = time.monotonic(), "failed", ""
    try:
        metrics, seconds = attempt.run()
        finish(attempt, item.folder, metrics, earlier + seconds)
        state = "finished"
        return metrics, earlier + seconds
    except Waiting as waiting:
        state, message = "waiting", str(waiting)
        raise
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    except Exception as error:
        message = str(error)
        raise
    finally:
        gc.collect()  # the models of one stage are gone before the next loads its own
        with contextlib.suppress(OSError):
            spent = round(time.monotonic() - started, 3)
            note = {"message": message} if message else {}
            events.append(f"stage_{state}", stage=item.name, identity=identity, seconds=spent, **note)


def _refuse_foreign_run(run_folder: RunFolder) -> None:
    path = run_folder.path
    if path.is_dir() and any(path.iterdir()) and not (run_folder.stages.is_dir() or run_folder.events.exists()):
        raise RunError(f"{path}: is not empty and not the folder of a run; choose another --out")


# --- a stage alone ---------------------------------------------------------------------------------------------------


def _refuse_foreign(folder: Path, node: Node, overwrite: bool) -> None:
    remedy = "choose another --out, or pass --overwrite"
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file, expected a folder; choose another --out")
    if overwrite or not folder.exists() or not any(folder.iterdir()):
        return
    if not has_manifest(folder):
        raise RunError(f"{folder}: exists and is not empty; {remedy}")
    identity = read_manifest(folder).identity
    if identity != node.identity:
        raise RunError(f"{folder}: holds the result of other settings or inputs ({identity[:SHORT]}); {remedy}")


def _claim_partial(partial: Path, marker: Path, node: Node, overwrite: bool) -> None:
    """Take over unfinished work of the same identity; that of another one must not be gone on from."""
    if partial.exists():
        known = marker.read_text(encoding="utf-8").strip() if marker.exists() else ""
        if known != node.identity:
            if not overwrite and not is_blank(partial):
                raise RunError(
                    f"{partial}: holds unfinished work of other settings; choose another --out, or pass --overwrite"
                )
            shutil.rmtree(partial)
    atomic_write_text(marker, node.identity + "\n")


def _display(say: Say | None, progress: Progress | None) -> tuple[Say, Progress]:
    if say is not None and progress is not None:
        return say, progress
    from assent.pipeline.display import make_display

    display = make_display()
    return say or display.say, progress or display
