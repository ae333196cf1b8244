"""What simulated annotators answer to questions, of every task but those in which something is written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from assent.errors import DataError
from assent.feedback.answers import Answer
from assent.feedback.questions import Question, display_order
from assent.feedback.responses import STRONGEST, Best, Labels, Preference, Ranks, Ratings, Response
from assent.feedback.simulate import Seen, SimulatedAnnotator
from assent.types import Prompt

Truth = Callable[[Prompt, str], float]
"""Utility of a text as an answer to a prompt."""


def simulated_answers(
    questions: Sequence[Question],
    people: Sequence[SimulatedAnnotator],
    truths: Mapping[str, Truth],
    each: int,
    seed: int,
    given: Collection[tuple[str, str]] = frozenset(),
) -> Iterator[Answer]:
    """``each`` answers to every question, by the people in turn.

    ``truths``: criterion to the utility perceived; of a rating, one for each of its criteria.  ``given``: (question id,
    annotator) that are answered already, and left out.
    """
    for index, question in enumerate(questions):
        for turn in range(each):
            annotator = people[(index + turn) % len(people)]
            if (question.id, annotator.name) not in given:
                order = display_order(question, annotator.name)
                response = _response(annotator, question, order, truths, seed, index / len(questions))
                yield Answer(question.id, annotator.name, response, order=order)


def _response(
    annotator: SimulatedAnnotator,
    question: Question,
    order: Sequence[int],
    truths: Mapping[str, Truth],
    seed: int,
    done: float,
) -> Response:
    texts = [question.texts[i] for i in order]
    lengths = tuple(map(len, texts))

    def utilities(criterion: str) -> list[float]:
        return [truths[criterion](question.prompt, text) for text in texts]

    if question.task == "rating":
        scores: list[dict[str, int] | None] = [{} for _ in texts]
        for on in question.criteria:
            seen, name = Seen(lengths, on.name, done), f"{question.id} {on.name}"
            for place, number in enumerate(annotator.rate(name, utilities(on.name), seed, seen, on.low, on.high)):
                so_far = scores[place]
                scores[place] = None if number is None or so_far is None else {**so_far, on.name: number}
        return Ratings(tuple(scores))
    seen, worth = Seen(lengths, question.criterion, done), utilities(question.criterion)
    match question.task:
        case "ranking":
            return Ranks(annotator.rank(question.id, worth, seed, seen))
        case "pairwise":
            return Preference(annotator.prefer(question.id, worth, seed, seen, STRONGEST))
        case "best":
            return Best(annotator.best(question.id, worth, seed, seen))
        case "label" if len(question.labels) == 2:
            return Labels(annotator.label(question.id, worth, seed, seen))
        case _:
            raise DataError(
                f"question {question.id}: simulated annotators rank, prefer, pick, rate, and label as one of two; "
                f"they cannot answer a {question.task} like this"
            )
