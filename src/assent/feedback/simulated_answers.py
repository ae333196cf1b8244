"""What simulated annotators answer to questions, of every task but demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from assent.errors import DataError
from assent.feedback.answers import Answer
from assent.feedback.questions import Question, display_order
from assent.feedback.responses import STRONGEST, Best, Labels, Preference, Ranks, Ratings, Response, Rewritten, Skipped
from assent.feedback.simulate import Seen, SimulatedAnnotator
from assent.types import Prompt

Truth = Callable[[Prompt, str], float]
"""Utility of a text as an answer to a prompt."""
Writer = Callable[[Prompt, str], str]
"""A better text for an answer to a prompt."""


def simulated_answers(
    questions: Sequence[Question],
    people: Sequence[SimulatedAnnotator],
    truths: Mapping[str, Truth],
    each: Mapping[str, int],
    seed: int,
    given: Collection[tuple[str, str]] = frozenset(),
    writers: Mapping[str, Writer] | None = None,
) -> Iterator[Answer]:
    """To every question as many answers as ``each`` has for its id, by the people in turn.

    ``truths``: criterion to the utility perceived; of a rating, one for each of its criteria.  ``given``: (question id,
    annotator) that are answered already, and left out.  ``writers``: criterion to what rewrites the answer shown first,
    whoever is asked.
    """
    for index, question in enumerate(questions):
        for turn in range(each[question.id]):
            annotator = people[(index + turn) % len(people)]
            if (question.id, annotator.name) not in given:
                order = display_order(question, annotator.name)
                done = index / len(questions)
                if writers and question.task == "rewrite":
                    response = _rewritten(question, question.texts[order[0]], writers[question.criterion])
                else:
                    response = _response(annotator, question, order, truths, seed, done)
                yield Answer(question.id, annotator.name, response, order=order)


def _rewritten(question: Question, text: str, writer: Writer) -> Response:
    """A rewrite of one of the answers; none where it would be an answer that is there already."""
    better = writer(question.prompt, text)
    there = {answer.strip() for answer in question.texts}
    return Skipped("it needs no rewrite") if better.strip() in there else Rewritten(better)


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
