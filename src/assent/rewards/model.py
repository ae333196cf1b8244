"""Rewards from a reward model, with the policy's tokenizer or one of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from assent.data.chat import encode_completion, encode_prompt
from assent.data.microbatch import plan_microbatches
from assent.data.tokenizers import has_encoder_prompts
from assent.errors import RecipeError
from assent.models.adapters import AdapterSettings
from assent.models.load import reward_model_folders
from assent.models.padding import pad_right
from assent.models.scalar import RewardModel
from assent.models.shared import Bases
from assent.rewards.ensemble import MEAN, Ensemble, Pooling
from assent.rewards.lengths import doublings
from assent.rewards.source import Scores
from assent.types import Completion, Prompt


class ModelReward:
    """Scores completions with a reward model, in length-sorted batches under a token budget.

    Where the reward model's tokenizer is the policy's, the sampled ids themselves are scored; otherwise the text is
    tokenised again with the reward model's own tokenizer and, if the completion ended by itself, its EOS.

    A completion for which a head gives no finite number has no score.

    The heads of a model of several criteria are the named parts.  The value is their mean, which has the scale of one
    head however many there are, or the sum of those that ``weights`` names, each times its weight.  The heads of a
    model of several members are an ensemble, by ``pooling``.  A length-residualised model has the score of an answer's
    length (in characters) taken off.
    """

    def __init__(
        self,
        model: RewardModel,
        policy_tokenizer: Any = None,
        token_budget: int = 8192,
        weights: Mapping[str, float] | None = None,
        pooling: Pooling = MEAN,
    ) -> None:
        """Raises :class:`RecipeError` where ``weights`` name no criterion, or one that it has not, or are needed."""
        self.model = model
        self.same_tokenizer = policy_tokenizer is not None and same_tokenizer(policy_tokenizer, model.tokenizer)
        self.token_budget, self.pooling = token_budget, pooling
        self._given_weights = weights
        if model.weights_needed and weights is None:
            raise RecipeError(
                f"the reward model has the labels {', '.join(model.criteria)}, and nothing says what each counts in "
                "the reward; set reward_weights, as in {LABEL: 1.0}"
            )
        self.weights = _head_weights(model.criteria, model.default_weights if weights is None else weights)

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        rows = [self._ids(p, c)[: self.model.context_length] for p, c in zip(prompts, completions, strict=True)]
        heads = score_rows(self.model, rows, self.token_budget)
        if self.model.length_slopes:
            longer = torch.from_numpy(doublings([len(c.text) for c in completions])).float() - self.model.length_mean
            heads -= longer[:, None] * torch.tensor(self.model.length_slopes)
        unscored = {
            place: f"the reward model gave {head}: its weights are damaged or its activations overflow"
            for place, scores in enumerate(heads.tolist())
            for head in scores
            if not math.isfinite(head)
        }
        if self.model.members > 1:
            return replace(self.pooling(heads.double().T.numpy()), unscored=unscored)
        parts = dict(zip(self.model.criteria, map(tuple, heads.T.tolist()), strict=False))
        return Scores(tuple((heads @ torch.tensor(self.weights)).tolist()), parts, unscored=unscored)

    def features(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Tensor:
        """[N, D] what the heads read of each completion, on the CPU."""
        rows = [self._ids(p, c)[: self.model.context_length] for p, c in zip(prompts, completions, strict=True)]
        return feature_rows(self.model, rows, self.token_budget)

    def for_tokenizer(self, tokenizer: Any) -> Self:
        return type(self)(self.model, tokenizer, self.token_budget, self._given_weights, self.pooling)

    def _ids(self, prompt: Prompt, completion: Completion) -> list[int]:
        if self.same_tokenizer and completion.prompt_token_ids:
            return [*completion.prompt_token_ids, *completion.token_ids]
        prompt_ids = encode_prompt(self.model.tokenizer, prompt)
        chat = prompt.messages is not None
        ids = list(encode_completion(self.model.tokenizer, prompt_ids, completion.text, chat=chat))
        return [*prompt_ids, *(ids if completion.finish_reason == "stop" else ids[:-1])]


def load_models(
    source: str,
    device: str = "cpu",
    policy_tokenizer: Any = None,
    token_budget: int = 8192,
    weights: Mapping[str, float] | None = None,
    pooling: Pooling = MEAN,
    bases: Bases | None = None,
) -> ModelReward | Ensemble:
    """The rewards of the model or the ensemble in a folder (or of a hub name), frozen.

    Models that are adapters of a base in ``bases``, or members that are adapters of one base, share it.  The other
    arguments are those of :class:`ModelReward`.  Raises :class:`ModelError` for what is no reward model, such as one
    whose head is missing.
    """
    rest = (policy_tokenizer, token_budget, weights, pooling)
    folders = reward_model_folders(source)
    models = (bases or Bases(AdapterSettings(), device)).reward_models(folders)
    members = [ModelReward(model, *rest) for model in models]
    return members[0] if len(members) == 1 else Ensemble(members, pooling)


def same_tokenizer(one: Any, other: Any) -> bool:
    """Whether two tokenizers give the same ids: the same vocabulary and special tokens, prompts of one kind."""
    return (
        one.get_vocab() == other.get_vocab()
        and one.eos_token_id == other.eos_token_id
        and has_encoder_prompts(one) == has_encoder_prompts(other)
    )


def _head_weights(criteria: Sequence[str], weights: Mapping[str, float] | None) -> list[float]:
    """What each head counts in the value."""
    if weights is None:
        return [1.0 / max(1, len(criteria))] * max(1, len(criteria))
    strange = sorted(set(weights) - set(criteria))
    if strange or not weights:
        have = ", ".join(criteria) or "none: it has one head without a name"
        named = f"criterion '{strange[0]}'" if strange else "no criterion"
        raise RecipeError(f"the weights of the reward name {named}; the reward model's criteria are {have}")
    return [float(weights.get(name, 0.0)) for name in criteria]


def score_rows(model: RewardModel, rows: Sequence[Sequence[int]], token_budget: int) -> Tensor:
    """Scores [N, H] on the CPU of N rows of token ids, whatever the order and company: padding changes nothing."""
    return _by_batches(model, model.scores, len(model.offsets), rows, token_budget)


def feature_rows(model: RewardModel, rows: Sequence[Sequence[int]], token_budget: int) -> Tensor:
    """Features [N, D] on the CPU of N rows of token ids: what the heads read."""
    return _by_batches(model, model.features, int(model.config.hidden_size), rows, token_budget)


@torch.no_grad()
def _by_batches(
    model: RewardModel,
    forward: Callable[[Tensor, Tensor], Tensor],
    width: int,
    rows: Sequence[Sequence[int]],
    token_budget: int,
) -> Tensor:
    found = torch.zeros(len(rows), width)
    device = next(model.parameters()).device
    for chosen in plan_microbatches([len(row) for row in rows], None, token_budget, device.type):
        tokens, mask = pad_right([rows[i] for i in chosen], int(model.tokenizer.pad_token_id), device)
        found[list(chosen)] = forward(tokens, mask).float().cpu()
    return found
