"""One attempt at one stage, in a folder that is unfinished until its manifest is there and it has its name."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from assent.config import make_settings
from assent.errors import NonFiniteError, RunError
from assent.pipeline import publish, schema
from assent.pipeline.graph import Node
from assent.pipeline.inputs import check_inputs, input_records, input_values, lasting_values
from assent.pipeline.stage import Context, Metrics, Progress, Waiting
from assent.runs.digest import MANIFEST, digest_outputs
from assent.runs.folder import CHECKPOINTS, holds_progress, is_blank, sweep, sync_folder, sync_tree
from assent.runs.manifest import (
    Manifest,
    code_version,
    hardware,
    has_manifest,
    package_versions,
    read_manifest,
    write_manifest,
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one stage, in its unfinished folder."""

    node: Node
    partial: Path
    parents: Mapping[str, Path]
    """Finished folders of the stages that it reads."""
    run_dir: Path
    say: Say
    progress: Progress

    def run(self) -> tuple[Metrics, float]:
        """The stage's metrics and the attempt's seconds; after a failure nothing useless is left on the disk."""
        spec = self.node.spec
        done = _whole(self.partial, self.node.identity)
        if done is not None:  # killed between its manifest and its name
            return done.metrics, 0.0
        check_inputs(self.node, self.parents)
        values = input_values(self.node, self.parents)
        started = time.monotonic()
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            sweep(self.partial)
            stage = schema.load_stage(spec.kind)
            settings = make_settings(stage.Settings, values, f"{spec.where}, {spec.title}")
            context = Context(self.partial, spec.seed, self.progress, self.say, self.run_dir)
            publish.warn_early(spec, self.say)
            ranks = import_module(
                "assent.pipeline.ranks"
            )  # by name: it may import torch, and the command line must not
            metrics = ranks.run_together(stage, settings, values, f"{spec.where}, {spec.title}", context)
            return metrics, time.monotonic() - started
        except Exception as error:
            if not isinstance(error, (Waiting, NonFiniteError)):  # the one goes on, the other saved its batch
                self._discard(lambda folder: not holds_progress(folder))
            raise
        finally:
            self.progress.stop()
            self._discard(is_blank)

    def _discard(self, useless: Callable[[Path], bool]) -> None:
        if self.partial.is_dir() and useless(self.partial):
            shutil.rmtree(self.partial, ignore_errors=True)


def finish(attempt: Attempt, folder: Path, metrics: Metrics, seconds: float) -> None:
    """Write the manifest into the unfinished folder: now it is whole.  Then drop its checkpoints and rename it."""
    node = attempt.node
    attempt.partial.mkdir(parents=True, exist_ok=True)  # a stage may have nothing to write but its metrics
    if _whole(attempt.partial, node.identity) is None:
        sync_tree(attempt.partial)
        write_manifest(attempt.partial, _manifest(attempt, folder, metrics, seconds))
    shutil.rmtree(attempt.partial / CHECKPOINTS, ignore_errors=True)
    attempt.partial.rename(folder)
    sync_folder(folder.parent)


def _whole(partial: Path, identity: str) -> Manifest | None:
    """The manifest of an unfinished folder that only lacks its name; one that was edited since does not count."""
    if not has_manifest(partial):
        return None
    with contextlib.suppress(RunError):
        manifest = read_manifest(partial)
        if manifest.identity == identity:
            return manifest
    (partial / MANIFEST).unlink()
    return None


def _manifest(attempt: Attempt, folder: Path, metrics: Metrics, seconds: float) -> Manifest:
    node, spec = attempt.node, attempt.node.spec
    return Manifest(
        stage=spec.name,
        kind=spec.kind,
        version=node.version,
        identity=node.identity,
        settings=node.settings,
        inputs=input_records(node, attempt.parents, folder),
        metrics=metrics,
        seed=spec.seed,
        code=code_version(),
        packages=package_versions(),
        hardware=hardware(),
        wall_seconds=round(seconds, 3),
        created=time.time(),
        outputs=digest_outputs(attempt.partial),
        recipe=_recipe(node, attempt.parents),
    )


def _recipe(node: Node, parents: Mapping[str, Path]) -> dict[str, Any]:
    """The stages that led here, from the manifests of those that it read, and itself."""
    found: dict[str, Any] = {}
    for name in node.parents:
        found |= read_manifest(parents[name]).recipe
    values = {"uses": node.spec.kind, "seed": node.spec.seed, **lasting_values(node)}
    inputs = {item.label: item.digest for item in node.inputs}
    return {**found, node.name: {"values": values, "identity": node.identity, "inputs": inputs}}
