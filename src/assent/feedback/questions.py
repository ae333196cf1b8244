"""What is asked of a person: put the K completions of one prompt in order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from assent.errors import DataError
from assent.types import Completion, Prompt, short_id


@dataclass(frozen=True, slots=True)
class Question:
    """K answers to one prompt that wait to be ranked.

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

    def __post_init__(self) -> None:
        if len(self.completion_ids) != len(self.texts):
            raise DataError(
                f"question {self.id}: {len(self.completion_ids)} completion ids for {len(self.texts)} texts"
            )
        if len(self.texts) < 2:
            raise DataError(f"question {self.id}: {len(self.texts)} answer to rank; give at least 2")
        if len(set(self.completion_ids)) != len(self.completion_ids):
            raise DataError(f"question {self.id}: a completion id occurs twice; give each answer its own id")


def questions_from_completions(
    prompts: Iterable[Prompt],
    completions: Iterable[Completion],
    instructions: str = "",
    criterion: str = "overall",
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
        _question(prompt, groups[prompt.id], instructions, criterion)
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


def _question(prompt: Prompt, group: Sequence[Completion], instructions: str, criterion: str) -> Question:
    ids, texts = tuple(c.id for c in group), tuple(c.text for c in group)
    return Question(
        id="q" + short_id("question", prompt.id, ids, texts, criterion, instructions),
        prompt=prompt,
        completion_ids=ids,
        texts=texts,
        criterion=criterion,
        instructions=instructions,
    )
