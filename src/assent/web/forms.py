"""The fields of a question's page: how an answer stands in them, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.datastructures import FormData

from assent.feedback.questions import Question
from assent.feedback.responses import (
    Best,
    Labels,
    Preference,
    Ranks,
    Ratings,
    Response,
    Rewritten,
    Skipped,
    Written,
)
from assent.web.session import field

LETTERS = "ABCDEGHIJKLMOPQRTVWXYZ"
"""Without F, N, S and U, which are keys for failed, note, skip and undo."""
SKIP_REASONS = ("I cannot judge this", "The prompt makes no sense", "I would rather not read this", "Something else")
Fields = dict[str, str]


class Incomplete(Exception):
    """Something is missing or odd in a form; the message says what."""


def letters(count: int) -> list[str]:
    """Names of the answers in the order shown: A, B, C, D, E, G; past the alphabet A2, B2."""
    return [LETTERS[i % len(LETTERS)] + (str(i // len(LETTERS) + 1) if i >= len(LETTERS) else "") for i in range(count)]


def filled_in(form: FormData) -> Fields:
    """The fields as they were sent, to be shown again."""
    return {name: value for name, value in form.multi_items() if isinstance(value, str) and name != "csrf"}


def response_from(form: FormData, question: Question) -> Response:
    """What a form says; :class:`Incomplete` tells its author what to do."""
    if field(form, "skip"):
        reason = " ".join(field(form, "reason").split()) or SKIP_REASONS[0]
        return Skipped(reason[:1000])
    names = letters(len(question.texts))
    failed = tuple(bool(form.get(f"failed-{name}")) for name in names)
    match question.task:
        case "ranking":
            return Ranks(tuple(_rank(form, names)))
        case "pairwise":
            return Preference(_strength(form, failed), (failed[0], failed[1]))
        case "best":
            return _best(form, names, failed)
        case "rating":
            return Ratings(tuple(_scores(form, question, name, bad) for name, bad in zip(names, failed, strict=True)))
        case "label":
            return Labels(tuple(_label(form, question, name) for name in names))
        case "rewrite":
            chosen = field(form, "position") or names[0]
            if chosen not in names:
                raise Incomplete("Choose the answer that you rewrite.")
            return Rewritten(_text(form), names.index(chosen))
        case "demonstration":
            return Written(_text(form))


def fields_from(response: Response, question: Question) -> Fields:
    """A form filled in with a response whose positions are those shown."""
    names = letters(len(question.texts))
    match response:
        case Ranks(ranks):
            return {f"rank-{n}": "F" if rank is None else str(rank) for n, rank in zip(names, ranks, strict=True)}
        case Preference(strength, failed):
            return {"strength": str(strength), **_failed(names, failed)}
        case Best(best, failed):
            return {"best": "none" if best is None else names[best], **_failed(names, failed)}
        case Ratings(scores):
            fields = _failed(names, [given is None for given in scores])
            for name, given in zip(names, scores, strict=True):
                for index, criterion in enumerate(question.criteria):
                    if given is not None:
                        fields[f"score-{name}-{index}"] = str(given[criterion.name])
            return fields
        case Labels(labels):
            return {f"label-{n}": "F" if label is None else str(label) for n, label in zip(names, labels, strict=True)}
        case Rewritten(text, position):
            return {"text": text, "position": names[position]}
        case Written(text):
            return {"text": text}
        case Skipped(reason):
            return {"reason": reason}


def _failed(names: Sequence[str], failed: Sequence[bool]) -> Fields:
    return {f"failed-{name}": "1" for name, bad in zip(names, failed, strict=False) if bad}


def _rank(form: FormData, names: Sequence[str]) -> list[int | None]:
    given = {name: field(form, f"rank-{name}") for name in names}
    _want(given, {str(rank) for rank in range(1, len(names) + 1)} | {"F"}, f"a rank from 1 to {len(names)}, or F")
    return [None if rank == "F" else int(rank) for rank in given.values()]


def _strength(form: FormData, failed: Sequence[bool]) -> int:
    given = field(form, "strength")
    # One that failed is the worse one, two that failed are equal: nothing else need be said.
    if not given and any(failed):
        return 0 if all(failed) else 3 if failed[0] else -3
    if given not in {str(strength) for strength in range(-3, 4)}:
        raise Incomplete("Say which answer is better, and by how much.")
    return int(given)


def _best(form: FormData, names: Sequence[str], failed: tuple[bool, ...]) -> Best:
    given = field(form, "best")
    if given == "none":
        return Best(None)
    if given not in names:
        raise Incomplete("Choose the best answer, or say that all failed.")
    if failed[names.index(given)]:
        raise Incomplete(f"Answer {given} cannot be the best and failed; take one back.")
    return Best(names.index(given), failed if any(failed) else ())


def _scores(form: FormData, question: Question, name: str, failed: bool) -> dict[str, int] | None:
    if failed:
        return None
    scores: dict[str, int] = {}
    for index, criterion in enumerate(question.criteria):
        given = field(form, f"score-{name}-{index}")
        if given not in {str(value) for value in range(criterion.low, criterion.high + 1)}:
            raise Incomplete(f"Rate answer {name} on “{criterion.name}”, or mark it as failed.")
        scores[criterion.name] = int(given)
    return scores


def _label(form: FormData, question: Question, name: str) -> int | None:
    given = {name: field(form, f"label-{name}")}
    _want(given, {str(index) for index in range(len(question.labels))} | {"F"}, "a label, or F")
    return None if given[name] == "F" else int(given[name])


def _text(form: FormData) -> str:
    text = field(form, "text").replace("\r\n", "\n").strip("\n")
    if not text.strip():
        raise Incomplete("Write the answer first, or skip the question.")
    return text


def _want(given: Mapping[str, str], allowed: set[str], what: str) -> None:
    missing = [name for name, value in given.items() if value not in allowed]
    if missing:
        raise Incomplete(f"Give answer {', '.join(missing)} {what}.")
