"""Where optimiser batches come from: a data set, or rollouts scored just now.

A source is a pure function of the step: the data position is the step itself, so there is nothing else to checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from assent.algorithms.base import Batch
from assent.data.microbatch import epoch_order
from assent.rewards.source import RewardSource
from assent.rollout.engine import EncodedPrompt, Engine
from assent.types import Completion, Prompt, SamplingSettings, short_id


@dataclass(frozen=True)
class Row:
    """One row of tokens; ``completion_mask[i]`` says whether the loss concerns ``token_ids[i]``."""

    token_ids: Sequence[int]
    completion_mask: Sequence[bool]


@dataclass(frozen=True)
class Example:
    """What is never split: one row, or the K answers of one ranking with their pairs."""

    rows: Sequence[Row]
    pairs: Sequence[tuple[int, int, float, bool]] = ()
    """(chosen row, rejected row, weight, tie) by place within the example."""
    columns: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Per row of the example."""


class Source(Protocol):
    """Gives the whole optimiser batch (or batch of rollouts) of a step, and figures about it."""

    def batch(self, step: int) -> tuple[Batch, dict[str, float]]: ...


def collate(examples: Sequence[Example], pad: int, device: torch.device) -> Batch:
    """Examples as one batch, padded on the right."""
    rows = [row for example in examples for row in example.rows]
    width = max(len(row.token_ids) for row in rows)
    tokens = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    completion_mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        length = len(row.token_ids)
        tokens[i, :length] = torch.as_tensor(row.token_ids, dtype=torch.long)
        mask[i, :length] = True
        completion_mask[i, :length] = torch.as_tensor(row.completion_mask, dtype=torch.bool)
    groups = torch.tensor([g for g, example in enumerate(examples) for _ in example.rows])
    starts = torch.tensor([0, *(len(example.rows) for example in examples)]).cumsum(0).tolist()
    pairs = [
        (a + start, b + start, w, tie) for start, e in zip(starts, examples, strict=False) for a, b, w, tie in e.pairs
    ]
    names = examples[0].columns
    return Batch(
        tokens=tokens.to(device),
        mask=mask.to(device),
        completion_mask=completion_mask.to(device),
        groups=groups.to(device),
        pairs=torch.tensor([p[:2] for p in pairs], dtype=torch.long, device=device).reshape(-1, 2),
        pair_weights=torch.tensor([p[2] for p in pairs], dtype=torch.float32, device=device),
        pair_ties=torch.tensor([p[3] for p in pairs], dtype=torch.bool, device=device),
        columns={
            name: torch.tensor([x for e in examples for x in e.columns[name]], dtype=torch.float32, device=device)
            for name in names
        },
    )


class DatasetSource:
    """``batch_size`` examples a step, every example once an epoch, in an order that is a function of seed and epoch.

    The epochs follow one another as one stream: where the batch size does not divide an epoch, the examples left over
    come first in the batch that the next epoch fills.
    """

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int, pad: int, device: torch.device) -> None:
        self.examples, self.seed, self.pad, self.device = examples, seed, pad, device
        self.batch_size = min(batch_size, len(examples))

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of one epoch."""
        return max(1, len(self.examples) // self.batch_size)

    def batch(self, step: int) -> tuple[Batch, dict[str, float]]:
        count = len(self.examples)
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        orders = {epoch: epoch_order(count, self.seed, epoch) for epoch in {place // count for place in places}}
        chosen = [int(orders[place // count][place % count]) for place in places]
        figures = {"epoch": step * self.batch_size / count}
        return collate([self.examples[i] for i in chosen], self.pad, self.device), figures


class RolloutSource:
    """Samples the policy on a batch of prompts and scores what it wrote.  Trains on the very ids that were sampled."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        encoded: Sequence[EncodedPrompt],
        engine: Engine,
        reward: RewardSource,
        sampling: SamplingSettings,
        *,
        rollouts: int,
        samples_per_prompt: int,
        pad: int,
        device: torch.device,
    ) -> None:
        """``rollouts`` completions a step, ``samples_per_prompt`` of each of the step's prompts."""
        self.prompts, self.encoded, self.engine, self.reward = prompts, encoded, engine, reward
        self.sampling, self.samples_per_prompt, self.pad, self.device = sampling, samples_per_prompt, pad, device
        self.prompts_per_step = min(len(prompts), max(1, rollouts // samples_per_prompt))

    def batch(self, step: int) -> tuple[Batch, dict[str, float]]:
        per_epoch = max(1, len(self.prompts) // self.prompts_per_step)
        epoch, place = divmod(step, per_epoch)
        order = epoch_order(len(self.prompts), self.sampling.seed, epoch)
        chosen = [int(i) for i in order[place * self.prompts_per_step : (place + 1) * self.prompts_per_step]]
        # A seed of its own for every step: the same prompt met again in a later epoch gets fresh random numbers.
        sampling = replace(self.sampling, seed=int(short_id(self.sampling.seed, step), 16))
        completions = self.engine.generate([self.encoded[i] for i in chosen], sampling, self.samples_per_prompt)
        prompts = [self.prompts[i] for i in chosen for _ in range(self.samples_per_prompt)]
        scores = self.reward.score(prompts, completions)
        batch = collate_rollouts(completions, scores.values, self.samples_per_prompt, self.pad, self.device)
        figures = {f"reward/{name}": sum(part) / len(part) for name, part in scores.parts.items()}
        return batch, figures


def collate_rollouts(
    completions: Sequence[Completion], scores: Sequence[float], samples_per_prompt: int, pad: int, device: torch.device
) -> Batch:
    """Completions with their scores as one batch; ``engine_logprobs`` [B, T] keeps what the engine reported."""
    examples = [
        Example(
            rows=[
                Row([*c.prompt_token_ids, *c.token_ids], [False] * len(c.prompt_token_ids) + [True] * len(c.token_ids))
                for c in completions[start : start + samples_per_prompt]
            ],
            columns={
                "scores": scores[start : start + samples_per_prompt],
                "ended": [float(c.finish_reason == "stop") for c in completions[start : start + samples_per_prompt]],
            },
        )
        for start in range(0, len(completions), samples_per_prompt)
    ]
    batch = collate(examples, pad, device)
    engine = torch.zeros(batch.tokens.shape, device=device)
    engine[batch.completion_mask] = torch.tensor([x for c in completions for x in c.logprobs], device=device)
    return batch.with_columns(engine_logprobs=engine)
