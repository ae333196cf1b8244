"""Stage ``live``: people answer, and the reward model, the policy and the questions follow."""

from __future__ import annotations

import contextlib

from assent.feedback.store import FeedbackStore
from assent.pipeline.live.beside import Beside, half_the_threads
from assent.pipeline.live.learner import UPDATES, Learner
from assent.pipeline.live.loop import Loop, refresh_settings
from assent.pipeline.live.settings import LiveSettings
from assent.pipeline.run import stage_spec
from assent.pipeline.serving import labelling_app
from assent.pipeline.stage import Context, Metrics, Stage
from assent.runs.folder import read_jsonl

_RECENT = 100
"""Answers that the accuracy of a finished run is of."""


def run(settings: LiveSettings, context: Context) -> Metrics:
    """Writes the newest ``reward`` and ``policy``, every version before them in ``stages``, and what was learned."""
    # a mistake in what is said of the refreshes is told now, not in five minutes
    stage_spec(settings.algorithm, refresh_settings(settings, settings.model, settings.reward), context.seed)
    address = settings.store or str(context.run_dir / "feedback.db")
    with FeedbackStore.open(address) as store, contextlib.ExitStack() as ends:
        threads = ends.enter_context(half_the_threads())
        learner = Learner(store, settings, context)
        ends.callback(learner.close)
        still_there = ends.enter_context(labelling_app(address, settings.port, context.say))
        beside = ends.enter_context(Beside(threads))
        loop = Loop(store, learner, beside, settings, context)
        context.say(f"answer at http://127.0.0.1:{settings.port}/; what is learned of it: /live there")
        context.progress.start("learning from answers", settings.answers, learner.learned)
        loop.go(still_there)
        context.progress.stop()
    foreseen = [row["accuracy"] for row in read_jsonl(context.out / UPDATES) if row["accuracy"] is not None]
    recent = foreseen[-_RECENT:]
    accuracy = {"accuracy_before_learning": sum(recent) / len(recent)} if recent else {}
    steps = learner.online.training.step
    return {"answers": learner.learned, "policies": loop.version, "steps": steps, **accuracy}


STAGE = Stage(kind="live", summary="Learn while people answer", Settings=LiveSettings, run=run, version=2)
