"""The policy as it was on the way: model folders that an evaluation reads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from assent.models.policy import Policy
from assent.models.save import save_model
from assent.training.callbacks import Callback, StepEvent
from assent.training.distributed import is_main

FOLDER = "snapshots"


class Snapshots(Callback):
    """Writes the policy into ``snapshots/step-N`` every ``every`` steps, the last step aside, whose weights the stage
    saves itself.  A step that a resumed run does again replaces what the killed one wrote."""

    everywhere = True

    def __init__(
        self,
        policy: Policy,
        folder: Path,
        every: int,
        method: str,
        merge: bool = True,
        whole: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """``merge`` is that of :func:`assent.models.save.save_model`; within ``whole``, which all processes enter
        together, the policy holds its weights."""
        self.policy, self.folder, self.every, self.method = policy, folder / FOLDER, every, method
        self.merge, self.whole = merge, whole

    def after_step(self, event: StepEvent) -> bool:
        if event.step % self.every or event.step == event.total:
            return False
        with self.whole():
            if is_main():
                self._write(event)
        return False

    def _write(self, event: StepEvent) -> None:
        final = self.folder / f"step-{event.step:06d}"
        aside = final.with_suffix(".tmp")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        settings = {"step": event.step, "of": event.total}
        save_model(
            self.policy,
            aside,
            method=self.method,
            base="the policy before this stage",
            settings=settings,
            merge=self.merge,
            home=self.folder.parent.parent,
        )
        shutil.rmtree(final, ignore_errors=True)
        os.replace(aside, final)


def snapshots_of(folder: Path) -> dict[str, Path]:
    """Step -> model folder of each snapshot of a training stage, in order; empty where none was kept."""
    found = sorted(path for path in (folder / FOLDER).glob("step-*") if path.suffix != ".tmp")
    return {str(int(path.name.removeprefix("step-"))): path for path in found}
