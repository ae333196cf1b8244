"""Where optimiser batches come from: a data set here, rollouts in :mod:`assent.training.rollouts`.

A source is a pure function of the step: the data position is the step itself, so there is nothing else to checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch

from assent.algorithms.batch import Batch, Pairs
from assent.data.microbatch import epoch_order
from assent.errors import RecipeError
from assent.models.padding import pad_right


@dataclass(frozen=True)
class Row:
    """One row of tokens; ``completion_mask[i]`` says whether the loss concerns ``token_ids[i]``."""

    token_ids: Sequence[int]
    completion_mask: Sequence[bool]


class Pair(NamedTuple):
    """One comparison within an example; the fields are those of :class:`assent.algorithms.batch.Pairs`."""

    chosen: int
    """Place of the row within the example."""
    rejected: int
    weight: float = 1.0
    tie: bool = False
    margin: float = 0.0
    confidence: float = 1.0
    head: int = 0


@dataclass(frozen=True)
class Example:
    """What is never split: one row, or the K answers of one ranking with their pairs."""

    rows: Sequence[Row]
    pairs: Sequence[Pair] = ()
    columns: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Per row of the example."""
    prompt: str = ""
    """Id of the prompt that its rows answer; empty where they answer none."""


class Source(Protocol):
    """Gives the whole optimiser batch (or batch of rollouts) of a step, and figures about it."""

    def batch(self, step: int) -> tuple[Batch, dict[str, float]]: ...


@runtime_checkable
class Drawing(Protocol):
    """A source whose batch takes something that must not be lost: people are waited for, or its weights are gone."""

    def drawn(self) -> list[dict[str, Any]]:
        """What the batches of this step and later ones were drawn as so far, in plain data."""
        ...

    def take_up(self, drawn: list[dict[str, Any]]) -> None:
        """Go on from it: those batches are not drawn again."""
        ...


def with_mismatched(examples: Sequence[Example], longest: int) -> list[Example]:
    """The examples with a column ``mismatched`` of 0, and behind them as many rows where it is 1.

    A mismatched row is the prompt of one row and the completion of the next one whose prompt is another (the first
    follows the last; the very next one where all prompts are the same), cut off at ``longest`` tokens.  Its other
    columns are those of its prompt's row.  A single row has none.
    """
    marked = [replace(e, columns={**e.columns, "mismatched": [0.0] * len(e.rows)}) for e in examples]
    rows = [(example, place) for example in marked for place in range(len(example.rows))]
    prompts = [_prompt(example.rows[place]) for example, place in rows]
    added: list[Example] = []
    for i, (example, place) in enumerate(rows if len(rows) > 1 else []):
        following = [(i + step) % len(rows) for step in range(1, len(rows))]
        other = next((j for j in following if prompts[j] != prompts[i]), following[0])
        row = rows[other][0].rows[rows[other][1]]
        begin = len(prompts[other])
        ids = [*prompts[i], *row.token_ids[begin:]][:longest]
        mask = [*(False for _ in prompts[i]), *row.completion_mask[begin:]][:longest]
        columns = {name: [values[place]] for name, values in example.columns.items()}
        added.append(Example([Row(ids, mask)], columns={**columns, "mismatched": [1.0]}))
    return [*marked, *added]


def _prompt(row: Row) -> tuple[int, ...]:
    """The tokens before the first that the loss concerns."""
    begin = next((i for i, trained in enumerate(row.completion_mask) if trained), len(row.token_ids))
    return tuple(row.token_ids[:begin])


def longest_row(examples: Sequence[Example]) -> int:
    """Tokens of the longest row."""
    return max(len(row.token_ids) for example in examples for row in example.rows)


def collate(examples: Sequence[Example], pad: int, device: torch.device) -> Batch:
    """Examples as one batch, padded on the right."""
    rows = [row for example in examples for row in example.rows]
    tokens, mask = pad_right([row.token_ids for row in rows], pad, device)
    completion_mask, _ = pad_right([row.completion_mask for row in rows], 0, device)
    groups = torch.tensor([g for g, example in enumerate(examples) for _ in example.rows])
    starts = torch.tensor([0, *(len(example.rows) for example in examples)]).cumsum(0).tolist()
    pairs = [
        pair._replace(chosen=pair.chosen + start, rejected=pair.rejected + start)
        for start, example in zip(starts, examples, strict=False)
        for pair in example.pairs
    ]
    names = examples[0].columns
    return Batch(
        tokens=tokens,
        mask=mask,
        completion_mask=completion_mask.bool(),
        groups=groups.to(device),
        pairs=_pairs(pairs, device),
        columns={
            name: torch.tensor([x for e in examples for x in e.columns[name]], dtype=torch.float32, device=device)
            for name in names
        },
    )


def _pairs(pairs: Sequence[Pair], device: torch.device) -> Pairs:
    def column(values: list[float], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    return Pairs(
        rows=torch.tensor([(p.chosen, p.rejected) for p in pairs], dtype=torch.long, device=device).reshape(-1, 2),
        weights=column([p.weight for p in pairs]),
        ties=column([p.tie for p in pairs], torch.bool),
        margins=column([p.margin for p in pairs]),
        confidence=column([p.confidence for p in pairs]),
        heads=column([p.head for p in pairs], torch.long),
    )


def stream_places(count: int, size: int, seed: int, step: int) -> list[int]:
    """The ``size`` of ``count`` items that a step takes: epochs of differing order follow one another as one stream."""
    places = range(step * size, (step + 1) * size)
    orders = {epoch: epoch_order(count, seed, epoch) for epoch in {place // count for place in places}}
    return [int(orders[place // count][place % count]) for place in places]


class DatasetSource:
    """``batch_size`` examples a step, every example once an epoch, in an order that is a function of seed and epoch.

    The epochs follow one another as one stream: where the batch size does not divide an epoch, the examples left over
    come first in the batch that the next epoch fills.  ``mismatched`` adds the rows of :func:`with_mismatched`.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        batch_size: int,
        seed: int,
        pad: int,
        device: torch.device,
        *,
        mismatched: bool = False,
    ) -> None:
        self.examples, self.seed, self.pad, self.device = examples, seed, pad, device
        self.batch_size = min(batch_size, len(examples))
        self.mismatched = mismatched
        if mismatched and self.batch_size < 2:
            raise RecipeError(
                "this algorithm also sets each answer after another example's prompt, which needs two examples or more "
                "in a batch; raise batch_size, or give more data"
            )
        self.longest = longest_row(examples)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of one epoch."""
        return max(1, len(self.examples) // self.batch_size)

    def batch(self, step: int) -> tuple[Batch, dict[str, float]]:
        count = len(self.examples)
        chosen = stream_places(count, self.batch_size, self.seed, step)
        figures = {"epoch": step * self.batch_size / count}
        examples = [self.examples[i] for i in chosen]
        if self.mismatched:
            examples = with_mismatched(examples, self.longest)
        return collate(examples, self.pad, self.device), figures
