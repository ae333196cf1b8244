"""Batches of rollouts: the policy's own completions, scored just now or by the user's loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import Any, Literal

import torch

from assent.algorithms.batch import Batch
from assent.errors import DataError, RecipeError
from assent.rewards.source import RewardSource, Scores, account_of, problems
from assent.rollout.engine import EncodedPrompt, Engine, begin
from assent.training.sources import Example, Row, collate, stream_places
from assent.training.timing import phase
from assent.types import Completion, Prompt, SamplingSettings, from_json, short_id, to_json

OnUnscored = Literal["stop", "skip"]
"""What is done with a completion that its source of rewards gives no score."""
_WANTED = {
    "uncertainty": "uncertainty_penalty is set, and the source of rewards tells no uncertainty; give an ensemble (a "
    "reward model with members), or leave uncertainty_penalty out",
    "costs": "cost_limit is set, and nothing in the rewards is constrained; give a combined-reward with combination: "
    "constrained, or leave cost_limit out",
}


@dataclass(frozen=True)
class _Drawn:
    """The completions of a step, perhaps still being drawn, and the step whose first weights draw them."""

    completions: Future[list[Completion]]
    weights_of: int


class RolloutSource:
    """Samples the policy on a batch of prompts and scores what it wrote.  Trains on the very ids that were sampled.

    The prompts' epochs follow one another as one stream, as those of :class:`DatasetSource` do.

    ``staleness`` steps ahead are drawn too, before the updates of a step: their samples are that many steps old when
    they are trained on.  Where the engine draws beside other work, training goes on meanwhile.  What is drawn by older
    weights is saved with a checkpoint, for those weights are gone.
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
        on_unscored: OnUnscored = "stop",
        say: Callable[[str], None] = print,
        wanted: frozenset[str] = frozenset(),
        staleness: int = 0,
        steps: int | None = None,
    ) -> None:
        """``rollouts`` completions a step, ``samples_per_prompt`` of each of the step's prompts.

        ``wanted`` of uncertainty and costs is what the rewards must tell besides the scores; ``steps``, where known,
        how many there will be.
        """
        self.staleness, self.steps = staleness, steps
        self.on_unscored, self.say, self.wanted = on_unscored, say, wanted
        self.prompts, self.encoded, self.engine, self.reward = prompts, encoded, engine, reward
        self.sampling, self.samples_per_prompt, self.pad, self.device = sampling, samples_per_prompt, pad, device
        self.prompts_per_step = min(len(prompts), max(1, rollouts // samples_per_prompt))
        self._drawn: dict[int, _Drawn] = {}
        """By step: what waits for its scores or to be trained on, and what is drawn ahead."""
        self._weights_of = 0
        """The step whose first weights are those of now, as far as is known here."""

    def drawn(self) -> list[dict[str, Any]]:
        """See :class:`assent.training.sources.Drawing`.

        Waits for what older weights draw; what the weights of now draw may be begun again.
        """
        kept = {
            step: drawn
            for step, drawn in self._drawn.items()
            if drawn.completions.done() or drawn.weights_of < self._weights_of
        }
        return [
            {
                "step": step,
                "completions": [to_json(completion) for completion in drawn.completions.result()],
                "weights_of": drawn.weights_of,
            }
            for step, drawn in kept.items()
        ]

    def take_up(self, drawn: list[dict[str, Any]]) -> None:
        """See :class:`assent.training.sources.Drawing`."""
        for saved in drawn:
            completions: Future[list[Completion]] = Future()
            completions.set_result([from_json(Completion, row) for row in saved["completions"]])
            self._drawn[int(saved["step"])] = _Drawn(completions, int(saved["weights_of"]))

    def batch(self, step: int) -> tuple[Batch, dict[str, float]]:
        chosen, each = self._places(step), self.samples_per_prompt
        with phase("sampling"):
            completions = self._completions(step)
        prompts = [self.prompts[i] for i in chosen for _ in range(each)]
        with phase("scoring"):
            scores = self.reward.score(prompts, completions)
        self._weights_of = step + 1  # what comes next may change them
        if self.staleness == 0:
            del self._drawn[step]
        sizes, figures = [each] * len(chosen), account_of(self.reward)
        missing = problems(scores, completions)
        if missing or self.on_unscored == "skip":
            figures["unscored"] = float(len(missing))
            kept = self._kept(missing, _split(sizes))
            completions, scores = [completions[i] for part in kept for i in part], scores.select(list(chain(*kept)))
            sizes = [len(part) for part in kept]
        batch = collate_rollouts(completions, scores.values, sizes, self.pad, self.device)
        if self.staleness and "engine_logprobs" not in batch.columns:
            raise RecipeError(
                "staleness needs the log-probabilities of each token from what samples, and it tells none; leave "
                "staleness out"
            )
        columns, told = self._told(scores)
        parts = {f"reward/{name}": part for name, part in scores.parts.items()} | told
        return batch.with_columns(**columns), figures | {name: sum(part) / len(part) for name, part in parts.items()}

    def _places(self, step: int) -> list[int]:
        return stream_places(len(self.prompts), self.prompts_per_step, self.sampling.seed, step)

    def _completions(self, step: int) -> list[Completion]:
        """The completions of this step, once those of the steps ahead are begun."""
        self._weights_of = step
        self._drawn = {place: drawn for place, drawn in self._drawn.items() if place >= step}
        last = step + self.staleness if self.steps is None else max(step, min(step + self.staleness, self.steps - 1))
        for ahead in range(step, last + 1):
            if ahead not in self._drawn:
                prompts = told_apart([self.encoded[i] for i in self._places(ahead)])
                sampling = replace(self.sampling, seed=step_seed(self.sampling.seed, ahead))
                self._drawn[ahead] = _Drawn(begin(self.engine, prompts, sampling, self.samples_per_prompt), step)
        return self._drawn[step].completions.result()

    def _told(self, scores: Scores) -> tuple[dict[str, torch.Tensor], dict[str, Sequence[float]]]:
        """Uncertainty and costs as columns, and as figures; :class:`RecipeError` where one is wanted and not told."""
        told = {"uncertainty": scores.uncertainty, "costs": scores.costs}
        there = {name: column for name, column in told.items() if column is not None}
        missing = sorted(self.wanted - there.keys())
        if missing:
            raise RecipeError(_WANTED[missing[0]])
        columns = {n: torch.tensor(c, dtype=torch.float32, device=self.device) for n, c in there.items()}
        return columns, {f"reward_{name}": column for name, column in there.items()}

    def _kept(self, missing: Mapping[int, str], groups: Sequence[Sequence[int]]) -> list[list[int]]:
        """The places that have a score, group by group; where samples are compared, a single one is left out too.

        Raises :class:`DataError` for the first without a score where such are to stop the run, or none is left.
        """
        if missing and self.on_unscored == "stop":
            raise DataError(f"{next(iter(missing.values()))}; on_unscored: skip leaves such completions out")
        least = min(2, self.samples_per_prompt)
        kept = [[place for place in group if place not in missing] for group in groups]
        kept = [group for group in kept if len(group) >= least]
        if missing:
            self.say(f"{len(missing)} of {sum(map(len, groups))} completions left out; {next(iter(missing.values()))}")
        if not kept:
            raise DataError(f"no completion of this step can be trained on; {next(iter(missing.values()))}")
        return kept


def _split(sizes: Sequence[int]) -> list[range]:
    """The places of each group."""
    ends = list(accumulate(sizes))
    return [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]


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
