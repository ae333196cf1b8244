"""The loop of a live run: answers are learned as they come, the policy is refreshed and questions sampled beside it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from assent.errors import DataError
from assent.feedback.store import FeedbackStore
from assent.pipeline.live.asking import Asking
from assent.pipeline.live.beside import Beside, Work
from assent.pipeline.live.learner import RANKINGS, Learner, published
from assent.pipeline.live.settings import LiveSettings
from assent.pipeline.stage import Context
from assent.rollout.settings import SamplingOptions
from assent.runs.folder import RunFolder
from assent.runs.manifest import has_manifest
from assent.types import short_id

LOOK = 0.3
"""Seconds between two looks into the store."""
_AT_ONCE = 1.0
"""Seconds of learning after which a checkpoint may be begun and the process beside is looked after."""


class Loop:
    """The state of a live run: versions of the policy, each trained against the reward model of the same number.

    Version 0 is what the run began with.  All lies in the ``stages`` folder of the stage: ``reward-0001`` is published,
    ``policy-0001`` trained from the policy before it, and so on.
    """

    def __init__(self, store: FeedbackStore, learner: Learner, beside: Beside, settings: LiveSettings, out: Context):
        self.settings, self.context, self.learner, self.beside = settings, out, learner, beside
        self.folder = RunFolder(out.out)
        self.folder.create()
        self.store, self.asking = store, Asking(store, settings, self.folder.stages, out.seed)
        answers = store.answers(learner.online.place.upto)
        self.asking.answered(answer.question.id for answer in answers)
        names = [path.parent.name for path in self.folder.stages.glob("policy-*[0-9]/manifest.json")]
        self.version = max([int(name.removeprefix("policy-")) for name in names], default=0)
        self._since = time.monotonic()
        self._sampled = False
        """Whether questions alone were sampled just now: then a refresh is next, however few there are."""
        self._fruitless = -1
        """Answers learned when a batch of questions brought none."""

    def go(self, still_there: Callable[[], None]) -> None:
        """Until the budget of answers is learned, and the policy refreshed by them."""
        if self.version:
            self._announce()
        while not (self.learner.done and not self.beside.busy):
            still_there()
            if not self.once():
                time.sleep(LOOK)
        self.learner.save()
        if self._new_answers() > 0:
            self._refresh(ask=False)
            while self.beside.busy:
                still_there()
                time.sleep(LOOK)
                self._hear()
        for left in (*self.folder.stages.glob("*.partial"), *self.folder.stages.glob(".*")):  # of jobs cut short
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    def once(self) -> bool:
        """Learn, save and look after the work beside; whether answers were read."""
        read = self.learner.learn(_AT_ONCE, self.version)
        self.asking.answered(answer.question.id for answer in read)
        self.learner.save_beside()
        self._hear()
        if not self.beside.busy and not self.learner.done:
            self._begin()
        return bool(read)

    def _begin(self) -> None:
        """Have the policy refreshed where that is due, but nobody wait for questions meanwhile: those come first."""
        low = self._low()
        refresh = self._due() and (self._sampled or not low)
        self._sampled = low and not refresh
        if refresh:
            self._refresh(ask=True)
        elif low:
            self.beside.begin(self._questions(self.version))

    # --- the policy --------------------------------------------------------------------------------------------------

    def _due(self) -> bool:
        """Whether the policy is to be refreshed: a refresh that was begun before a kill at once."""
        if published(self._reward(self.version + 1)) is not None:
            return True
        new, minutes = self._new_answers(), (time.monotonic() - self._since) / 60
        return new >= self.settings.refresh_answers or (new > 0 and minutes >= self.settings.refresh_minutes)

    def _new_answers(self) -> int:
        """Answers learned that the newest policy's reward model had not."""
        return self.learner.learned - (published(self._reward(self.version)) or 0)

    def _refresh(self, ask: bool) -> None:
        """Train the next policy against the reward model as it now is; then sample what to ask about it."""
        number, settings = self.version + 1, self.settings
        reward = self._reward(number)
        if published(reward) is None:
            self.learner.publish(reward)
            self.folder.link("reward", reward)
        self._since = time.monotonic()
        policy = refresh_settings(settings, self._model(self.version), str(reward))
        seed = int(short_id(self.context.seed, "policy", number), 16)
        work = [Work(settings.algorithm, policy, self._policy(number), seed)]
        self.beside.begin([*work, *(self._questions(number) if ask else ())])

    def _hear(self) -> None:
        """What the work beside has come to: a new policy, new questions, or what went wrong."""
        if has_manifest(self._policy(self.version + 1)):
            self.version += 1
            self._announce()
        if not self.beside.ended:
            return
        nothing = None
        try:
            self.beside.hear()
        except DataError as error:
            nothing = error
        if has_manifest(self.asking.made("select")):
            self.asking.ask(self.version)
        elif nothing is not None and has_manifest(self.asking.made("sample")):
            self.asking.pass_over(self.version, str(nothing))
            self._fruitless = self.learner.learned
        elif nothing is not None:
            raise nothing

    def _announce(self) -> None:
        folder = self._policy(self.version)
        self.folder.link("policy", folder)
        self.store.lessons.add_policy(self.learner.run, self.version)
        self.context.say(
            f"policy {self.version} ({published(self._reward(self.version))} answers): {folder}, a candidate; only "
            "`assent release` decides whether it is released"
        )

    # --- questions ---------------------------------------------------------------------------------------------------

    def _low(self) -> bool:
        few = 2 * self.asking.waiting(self.version) < self.settings.questions
        return few and self._fruitless != self.learner.learned

    def _questions(self, version: int) -> list[Work]:
        """Of a version that is there, or will be when they are sampled."""
        reward = self._reward(version) if version else Path(self.settings.reward)
        rankings = reward / RANKINGS
        learned = [str(rankings)] if version and rankings.is_file() else []
        return self.asking.work(self._model(version), str(reward), learned)

    def _model(self, version: int) -> str:
        return str(self._policy(version)) if version else self.settings.model

    def _policy(self, version: int) -> Path:
        return self.folder.stages / f"policy-{version:04d}"

    def _reward(self, version: int) -> Path:
        return self.folder.stages / f"reward-{version:04d}"


def refresh_settings(settings: LiveSettings, model: str, reward: str) -> dict[str, object]:
    """Those of the stage that trains the policy from ``model``."""
    given = settings.model_dump(include=set(SamplingOptions.model_fields))
    given |= {"model": model, "reward": reward, "data": settings.data, "max_steps": settings.refresh_steps}
    if settings.held_to == "first":
        given["reference"] = settings.model
    return given | settings.policy
