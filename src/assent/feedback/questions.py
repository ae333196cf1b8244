"""What is asked of a person: to rank, rate, label or rewrite the K completions of one prompt, or to write one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from assent.errors import DataError
from assent.types import Completion, Prompt, short_id

Task = Literal["ranking", "pairwise", "best", "rating", "label", "rewrite", "demonstration"]
TASKS: tuple[Task, ...] = get_args(Task)
DEFAULT_PROJECT = "default"


@dataclass(frozen=True, slots=True)
class Criterion:
    """What an answer is rated on, with a whole number from ``low`` to ``high``."""

    name: str
    description: str = ""
    low: int = 1
    high: int = 5

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > 80 or not 0 <= self.low < self.high <= 100:
            raise DataError(
                f"criterion {self.name[:80]!r}, {self.low} to {self.high}: give a name of 1 to 80 characters and "
                "a scale that grows within 0 to 100"
            )


HELPFUL_HARMLESS_HONEST = (
    Criterion("helpful", "Does what was asked, and of use to the one who asked."),
    Criterion("harmless", "Hurts nobody, and helps nobody to hurt."),
    Criterion("honest", "True, and plain about what it does not know."),
)
"""The criteria of a rating that names none (Askell et al., 2021)."""
GOOD_OR_BAD = ("bad", "good")
"""The labels of a labelling that names none; a label's number is its index."""


@dataclass(frozen=True, slots=True)
class Question:
    """K answers to one prompt that wait to be judged; to be written, K = 0, for a demonstration.

    It does not know which model wrote an answer, so that no page can show it; ``completion_ids`` lead back to that, and
    are for the store alone.
    """

    id: str
    prompt: Prompt
    completion_ids: tuple[str, ...]
    """K ids, ``completion_ids[i]`` wrote ``texts[i]``; this order is the store's, not the one shown."""
    texts: tuple[str, ...]
    criterion: str = "overall"
    instructions: str = ""
    """Markdown.  Empty: the annotator is shown the instructions of the labelling app."""
    priority: float = 0.0
    """Higher is asked first; equal priorities in the order they were added."""
    task: Task = "ranking"
    criteria: tuple[Criterion, ...] = ()
    """What a rating is on; helpful, harmless and honest where none is given.  Empty for other tasks."""
    labels: tuple[str, ...] = ()
    """What a labelling chooses from; bad and good where none is given.  Empty for other tasks."""
    project: str = DEFAULT_PROJECT
    queue: str = ""
    """A part of the project, for those whom it was given to; empty: for all."""
    overlap: int | None = None
    """How many people answer it; ``None``: as many as the project says."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise DataError(f"question {self.id}: task '{self.task}'; give one of {', '.join(TASKS)}")
        if len(self.completion_ids) != len(self.texts):
            raise DataError(
                f"question {self.id}: {len(self.completion_ids)} completion ids for {len(self.texts)} texts"
            )
        least, most = _ANSWERS[self.task]
        if not least <= len(self.texts) <= most:
            expected = f"exactly {least}" if least == most else f"at least {least}"
            raise DataError(
                f"question {self.id}: {len(self.texts)} answers for a task of kind {self.task}; give {expected}"
            )
        if len(set(self.completion_ids)) != len(self.completion_ids):
            raise DataError(f"question {self.id}: a completion id occurs twice; give each answer its own id")
        self._check_details()

    def _check_details(self) -> None:
        if self.task == "rating" and not self.criteria:
            object.__setattr__(self, "criteria", HELPFUL_HARMLESS_HONEST)
        if self.task == "label" and not self.labels:
            object.__setattr__(self, "labels", GOOD_OR_BAD)
        if (self.criteria and self.task != "rating") or (self.labels and self.task != "label"):
            raise DataError(
                f"question {self.id}: criteria are for ratings and labels for labelling, not for {self.task}"
            )
        names = [criterion.name for criterion in self.criteria]
        if len(set(names)) != len(names) or len(set(self.labels)) != len(self.labels):
            raise DataError(f"question {self.id}: a criterion or label occurs twice; give each its own name")
        if self.task == "label" and (len(self.labels) < 2 or not all(label.strip() for label in self.labels)):
            raise DataError(f"question {self.id}: labels {list(self.labels)}; give two or more, none empty")
        if self.overlap is not None and self.overlap < 1:
            raise DataError(f"question {self.id}: overlap {self.overlap}; give how many people answer it, from 1")


_ANY = 1_000_000
_ANSWERS: dict[str, tuple[int, int]] = {
    "ranking": (2, _ANY),
    "pairwise": (2, 2),
    "best": (2, _ANY),
    "rating": (1, _ANY),
    "label": (1, _ANY),
    "rewrite": (1, _ANY),
    "demonstration": (0, 0),
}
"""How many answers a question of each task has, at least and at most."""


def subject_of(
    prompt_id: str, completion_ids: Sequence[str], texts: Sequence[str], criterion: str
) -> tuple[str, frozenset[tuple[str, str]], str]:
    """What a question or a ranking is on, whatever the order of the answers and the instructions.

    The texts belong to it: the same policy sampled from another seed gives its completions the same ids.
    """
    return prompt_id, frozenset(zip(completion_ids, texts, strict=True)), criterion


def questions_from_completions(
    prompts: Iterable[Prompt],
    completions: Iterable[Completion],
    instructions: str = "",
    criterion: str = "overall",
    task: Task = "ranking",
    criteria: tuple[Criterion, ...] = (),
) -> list[Question]:
    """One question for each prompt that has completions, in the order of ``prompts``; its completions as they come.

    The id is a digest of the content: the same completions asked about in the same words make the same question.
    Raises :class:`DataError` for a completion whose prompt is not given, and for a prompt with a single completion.
    """
    groups: dict[str, list[Completion]] = {}
    known: dict[str, Prompt] = {prompt.id: prompt for prompt in prompts}
    for completion in completions:
        if completion.prompt_id not in known:
            raise DataError(
                f"completion {completion.id}: its prompt '{completion.prompt_id}' is not among the prompts given; "
                "pass the prompts that the completions were sampled from"
            )
        groups.setdefault(completion.prompt_id, []).append(completion)
    return [
        _question(prompt, groups[prompt.id], instructions, criterion, task, criteria)
        for prompt in known.values()
        if prompt.id in groups
    ]


def display_order(question: Question, annotator: str) -> tuple[int, ...]:
    """Indices into the question's answers in the order this annotator sees them: [K].

    The same on every machine and at every visit, and independent between annotators, so that position bias averages
    out.
    """

    def key(index: int) -> bytes:
        return hashlib.sha256(f"{question.id}\n{annotator}\n{index}".encode()).digest()

    return tuple(sorted(range(len(question.texts)), key=key))


def dense_ranks(ranks: Sequence[int | None], where: str) -> tuple[int | None, ...]:
    """Ranks renumbered 1..n without gaps, ties and ``None`` (failed) kept: (2, 5, None, 2) becomes (1, 2, None, 1)."""
    for rank in ranks:
        if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
            raise DataError(f"{where}: rank {rank!r}; give a whole number from 1 (best), or None for failed")
    dense = {rank: place for place, rank in enumerate(sorted({r for r in ranks if r is not None}), start=1)}
    return tuple(None if rank is None else dense[rank] for rank in ranks)


def demonstration_question(prompt: Prompt, instructions: str = "") -> Question:
    """Ask for an answer to a prompt."""
    return _question(prompt, [], instructions, "overall", "demonstration", ())


def _question(
    prompt: Prompt,
    group: Sequence[Completion],
    instructions: str,
    criterion: str,
    task: Task,
    criteria: tuple[Criterion, ...],
) -> Question:
    ids, texts = tuple(c.id for c in group), tuple(c.text for c in group)
    content = (prompt.id, ids, texts, criterion, instructions)
    return Question(
        id="q" + short_id("question", *content, *(() if task == "ranking" else (task,)), *map(_named, criteria)),
        prompt=prompt,
        completion_ids=ids,
        texts=texts,
        criterion=criterion,
        instructions=instructions,
        task=task,
        criteria=criteria,
    )


def _named(criterion: Criterion) -> tuple[str, str, int, int]:
    return criterion.name, criterion.description, criterion.low, criterion.high
