"""A person as a source of reward, live: questions go into the feedback store, and scores come out of it.

Three ways.  ``label``: thumbs for each completion, up 1 and down -1, the mean over those who answered; ``rating``: the
mean rating, put on a scale from -1 to 1.  Either may be added to the score of another source (reward shaping, as
TAMER+RL does: Knox & Stone 2010), and asked of a share of the completions alone.  ``best``: a person picks among the
completions of a prompt (action selection); the pick scores 1 and the others 0.

While answers are missing, scoring raises :class:`~assent.rewards.source.Pending`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from assent.config import Input, Settings
from assent.feedback.answers import FAILED, StoredAnswer, kind_of
from assent.feedback.questions import Criterion, Question, questions_from_completions
from assent.feedback.responses import Best, Skipped
from assent.feedback.store import FeedbackStore
from assent.rewards.kinds import SourceKind
from assent.rewards.load import load_reward
from assent.rewards.source import Pending, RewardSource, Scores, for_tokenizer, groups_of, is_comparative
from assent.types import Completion, Prompt, short_id


class HumanSettings(Settings):
    """Reward by people, asked while the run goes on."""

    store: str = Input("store", description="Feedback store: a SQLite file or postgresql:// address")
    ask: Literal["label", "rating", "best"] = "label"
    """Thumbs up or down for each completion, a rating of each, or the best of each prompt's completions."""
    criterion: str = "overall"
    """What people are asked to judge by."""
    instructions: str = ""
    """Markdown shown to them; empty = the built-in rules."""
    scale: int = Field(default=5, ge=2, le=100)
    """A rating goes from 1 to this."""
    answers: int = Field(default=1, gt=0)
    """People who answer each question."""
    add_to: str | None = Input(
        "model", None, "Reward model, or other source, to whose score a person's is added; unset = people's alone"
    )
    weight: float = Field(default=1.0, gt=0.0)
    """A person's score is multiplied by it."""
    share: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the completions that are asked about; the others have the score of add_to alone."""
    port: int = Field(default=8321, gt=0, lt=65536, json_schema_extra={"identity": False})
    """Port of the labelling app that the run names."""

    @model_validator(mode="after")
    def _a_score_for_all(self) -> Self:
        if self.share < 1.0 and self.add_to is None:
            raise ValueError("share below 1 leaves completions without a score; set add_to")
        if self.ask == "best" and (self.add_to is not None or self.share < 1.0):
            raise ValueError("ask: best is a pick among a prompt's completions; add_to and share are for the others")
        return self


class HumanReward:
    """Asks and reads by the store alone: whoever serves the labelling app over it, and where, is not known here."""

    def __init__(self, settings: HumanSettings, base: RewardSource | None = None) -> None:
        """``base``: the source of ``add_to``."""
        self.settings, self.base = settings, base
        self._picks = settings.ask == "best"
        self.comparative = self._picks or (base is not None and is_comparative(base))
        """A pick is one among the completions of its prompt."""

    def for_tokenizer(self, tokenizer: Any) -> Self:
        """The same, its other source reading this policy's own tokens where it can."""
        return self if self.base is None else type(self)(self.settings, for_tokenizer(self.base, tokenizer))

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        """Raises :class:`Pending` with the questions that wait for an answer."""
        groups = groups_of(completions) if self._picks else [[place] for place in range(len(completions))]
        asked = [group for group in groups if self._is_asked(prompts[group[0]], completions[group[0]])]
        values, unscored = [0.0] * len(completions), dict[int, str]()
        if self._picks:
            alike = [group for group in asked if len({completions[i].text for i in group}) < 2]
            same = "the completions of its prompt are all the same, so that there is none to pick"
            unscored |= {place: same for group in alike for place in group}
            asked = [group for group in asked if group not in alike]
        questions = [self._question(prompts[group[0]], [completions[i] for i in group]) for group in asked]
        given = self._answers(questions)
        for group, question in zip(asked, questions, strict=True):
            said = self._values(given[question.id], question)
            for place in group:
                value = said[_text_id(prompts[place], completions[place])] if said else math.nan
                values[place] = self.settings.weight * value
                if not said:
                    unscored[place] = f"question '{question.id}' was passed over by all who were asked"
        return self._added(prompts, completions, values, unscored)

    def _is_asked(self, prompt: Prompt, completion: Completion) -> bool:
        draw = int(short_id("asked", prompt.shown(), completion.text), 16) / 16**12
        return draw < self.settings.share

    def _question(self, prompt: Prompt, some: Sequence[Completion]) -> Question:
        """The question's id is its content's, so that the same completions are asked about once."""
        settings, task = self.settings, self.settings.ask
        different = {_text_id(prompt, c): c.text for c in some}
        own = [Completion(name, prompt.id, text) for name, text in sorted(different.items())]
        criteria = (Criterion(settings.criterion, "", 1, settings.scale),) if task == "rating" else ()
        criterion = "overall" if task == "rating" else settings.criterion
        return questions_from_completions([prompt], own, settings.instructions, criterion, task, criteria)[0]

    def _answers(self, questions: Sequence[Question]) -> Mapping[str, list[StoredAnswer]]:
        """People's standing answers to the questions, skips too, once there are enough of each."""
        found: dict[str, list[StoredAnswer]] = {question.id: [] for question in questions}
        with FeedbackStore.open(self.settings.store) as store:
            store.add_questions(questions)
            for answer in store.answers():
                if answer.question.id in found and kind_of(answer.annotator) == "people":
                    found[answer.question.id].append(answer)
            address = store.address
        missing = [name for name, answers in found.items() if len(answers) < self.settings.answers]
        if missing:
            port, count = self.settings.port, len(found)
            raise Pending(
                missing,
                f"{count - len(missing)} of {count} questions about this step's completions are answered.  Start the "
                f"labelling app with\n    assent label serve {address} --port {port}\n"
                f"answer at http://127.0.0.1:{port}/ and then run the same command again",
            )
        return found

    def _values(self, answers: Sequence[StoredAnswer], question: Question) -> dict[str, float]:
        """By completion id, the mean over people; empty where all of them skipped it, or found none worth a pick."""
        said = [answer for answer in answers if not isinstance(answer.response, Skipped)]
        said = [answer for answer in said if not (isinstance(answer.response, Best) and answer.response.best is None)]
        rows = [self._said(answer, question) for answer in said]
        return {name: sum(row[name] for row in rows) / len(rows) for name in question.completion_ids} if rows else {}

    def _said(self, answer: StoredAnswer, question: Question) -> dict[str, float]:
        """By completion id."""
        if isinstance(answer.response, Best):
            assert answer.response.best is not None
            picked = question.completion_ids[answer.order[answer.response.best]]
            return {name: float(name == picked) for name in question.completion_ids}
        return {j.completion_id: self._number(j.criterion, j.label, question) for j in answer.judgements()}

    def _number(self, criterion: str, label: float, question: Question) -> float:
        if criterion == FAILED:
            return -1.0
        top = self.settings.scale if question.task == "rating" else 1
        low = 1 if question.task == "rating" else 0
        return 2.0 * (label - low) / (top - low) - 1.0

    def _added(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Completion],
        values: Sequence[float],
        unscored: Mapping[int, str],
    ) -> Scores:
        if self.base is None:
            spread = [math.nan if place in unscored else value for place, value in enumerate(values)]
            return Scores(tuple(spread), unscored=unscored)
        base = self.base.score(prompts, completions)
        person = [0.0 if place in unscored else value for place, value in enumerate(values)]
        total = tuple(b + p for b, p in zip(base.values, person, strict=True))
        parts = {**base.parts, "model": base.values, "person": tuple(person)}
        return replace(base, values=total, parts=parts)


def _text_id(prompt: Prompt, completion: Completion) -> str:
    return short_id(prompt.id, completion.text)


def make(settings: HumanSettings) -> HumanReward:
    """With the source that a person's score is added to, where there is one."""
    return HumanReward(settings, None if settings.add_to is None else load_reward(settings.add_to))


KIND = SourceKind("human", "Reward by people, live", HumanSettings, make)
