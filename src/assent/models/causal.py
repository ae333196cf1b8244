"""Causal language models: one stack that reads prompt and completion as one row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from assent.models.packing import causal_states
from assent.models.policy import Policy


class CausalModel(Policy):
    """A Hugging Face causal model and its tokenizer.

    Rows come padded on the right, so no attention mask is needed: a causal model's real tokens never see the padding
    behind them, and positions count from the row's first token.
    """

    @property
    def trunk(self) -> nn.Module:
        return self.model.base_model

    def hidden(self, tokens: Tensor, mask: Tensor, completion_mask: Tensor) -> Tensor:
        return causal_states(self.trunk, tokens, mask, self.packing)

    def _without_trunk(self, states: Tensor) -> tuple[nn.Module, dict[str, Any]]:
        return self.trunk, {"input_ids": torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)}
