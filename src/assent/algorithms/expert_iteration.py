"""Expert iteration: imitation of the best completions found so far (Anthony et al. 2017, arXiv:1705.08439).

For language models: Gulcehre et al. 2023 (ReST, arXiv:2308.08998), Havrilla et al. 2024 (arXiv:2403.04642).  A buffer
in the state holds the best distinct completions of each prompt, those of earlier steps too; every step trains on all of
it by maximum likelihood: loss = -mean of log pi(token) over the tokens of the experts.
Departures: the policy goes on from itself, where the papers start each iteration from the base model again; a step is
one batch of rollouts, not a sweep over all prompts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypedDict, cast

import torch
from pydantic import Field
from torch import Tensor

from assent.algorithms.base import Algorithm, Figures, Loss, Part, State, masked_mean, token_mean
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.algorithms.rollouts import EndSettings, ended_scores, rollout_figures


class ExpertIterationSettings(EndSettings):
    """Settings of expert iteration."""

    threshold: float | None = None
    """Completions of at least this score become experts; unset = the top_share of each batch."""
    top_share: float = Field(default=0.25, gt=0.0, le=1.0)
    """Share of each batch's completions that become experts, the best by score, where no threshold is set."""
    per_prompt: int = Field(default=4, ge=1)
    """Experts kept of each prompt, the best by score; of equal scores the newest."""
    capacity: int = Field(default=512, ge=1)
    """Experts kept in all, the newest; each step trains on all of them."""


class Expert(TypedDict):
    """One completion in the buffer, as plain data that the checkpoint can hold."""

    tokens: list[int]
    """Prompt and completion."""
    completion: list[int]
    """For each token 1 where the loss concerns it, else 0."""
    score: float


def initial_state(settings: ExpertIterationSettings) -> State:
    return {"experts": []}


def prepare(batch: Batch, settings: ExpertIterationSettings, state: State) -> tuple[Batch, State, Figures]:
    """Take the batch's best into the buffer; what is trained on is the buffer, not the batch."""
    scores = ended_scores(batch, settings)
    admitted = _admitted(scores, settings)
    experts = _kept([*state["experts"], *_experts(batch, scores, admitted)], settings)
    share, mean = len(admitted) / batch.rows, sum(e["score"] for e in experts) / max(len(experts), 1)
    figures = rollout_figures(batch, admitted_share=share, experts=len(experts), expert_reward=mean)
    return _batch(experts, batch.tokens.device), {**state, "experts": experts}, figures


def _admitted(scores: Tensor, settings: ExpertIterationSettings) -> list[int]:
    """The rows of the batch that become experts; of equal scores the first, where they do not all fit."""
    if settings.threshold is not None:
        return _integers((scores >= settings.threshold).nonzero()[:, 0])
    count = math.ceil(settings.top_share * len(scores))
    return sorted(_integers(scores.argsort(descending=True, stable=True)[:count]))


def _integers(values: Tensor) -> list[int]:
    return cast("list[int]", values.tolist())  # pyright: ignore[reportUnknownMemberType]


def _experts(batch: Batch, scores: Tensor, rows: Sequence[int]) -> list[Expert]:
    return [
        Expert(
            tokens=_integers(batch.tokens[row][batch.mask[row]]),
            completion=_integers(batch.completion_mask[row][batch.mask[row]].int()),
            score=float(scores[row]),
        )
        for row in rows
        if bool(batch.completion_mask[row].any())  # an empty completion has nothing to imitate
    ]


_Key = tuple[tuple[int, ...], tuple[int, ...]]
"""Tokens, and which of them are the completion."""


def _prompt(expert: Expert) -> tuple[int, ...]:
    """The tokens before the completion: what tells prompts apart."""
    return tuple(expert["tokens"][: expert["completion"].index(1)])


def _kept(experts: Sequence[Expert], settings: ExpertIterationSettings) -> list[Expert]:
    """Each completion once, the best of each prompt, the newest in all; the oldest first, as they came."""
    distinct: dict[_Key, Expert] = {}
    for expert in reversed(experts):
        distinct.setdefault((tuple(expert["tokens"]), tuple(expert["completion"])), expert)
    places: Counter[tuple[int, ...]] = Counter()
    best: set[_Key] = set()
    for key, expert in sorted(distinct.items(), key=lambda item: -item[1]["score"]):  # stable: the newest first
        places[_prompt(expert)] += 1
        if places[_prompt(expert)] <= settings.per_prompt:
            best.add(key)
    oldest_first = [expert for key, expert in reversed(distinct.items()) if key in best]
    return oldest_first[-settings.capacity :]


def _batch(experts: Sequence[Expert], device: torch.device) -> Batch:
    """The buffer as a batch, padded on the right with token 0 under a false mask; every expert a group of its own."""
    lengths = torch.tensor([len(expert["tokens"]) for expert in experts], dtype=torch.long, device=device)
    width = int(lengths.max()) if experts else 0

    def padded(rows: Sequence[list[int]]) -> Tensor:
        filled = [row + [0] * (width - len(row)) for row in rows]
        return torch.tensor(filled, dtype=torch.long, device=device).reshape(len(rows), width)

    return Batch(
        tokens=padded([expert["tokens"] for expert in experts]),
        mask=torch.arange(width, device=device)[None, :] < lengths[:, None],
        completion_mask=padded([expert["completion"] for expert in experts]) > 0,
        groups=torch.arange(len(experts), device=device),
        pairs=Pairs.none(device),
    )


def weights(batch: Batch, settings: ExpertIterationSettings) -> Mapping[str, Part]:
    return {"nll": token_mean(batch.completion_mask)}


def loss(outputs: Outputs, batch: Batch, settings: ExpertIterationSettings) -> Loss:
    nll = -outputs.logprobs
    return Loss({"nll": nll}, {"loss": masked_mean(nll, batch.completion_mask)})


ALGORITHM = Algorithm(
    name="expert-iteration",
    summary="Fine-tune a policy on the best samples found so far (expert iteration)",
    Settings=ExpertIterationSettings,
    data=frozenset({"rollouts"}),
    needs=frozenset({"scores", "ended", "old_logprobs", "ref_logprobs"}),
    outputs=frozenset({"logprobs"}),
    prepare=prepare,
    weights=weights,
    loss=loss,
    initial_state=initial_state,
)
