"""Rewards from a reward model, with the policy's tokenizer or one of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from assent.data.chat import encode_completion, encode_prompt
from assent.data.microbatch import plan_microbatches
from assent.data.tokenizers import has_encoder_prompts
from assent.errors import ModelError
from assent.models.padding import pad_right
from assent.models.scalar import RewardModel
from assent.rewards.source import Scores
from assent.types import Completion, Prompt


class ModelReward:
    """Scores completions with a reward model, in length-sorted batches under a token budget.

    Where the reward model's tokenizer is the policy's, the sampled ids themselves are scored; otherwise the text is
    tokenised again with the reward model's own tokenizer and, if the completion ended by itself, its EOS.
    """

    def __init__(self, model: RewardModel, policy_tokenizer: Any = None, token_budget: int = 8192) -> None:
        self.model = model
        self.same_tokenizer = policy_tokenizer is not None and same_tokenizer(policy_tokenizer, model.tokenizer)
        self.token_budget = token_budget

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        rows = [self._ids(p, c)[: self.model.context_length] for p, c in zip(prompts, completions, strict=True)]
        values = tuple(score_rows(self.model, rows, self.token_budget))
        bad = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
        if bad is not None:
            raise ModelError(
                f"the reward model gave {values[bad]} for completion '{completions[bad].id}': its weights are damaged "
                "or its activations overflow; train it again or use another"
            )
        return Scores(values)

    def _ids(self, prompt: Prompt, completion: Completion) -> list[int]:
        if self.same_tokenizer and completion.prompt_token_ids:
            return [*completion.prompt_token_ids, *completion.token_ids]
        prompt_ids = encode_prompt(self.model.tokenizer, prompt)
        chat = prompt.messages is not None
        ids = list(encode_completion(self.model.tokenizer, prompt_ids, completion.text, chat=chat))
        return [*prompt_ids, *(ids if completion.finish_reason == "stop" else ids[:-1])]


def same_tokenizer(one: Any, other: Any) -> bool:
    """Whether two tokenizers give the same ids: the same vocabulary and special tokens, prompts of one kind."""
    return (
        one.get_vocab() == other.get_vocab()
        and one.eos_token_id == other.eos_token_id
        and has_encoder_prompts(one) == has_encoder_prompts(other)
    )


@torch.no_grad()
def score_rows(model: RewardModel, rows: Sequence[Sequence[int]], token_budget: int) -> list[float]:
    """One score per row of token ids, whatever the order and the company: padding changes nothing."""
    scores = [0.0] * len(rows)
    device = next(model.parameters()).device
    for chosen in plan_microbatches([len(row) for row in rows], None, token_budget):
        tokens, mask = pad_right([rows[i] for i in chosen], int(model.tokenizer.pad_token_id), device)
        for i, value in zip(chosen, model.scores(tokens, mask)[:, 0].tolist(), strict=True):
            scores[i] = value
    return scores
