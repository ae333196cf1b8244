"""The reward model of a live run: it learns what the store has, saves itself, and is published as a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from assent.data.readers import describe, read_comparisons, read_rankings
from assent.errors import DataError, RecipeError
from assent.feedback.answers import StoredAnswer, kind_of
from assent.feedback.comparisons import comparisons_from_rankings
from assent.feedback.lessons import Lesson
from assent.feedback.store import FeedbackStore
from assent.models.device import pick_device
from assent.models.load import ENSEMBLE, load_reward_model
from assent.models.save import save_model
from assent.models.scalar import RewardModel
from assent.pipeline.live.settings import LiveSettings
from assent.pipeline.stage import Context
from assent.pipeline.stages.reward import mean_scores
from assent.runs.digest import digest_json, digest_outputs, digest_path
from assent.runs.folder import append_jsonl, partial_of, read_jsonl, sync_folder, sync_tree
from assent.runs.manifest import (
    InputRecord,
    Manifest,
    code_version,
    find_manifest,
    hardware,
    has_manifest,
    package_versions,
    read_manifest,
    write_manifest,
)
from assent.training.examples import comparison_examples
from assent.training.online import OnlineReward
from assent.training.sources import Example
from assent.types import Comparison, short_id, to_json

RANKINGS, UPDATES = "rankings.jsonl", "updates.jsonl"


class Learner:
    """Answers in, a reward model out.

    ``rankings.jsonl`` has every answer learned, ``updates.jsonl`` what each did; both have a row for each answer that
    the newest checkpoint names, and perhaps rows of answers that will be learned again after a kill.
    """

    def __init__(self, store: FeedbackStore, settings: LiveSettings, context: Context) -> None:
        self.store, self.settings, self.context = store, settings, context
        self.run = short_id("live", str(context.out.resolve()))
        model = _opened(settings.reward)
        comparisons = [pair for source in settings.replay for pair in _comparisons(source)]
        self._known = {pair.ranking for pair in comparisons if pair.ranking is not None}
        before = self._examples(model, comparisons, "replay") if comparisons else []
        self.online = OnlineReward(model, settings, context.out, context.seed, context.say, before)
        self._logs = [context.out / RANKINGS, context.out / UPDATES]
        self.online.place.files_behind = self._logs
        self._restore()
        self._foreseen = deque[float](maxlen=50)
        self._unsaved: list[Lesson] = []
        """Learned since the newest checkpoint was begun."""
        self._saving: list[Lesson] = []
        """Learned by the weights of the checkpoint that is being written."""
        self._saved_upto = self.online.place.upto

    @property
    def learned(self) -> int:
        """Answers learned."""
        return len(self.online.place.learned)

    @property
    def done(self) -> bool:
        """Whether the budget of answers is spent."""
        return self.settings.answers is not None and self.online.place.given >= self.settings.answers

    def close(self) -> None:
        """Let what is being written be written."""
        self.online.training.saver.close()

    def learn(self, seconds: float, policy: int) -> list[StoredAnswer]:
        """Learn the answers that are new in the store, for so many ``seconds`` at most; those that were read.

        ``policy`` is the version of the newest one.
        """
        place, until = self.online.place, time.monotonic() + seconds
        upto = self.store.last_event()
        if upto == place.upto:
            return []
        for gone in self.store.withdrawn(place.upto, upto):
            self.online.pool.pop(gone, None)
        read: list[StoredAnswer] = []
        for answer in self.store.answers(upto, after=place.upto):
            if self.done or time.monotonic() > until:
                return read
            self._take(answer, policy)
            place.upto = answer.event
            read.append(answer)
        place.upto = upto
        return read

    def _take(self, answer: StoredAnswer, policy: int) -> None:
        ranking = answer.ranking()
        asked = answer.question.project == self.settings.project, answer.question.criterion == self.settings.criterion
        if ranking is None or not all(asked) or kind_of(answer.annotator) != "people" or ranking.id in self._known:
            return
        self.online.place.given += 1
        example = self._example(answer)
        if answer.annotator in self.settings.without or example is None:
            return
        update = self.online.learn(answer.event, example)
        append_jsonl(self._logs[0], to_json(ranking))
        row = {"update": self.learned, "answer": answer.event, "replayed": update.replayed, "policy": policy}
        append_jsonl(self._logs[1], {**row, "accuracy": update.accuracy, "loss": update.loss})
        self._unsaved.append(Lesson(answer.event, update.accuracy, policy))
        if update.accuracy is not None:
            self._foreseen.append(update.accuracy)
        shown = {"foreseen": sum(self._foreseen) / len(self._foreseen)} if self._foreseen else {}
        self.context.progress.advance(1, **shown)

    def save_beside(self) -> None:
        """Begin a checkpoint where there is something new and none is being written; tell the store what is safe."""
        saver = self.online.training.saver
        if saver.busy:
            return
        if self._saving:
            saver.wait()
            self.store.lessons.add(self.run, self._saving)
            self._saving = []
        if self._unsaved or self.online.place.upto != self._saved_upto:
            self._saving, self._unsaved = self._unsaved, []
            self._saved_upto = self.online.place.upto
            self.online.training.begin_saving()

    def save(self) -> None:
        """The same, and wait for it."""
        for _ in range(2):  # what is being written, and what was learned meanwhile
            self.save_beside()
            self.online.training.saver.wait()
        self.save_beside()

    def publish(self, folder: Path) -> None:
        """Write the reward model as it is now into ``folder``, whole or not at all, with all that shaped it."""
        self.save()
        aside = partial_of(folder)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        shown = self.settings.model_dump(include={"steps", "replayed", "learning_rate"})
        with self._centred():
            save_model(self.online.model, aside, method="live", base=Path(self.settings.reward).name, settings=shown)
        if self.learned:
            shutil.copyfile(self._logs[0], aside / RANKINGS)
        sync_tree(aside)
        write_manifest(aside, self._manifest(aside))
        aside.rename(folder)
        sync_folder(folder.parent)

    @contextlib.contextmanager
    def _centred(self) -> Generator[None]:
        """The mean score of what was learned as the offset: of what is published, for training needs none."""
        model, before = self.online.model, self.online.model.offsets
        examples = [*reversed(self.online.pool.values()), *self.online.before]
        if examples and self.settings.centre_rows:
            model.set_offsets([0.0])
            model.set_offsets(mean_scores(model, examples, self.settings.centre_rows, self.settings.token_budget))
        try:
            yield
        finally:
            model.set_offsets(before)

    def _manifest(self, aside: Path) -> Manifest:
        """As that of a stage: what led to this reward model, down to the people."""
        sources = [("reward", "model", self.settings.reward)]
        sources += [(f"replay[{number}]", "data", source) for number, source in enumerate(self.settings.replay)]
        inputs = (
            *(_input(*source) for source in sources),
            InputRecord("store", self.store.address, "", self.store.address, artifact="store"),
        )
        known = {"answers": self.learned, "store_event": self.online.place.upto}
        settings = {"seed": self.context.seed, **known}
        return Manifest(
            stage="live",
            kind="live",
            version=1,
            identity=digest_json(["live", settings, [item.digest for item in inputs], self.online.place.learned]),
            settings=settings,
            inputs=inputs,
            metrics=known,
            seed=self.context.seed,
            code=code_version(),
            packages=package_versions(),
            hardware=hardware(),
            wall_seconds=0.0,
            created=time.time(),
            outputs=digest_outputs(aside),
        )

    # --- going on ----------------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        """What the checkpoint's answers were, from the store; what the files say behind it is cut off."""
        place = self.online.place
        for path in self._logs:
            _cut(path, len(place.learned))
        self.store.lessons.add_policy(self.run, 0)
        rows = read_jsonl(self._logs[1])
        self.store.lessons.add(self.run, (Lesson(row["answer"], row["accuracy"], row["policy"]) for row in rows))
        learned = set(place.learned)
        for answer in self.store.answers(place.upto) if learned else ():
            example = self._example(answer) if answer.event in learned else None
            if example is not None:
                self.online.pool[answer.event] = example
        if learned:
            self.context.say(f"{len(learned)} answers were learned before")

    def _example(self, answer: StoredAnswer) -> Example | None:
        """What is learned of an answer; ``None`` where it compares no two texts, or one is too long."""
        ranking = answer.ranking()
        pairs = [] if ranking is None else comparisons_from_rankings([ranking])
        with contextlib.suppress(DataError):
            return self._examples(self.online.model, pairs, answer.question.id)[0]
        return None

    def _examples(self, model: RewardModel, pairs: Sequence[Comparison], source: str) -> list[Example]:
        return comparison_examples(model.tokenizer, pairs, model.context_length, "drop", source)[0]


def _opened(source: str) -> RewardModel:
    if (Path(source) / ENSEMBLE).is_file():
        raise RecipeError(f"live: reward {source} is an ensemble of models; one model learns live, give one of them")
    model = load_reward_model(source, pick_device())
    if model.members > 1 or model.criteria:
        raise RecipeError(f"live: reward {source} has several heads; give a reward model with one")
    return model


def _comparisons(source: str) -> list[Comparison]:
    if "rankings" in describe(source):
        return comparisons_from_rankings(read_rankings(source))
    return read_comparisons(source)


def _input(name: str, artifact: Any, source: str) -> InputRecord:
    path = Path(source).resolve() if Path(source).exists() else None
    if path is None:
        return InputRecord(name, source, digest_json(["hub", source]), artifact=artifact)
    made = find_manifest(path)
    identity = None if made is None else read_manifest(made).identity
    parent = None if made is None else str(made)
    digest = digest_json(["content", digest_path(path)])
    return InputRecord(name, source, digest, str(path), identity, parent, artifact)


def _cut(path: Path, rows: int) -> None:
    """Keep so many whole rows of a log."""
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)[:rows]
        os.truncate(path, sum(map(len, lines)))


def published(folder: Path) -> int | None:
    """Answers that a published reward model has learned; ``None`` where there is none whole."""
    return int(read_manifest(folder).metrics["answers"]) if has_manifest(folder) else None
