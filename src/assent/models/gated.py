"""Ready reward models of many attributes with a gating head, in ArmoRM's layout (Wang et al. 2024, arXiv:2406.12845).

The attributes are a linear layer on the state of the last token, decorrelated by a matrix.  What each counts is said by
a network on the state of the prompt's last token before the generation prompt: softmax of its logits over a
temperature.  The folder names the heads ``regression_layer``, ``reward_transform_matrix`` and ``gating``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from assent.errors import ModelError
from assent.models.packing import causal_states
from assent.models.scalar import RewardModel

GATED = "gated"
"""The name of the combined reward, beside the attributes'."""


class GatingNetwork(nn.Module):
    """How much each attribute counts [B, H], from the prompt's state [B, D]."""

    def __init__(self, width: int, hidden: int, layers: int, out: int, temperature: float) -> None:
        super().__init__()
        widths = [width, *[hidden] * layers]
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in zip(widths, [*widths[1:], out], strict=True)])
        self.logit_scale = nn.Parameter(torch.ones(1))
        self.temperature = temperature

    def forward(self, states: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            states = layer(states).relu()
        return (self.layers[-1](states) / self.temperature).softmax(1) * self.logit_scale[0]


class RewardModelWithGating(PreTrainedModel):
    """The weights, as ``from_pretrained`` reads them, over the trunk that the configuration names."""

    base_model_prefix = "model"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        objectives = int(getattr(config, "num_objectives", 19))
        self.model = AutoModel.from_config(config)
        self.regression_layer = nn.Linear(config.hidden_size, objectives, bias=False)
        self.reward_transform_matrix = nn.Parameter(torch.eye(objectives), requires_grad=False)
        self.gating = GatingNetwork(
            config.hidden_size,
            int(getattr(config, "gating_hidden_dim", 1024)),
            int(getattr(config, "gating_n_hidden", 3)),
            objectives,
            float(getattr(config, "gating_temperature", 10)),
        )
        self.post_init()


class GatedRewardModel(RewardModel):
    """The combined reward as the first head, and each attribute as one more."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__(model, tokenizer)
        self._before_answer = _generation_prompt(tokenizer)

    @property
    def criteria(self) -> tuple[str, ...]:
        count = self.model.regression_layer.weight.shape[0]
        named = tuple(getattr(self.config, "attributes", ()))
        return (GATED, *(named if len(named) == count else (f"attribute-{i + 1}" for i in range(count))))

    @property
    def weights_needed(self) -> bool:
        return False

    @property
    def default_weights(self) -> dict[str, float]:
        return {GATED: 1.0}

    @property
    def offsets(self) -> tuple[float, ...]:
        return (0.0,) * len(self.criteria)

    def scores(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """[B, 1 + H]: sum over attributes of gate * reward, and the rewards, of right-padded rows [B, T]."""
        hidden = causal_states(self.trunk, tokens, mask, self.packing)
        rows = torch.arange(len(tokens), device=tokens.device)
        rewards = self.model.regression_layer(hidden[rows, mask.sum(1) - 1])
        places = [self._gate(row[real].tolist()) for row, real in zip(tokens, mask, strict=True)]
        gates = self.model.gating(hidden[rows, torch.tensor(places, device=tokens.device)])
        combined = (gates * (rewards @ self.model.reward_transform_matrix)).sum(1, keepdim=True)
        return torch.cat([combined, rewards], 1).float()

    def _gate(self, row: list[int]) -> int:
        """Where the prompt's last token stands: before the last generation prompt."""
        wanted = self._before_answer
        for place in range(len(row) - len(wanted), -1, -1):
            if row[place : place + len(wanted)] == wanted:
                return place
        raise ModelError(
            "the reward model's gating head reads the prompt before its generation prompt, and a row has none; give "
            "prompts as messages, so that they go through its chat template, and short enough for its context"
        )


def _generation_prompt(tokenizer: Any) -> list[int]:
    """The last token of a user's message and the generation prompt behind it, as the chat template has them."""
    if not tokenizer.chat_template:
        raise ModelError("a reward model with a gating head needs a tokenizer with a chat template")
    said = [{"role": "user", "content": "Hello"}]
    closed, opened = (
        tokenizer.apply_chat_template(said, add_generation_prompt=opened, tokenize=True, return_dict=False)
        for opened in (False, True)
    )
    return list(opened[len(closed) - 1 :])
