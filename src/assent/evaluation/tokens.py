"""Log-probabilities of completions that were sampled elsewhere, and perplexity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from assent.data.microbatch import plan_microbatches
from assent.models.padding import pad_right
from assent.models.policy import Policy
from assent.types import Completion

_TOKEN_BUDGET = 8192


@torch.no_grad()
def token_logprobs(policy: Policy, completions: Sequence[Completion], temperature: float) -> list[list[float]]:
    """The log-probability of each completion token under ``policy``, in nats; one list per completion.

    The ids are scored as they were sampled; the policies compared must share a tokenizer.
    """
    rows = [[*c.prompt_token_ids, *c.token_ids] for c in completions]
    device = next(policy.parameters()).device
    out: list[list[float]] = [[] for _ in rows]
    for chosen in plan_microbatches([len(row) for row in rows], None, _TOKEN_BUDGET, device.type):
        tokens, mask = pad_right([rows[i] for i in chosen], 0, device)
        written = mask.clone()
        for place, i in enumerate(chosen):
            written[place, : len(completions[i].prompt_token_ids)] = False
        hidden = policy.hidden(tokens, mask, written)
        logprobs, _ = policy.token_logprobs(hidden, tokens, written, temperature or 1.0)
        for place, i in enumerate(chosen):
            out[i] = logprobs[place][written[place]].tolist()
    return out


def perplexity(logprobs: Sequence[Sequence[float]]) -> float:
    """exp of the mean negative log-probability over all tokens of all completions."""
    count = sum(len(row) for row in logprobs)
    if not count:
        raise ValueError("perplexity needs at least one token")
    return math.exp(-sum(sum(row) for row in logprobs) / count)
