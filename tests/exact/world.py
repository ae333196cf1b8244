"""A world small enough to sum over: every sequence of a few tokens, a tabular policy over them, exact expectations.

Token 0 ends a sequence; one that reaches the horizon without it was cut off.  The policy has one row of logits for each
prefix, so that it can be any distribution over sequences.  Everything is in float64.  Nothing here knows an algorithm:
its own ``prepare``, ``weights`` and ``loss`` run, reduced as the training loop reduces them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from assent.algorithms.base import Algorithm, Figures, Part, State
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.training.reduce import reduce_loss


@dataclass(frozen=True)
class Tables:
    """What is trained, by prefix (S of them), and by sequence."""

    logits: Tensor
    """[S, V] of the policy."""
    values: Tensor
    """[S] of the critic."""
    scores: Tensor
    """[S * V, 1] of a reward model, by the prefix before the last token and that token."""

    def trained(self) -> dict[str, Tensor]:
        return {"logits": self.logits, "values": self.values, "scores": self.scores}


@dataclass(frozen=True)
class World:
    """All sequences of up to ``horizon`` tokens of a vocabulary, after a prompt of one token."""

    vocabulary: int = 3
    horizon: int = 3

    @cached_property
    def sequences(self) -> list[tuple[int, ...]]:
        """Those that end (0 their last token) and those that are cut off, the shorter ones first."""
        words = range(1, self.vocabulary)
        ended = [(*s, 0) for n in range(self.horizon) for s in itertools.product(words, repeat=n)]
        return ended + list(itertools.product(words, repeat=self.horizon))

    @property
    def prefixes(self) -> int:
        """Room for the number of every prefix: its tokens as digits in base ``vocabulary``."""
        return self.vocabulary ** (self.horizon - 1)

    @cached_property
    def all(self) -> Batch:
        """Every sequence once, padded on the right with the prompt's token; each a group of its own."""
        width = 1 + self.horizon
        tokens = torch.full((len(self.sequences), width), self.vocabulary)
        mask = torch.zeros(tokens.shape, dtype=torch.bool)
        for row, sequence in enumerate(self.sequences):
            tokens[row, 1 : 1 + len(sequence)] = torch.tensor(sequence)
            mask[row, : 1 + len(sequence)] = True
        completion = mask & (torch.arange(width) > 0)
        return Batch(
            tokens=tokens,
            mask=mask,
            completion_mask=completion,
            groups=torch.arange(len(tokens)),
            pairs=Pairs.none(),
            columns={
                "ended": torch.tensor([float(s[-1] == 0) for s in self.sequences], dtype=torch.float64),
                "heads": torch.zeros(len(tokens), dtype=torch.float64),
            },
        )

    def tables(self, seed: int, scale: float = 1.0) -> Tables:
        """Random tables; those of the policy carry a gradient, as do those of critic and reward model."""
        draw = torch.Generator().manual_seed(seed)
        shapes = ((self.prefixes, self.vocabulary), (self.prefixes,), (self.prefixes * self.vocabulary, 1))
        made = [scale * torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in shapes]
        return Tables(*(table.requires_grad_() for table in made))

    def rewards(self, seed: int, scale: float = 1.0) -> Tensor:
        """[N] a reward for each sequence."""
        draw = torch.Generator().manual_seed(seed)
        return scale * torch.randn(len(self.sequences), generator=draw, dtype=torch.float64)

    def prefix_of(self, batch: Batch) -> Tensor:
        """[B, T] the number of the prefix before each token of the completion; 0 elsewhere."""
        number = torch.zeros_like(batch.tokens)
        for t in range(2, batch.tokens.shape[1]):
            number[:, t] = number[:, t - 1] * self.vocabulary + batch.tokens[:, t - 1]
        return torch.where(batch.completion_mask, number, 0)

    def forward(self, tables: Tables, batch: Batch) -> Outputs:
        """What the models of a run would give; positions outside the completion hold 0."""
        prefix, mask = self.prefix_of(batch), batch.completion_mask
        chosen = torch.where(mask, batch.tokens, 0)
        log_p = torch.log_softmax(tables.logits, -1)[prefix]
        last = (chosen + prefix * self.vocabulary).gather(1, mask.sum(1, keepdim=True))[:, 0]
        return Outputs(
            logprobs=log_p.gather(2, chosen[..., None])[..., 0] * mask,
            entropy=-(log_p.exp() * log_p).sum(-1) * mask,
            values=tables.values[prefix] * mask,
            scores=tables.scores[last],
        )

    def log_probs(self, logits: Tensor) -> Tensor:
        """[N] log-probability of each sequence, with gradient."""
        return self.token_log_probs(logits).sum(1)

    def token_log_probs(self, logits: Tensor) -> Tensor:
        """[N, T] log-probability of each token of each sequence, with gradient."""
        none = logits.new_zeros(self.prefixes)
        return self.forward(Tables(logits, none, none.new_zeros(self.prefixes * self.vocabulary, 1)), self.all).logprobs

    def rollouts(self, tables: Tables, reference: Tensor, rewards: Tensor) -> Batch:
        """Every sequence once, with the columns of rollouts that were sampled by the policy as it is now."""
        with torch.no_grad():
            outputs = self.forward(tables, self.all)
            return self.all.with_columns(
                scores=rewards,
                old_logprobs=outputs.logprobs,
                ref_logprobs=self.token_log_probs(reference),
                values=outputs.values,
            )

    def objective(self, logits: Tensor, reference: Tensor, rewards: Tensor, beta: float) -> Tensor:
        """J = E[r] - beta KL(policy || reference), summed over every sequence."""
        log_p = self.log_probs(logits)
        return (log_p.exp() * (rewards - beta * (log_p - self.log_probs(reference)))).sum()

    def optimum(self, reference: Tensor, rewards: Tensor, beta: float) -> Tensor:
        """[N] the distribution where J is largest: ref(y) exp(r(y) / beta), normalised."""
        return torch.softmax(self.log_probs(reference).detach() + rewards / beta, 0)

    def logits_of(self, probabilities: Tensor) -> Tensor:
        """[S, V] logits of the policy whose sequences have these ``probabilities`` [N], all above 0."""
        number = self.prefix_of(self.all) * self.vocabulary + torch.where(self.all.completion_mask, self.all.tokens, 0)
        each = (probabilities[:, None] * self.all.completion_mask).flatten()
        mass = probabilities.new_zeros(self.prefixes * self.vocabulary).index_add(0, number.flatten(), each)
        return mass.clamp(min=1e-300).log().reshape(self.prefixes, self.vocabulary)

    def mean_length(self, probabilities: Tensor) -> Tensor:
        """Expected number of sampled tokens."""
        return (probabilities * self.all.completion_mask.sum(1)).sum()


def distance(p: Tensor, q: Tensor) -> float:
    """Total variation between two distributions over sequences."""
    return 0.5 * float((p - q).abs().sum())


@dataclass(frozen=True)
class Step:
    """One optimiser batch, reduced as the loop does it."""

    loss: Tensor
    state: State
    figures: Figures


def step(
    world: World,
    algorithm: Algorithm,
    settings: Any,
    tables: Tables,
    batch: Batch,
    *,
    state: State | None = None,
    often: Tensor | None = None,
) -> Step:
    """The algorithm's loss on ``batch``; with ``often`` [G] on one where group g occurs ``often[g]`` times.

    With the probabilities of every sequence, or of every draw of K of them, that is the limit of an ever larger batch.
    It holds for an algorithm whose ``prepare`` treats groups one by one.
    """
    started = algorithm.initial_state(settings) if state is None else state
    prepared, after, figures = algorithm.prepare(batch, settings, started)
    return Step(update(world, algorithm, settings, tables, prepared, often), after, figures)


def update(
    world: World, algorithm: Algorithm, settings: Any, tables: Tables, prepared: Batch, often: Tensor | None = None
) -> Tensor:
    """The loss of a batch that ``prepare`` has been through already: what each epoch over it minimises."""
    parts = algorithm.weights(prepared, settings)
    if often is not None:
        parts = {name: _repeated(algorithm, settings, prepared, name, part, often) for name, part in parts.items()}
    loss = algorithm.loss(world.forward(tables, prepared), prepared, settings)
    counts = {name: part.count for name, part in parts.items()}
    return reduce_loss(loss.terms, loss.coefficients, parts, counts)


def _repeated(algorithm: Algorithm, settings: Any, batch: Batch, name: str, part: Part, often: Tensor) -> Part:
    """Group g counted ``often[g]`` times, in the sum and in its denominator (counts of single groups add up)."""
    groups = batch.groups.unique()
    alone = [batch.select((batch.groups == g).nonzero()[:, 0]) for g in groups]
    counts = torch.stack([algorithm.weights(one, settings)[name].count.double() for one in alone])
    # a part has a term for each row, pair or group
    owners = {len(groups): groups, len(batch.pairs): batch.groups[batch.pairs.chosen], batch.rows: batch.groups}
    times = often[owners[len(part.weights)]]
    weights = part.weights * (times if part.weights.dim() == 1 else times[:, None])
    return Part(weights, (counts * often[groups]).sum())


def every_draw(batch: Batch, probabilities: Tensor, size: int) -> tuple[Batch, Tensor]:
    """Every draw of ``size`` sequences as a group, and how often each comes [G]: what ``often`` is in :func:`step`."""
    drawn = multisets(batch.rows, size)
    rows = torch.tensor([draw for draw, _ in drawn])
    often = torch.tensor([float(orders) for _, orders in drawn], dtype=torch.float64) * probabilities[rows].prod(1)
    groups = torch.arange(len(drawn)).repeat_interleave(size)
    return replace(batch.select(rows.flatten()), groups=groups), often


def gradients(loss: Tensor, tables: Tables) -> dict[str, Tensor]:
    """d loss / d each table; zero for one that the loss does not reach."""
    trained = tables.trained()
    found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(trained.items(), found, strict=True)}


def multisets(count: int, size: int) -> list[tuple[tuple[int, ...], int]]:
    """Every unordered draw of ``size`` of ``count`` things with replacement, and how many ordered draws it stands for.

    That the order of rows changes nothing is proved apart, by :func:`assent.testing.algorithm.check_algorithm`.
    """
    made: list[tuple[tuple[int, ...], int]] = []
    for draw in itertools.combinations_with_replacement(range(count), size):
        orders = math.factorial(size)
        for repeats in (draw.count(item) for item in set(draw)):
            orders //= math.factorial(repeats)
        made.append((draw, orders))
    return made


def expected_gradient(
    world: World,
    algorithm: Algorithm,
    settings: Any,
    tables: Tables,
    batch: Batch,
    probabilities: Tensor,
    size: int,
    state: State | None = None,
) -> dict[str, Tensor]:
    """The mean of the algorithm's gradient over every optimiser batch of ``size`` completions of one prompt.

    ``batch`` has every sequence once with its columns, ``probabilities`` [N] say how often each is sampled.
    """
    total = torch.zeros((), dtype=torch.float64)
    for draw, orders in multisets(batch.rows, size):
        rows = torch.tensor(draw)
        drawn = replace(batch.select(rows), groups=torch.zeros_like(rows))
        share = orders * float(probabilities[rows].prod())
        total = total + share * step(world, algorithm, settings, tables, drawn, state=state).loss
    return gradients(total, tables)
