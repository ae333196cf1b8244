"""Batches of rollouts: the policy's own completions, scored just now or by the user's loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from assent.algorithms.batch import Batch
from assent.rewards.source import RewardSource
from assent.rollout.engine import EncodedPrompt, Engine
from assent.training.sources import Example, Row, collate, stream_places
from assent.training.timing import phase
from assent.types import Completion, Prompt, SamplingSettings, short_id


class RolloutSource:
    """Samples the policy on a batch of prompts and scores what it wrote.  Trains on the very ids that were sampled.

    The prompts' epochs follow one another as one stream, as those of :class:`DatasetSource` do.
    """

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
        chosen = stream_places(len(self.prompts), self.prompts_per_step, self.sampling.seed, step)
        sampling = replace(self.sampling, seed=step_seed(self.sampling.seed, step))
        encoded, each = told_apart([self.encoded[i] for i in chosen]), self.samples_per_prompt
        with phase("sampling"):
            completions = self.engine.generate(encoded, sampling, each)
        prompts = [self.prompts[i] for i in chosen for _ in range(each)]
        with phase("scoring"):
            scores = self.reward.score(prompts, completions)
        batch = collate_rollouts(completions, scores.values, [each] * len(chosen), self.pad, self.device)
        figures = {f"reward/{name}": sum(part) / len(part) for name, part in scores.parts.items()}
        return batch, figures


def step_seed(seed: int, *place: int) -> int:
    """A seed of its own for every step: the same prompt met again in a later epoch gets fresh random numbers."""
    return int(short_id(seed, *place), 16)


def told_apart(prompts: Sequence[EncodedPrompt]) -> list[EncodedPrompt]:
    """The prompts, the second of one id named otherwise: engines draw by the id, and it gets samples of its own."""
    seen: dict[str, int] = {}
    out: list[EncodedPrompt] = []
    for prompt in prompts:
        seen[prompt.id] = seen.get(prompt.id, 0) + 1
        out.append(prompt if seen[prompt.id] == 1 else replace(prompt, id=f"{prompt.id}+{seen[prompt.id]}"))
    return out


def collate_rollouts(
    completions: Sequence[Completion], scores: Sequence[float], sizes: Sequence[int], pad: int, device: torch.device
) -> Batch:
    """Completions with their scores as one batch, in groups of these ``sizes``, one after another.

    ``engine_logprobs`` [B, T] keeps what the engine reported; it is left out where a completion has none.
    """
    rows = [
        Row([*c.prompt_token_ids, *c.token_ids], [False] * len(c.prompt_token_ids) + [True] * len(c.token_ids))
        for c in completions
    ]
    ended = [float(c.finish_reason == "stop") for c in completions]
    examples: list[Example] = []
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        examples.append(Example(rows[part], columns={"scores": scores[part], "ended": ended[part]}))
        start += size
    batch = collate(examples, pad, device)
    if any(len(c.logprobs) != len(c.token_ids) for c in completions):
        return batch
    engine = torch.zeros(batch.tokens.shape, device=device)
    engine[batch.completion_mask] = torch.tensor([x for c in completions for x in c.logprobs], device=device)
    return batch.with_columns(engine_logprobs=engine)
