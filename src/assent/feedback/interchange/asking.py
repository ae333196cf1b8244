"""A record of a file as a question of the store and the answer to it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from assent.data.forms.base import Record, Vote, answer_ids
from assent.feedback.answers import FAILED, Answer
from assent.feedback.questions import DEFAULT_PROJECT, GOOD_OR_BAD, Criterion, Question
from assent.feedback.responses import Best, Labels, Preference, Ranks, Ratings, Response, Written
from assent.types import Demonstration, Judgement, Prompt, Ranking, short_id

_OF_STORE = re.compile(r"(?P<question>.+):\d+")
"""A ranking's id as the store makes it: question and event."""


@dataclass(frozen=True)
class Asker:
    """Makes questions and answers of records.

    ``annotator`` is who answered where the record does not say; ``scale`` the lowest and highest rating of the form.
    """

    annotator: str
    project: str = DEFAULT_PROJECT
    scale: tuple[int, int] | None = None

    def asked(self, records: Iterable[Record], lost: Counter[str]) -> list[tuple[Question, Answer]]:
        """Question and answer of each record of one row; judgements of one answer by one person are one.

        What a record has and the store has no place for is counted in ``lost`` by name.  Raises ``ValueError`` for a
        record that the store cannot hold.
        """
        pairs: list[tuple[Question, Answer]] = []
        ratings: dict[tuple[str, str, str], list[Judgement]] = {}
        for record in records:
            match record:
                case Vote():
                    pairs.append(self._ranking(record.ranking()))
                    lost["confidence"] += record.confidence != 1
                    lost["strength"] += bool(record.strength) and record.kind != "pairwise"
                case Ranking():
                    pairs.append(self._ranking(record))
                case Demonstration():
                    pairs.append(self._demonstration(record))
                    lost["rewrite_of"] += record.rewrite_of is not None
                case Judgement():
                    key = (record.prompt.id, record.response, record.annotator)
                    ratings.setdefault(key, []).append(record)
        for judgements in ratings.values():
            pairs += self._labels(judgements) if self.scale is None else [self._ratings(judgements, self.scale)]
        return pairs

    def _ranking(self, ranking: Ranking) -> tuple[Question, Answer]:
        """The answers stand in the question by id, as one order for all who were asked; what was shown is the order."""
        ids = ranking.completion_ids
        order = sorted(range(len(ids)), key=lambda i: ids[i])
        response: Response
        match ranking.kind:
            case "best":
                best = [i for i, rank in enumerate(ranking.ranks) if rank == 1]
                if len(best) > 1:
                    raise ValueError(f"a choice of the best with {len(best)} of rank 1")
                response = Best(best[0] if best else None, tuple(rank is None for rank in ranking.ranks))
            case "pairwise" if ranking.strength or not _apart(ranking):
                response = _preference(ranking)
            case _:  # also of two where nobody said by how much
                response = Ranks(ranking.ranks)
        found = _OF_STORE.fullmatch(ranking.id)
        question = Question(
            id=found["question"] if found else self._id(ranking.prompt, sorted(ids), ranking.criterion, response.kind),
            prompt=ranking.prompt,
            completion_ids=tuple(ids[i] for i in order),
            texts=tuple(ranking.texts[i] for i in order),
            criterion=ranking.criterion,
            task=response.kind,  # pyright: ignore[reportArgumentType] - of a ranking it is ranking, pairwise or best
            project=self.project,
        )
        shown = tuple(order.index(i) for i in range(len(ids)))
        answer = Answer(
            question.id,
            ranking.annotator or self.annotator,
            response,
            order=shown,
            seconds=ranking.seconds,
            note=ranking.note,
            created=ranking.created or None,
        )
        return question, answer

    def _demonstration(self, written: Demonstration) -> tuple[Question, Answer]:
        # Of an author unknown, each text is a question of its own: two are not one person's correction.
        apart = () if written.author else (written.response,)
        question = Question(
            id=self._id(written.prompt, apart, "overall", "demonstration"),
            prompt=written.prompt,
            completion_ids=(),
            texts=(),
            task="demonstration",
            project=self.project,
        )
        return question, Answer(question.id, written.author or self.annotator, Written(written.response), order=())

    def _labels(self, judgements: list[Judgement]) -> list[tuple[Question, Answer]]:
        pairs: list[tuple[Question, Answer]] = []
        for judgement in judgements:
            if judgement.label not in (0.0, 1.0):
                raise ValueError(
                    f"label {judgement.label:g}: labels are 0 ({GOOD_OR_BAD[0]}) or 1 ({GOOD_OR_BAD[1]}); a rating "
                    "needs its scale, give --scale LOW HIGH"
                )
            question = self._about(judgement, "label", judgement.criterion)
            label = None if judgement.criterion == FAILED else int(judgement.label)
            pairs.append((question, self._said(question, judgement, Labels((label,)))))
        return pairs

    def _ratings(self, judgements: list[Judgement], scale: tuple[int, int]) -> tuple[Question, Answer]:
        low, high = scale
        scores: dict[str, int] = {}
        for judgement in judgements:
            if judgement.label != int(judgement.label) or not low <= judgement.label <= high:
                raise ValueError(
                    f"a rating of {judgement.label:g} on {judgement.criterion}: the store holds whole numbers, here "
                    f"from {low} to {high}"
                )
            if judgement.criterion in scores:
                raise ValueError(f"two ratings on {judgement.criterion} of one answer")
            scores[judgement.criterion] = int(judgement.label)
        criteria = tuple(Criterion(name, low=low, high=high) for name in sorted(scores))
        question = self._about(judgements[0], "rating", "overall", criteria)
        return question, self._said(question, judgements[0], Ratings((scores,)))

    def _about(self, judgement: Judgement, task: str, criterion: str, criteria: tuple[Criterion, ...] = ()) -> Question:
        (made,) = answer_ids(judgement.prompt, (judgement.response,))
        names = [(item.name, item.low, item.high) for item in criteria]
        return Question(
            id=self._id(judgement.prompt, (judgement.response, names), criterion, task),
            prompt=judgement.prompt,
            completion_ids=(judgement.completion_id or made,),
            texts=(judgement.response,),
            criterion=criterion,
            task=task,  # pyright: ignore[reportArgumentType]
            criteria=criteria,
            project=self.project,
        )

    def _said(self, question: Question, judgement: Judgement, response: Response) -> Answer:
        who = judgement.annotator or self.annotator
        return Answer(question.id, who, response, order=(0,), created=judgement.created or None)

    def _id(self, prompt: Prompt, what: object, criterion: str, task: str) -> str:
        words = prompt.text if prompt.messages is None else [(m.role, m.content) for m in prompt.messages]
        return "q" + short_id("imported", prompt.id, words, what, criterion, task, self.project)


def _apart(ranking: Ranking) -> bool:
    """Whether two answers have different ranks, and neither failed."""
    return None not in ranking.ranks and len(set(ranking.ranks)) > 1


def _preference(ranking: Ranking) -> Response:
    first, second = ranking.ranks
    strength = ranking.strength or 0.0
    if strength not in (0.0, 1.0, 2.0, 3.0):
        raise ValueError(f"a strength of {strength:g}; expected 0 (none), 1 (slight), 2 (clear) or 3 (strong)")
    if strength and first == second and first is not None:
        raise ValueError(f"a tie with a strength of {strength:g}; expected 0")
    size = int(strength)
    better = first is not None and (second is None or first < second)
    return Preference(-size if better else size, (first is None, second is None))
