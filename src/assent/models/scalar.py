"""Models that end in one number: reward models (a score per row) and critics (a value per token)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from assent.models.packing import causal_states
from assent.models.seq2seq import EncoderDecoder


def init_scalar_head(head: nn.Linear, seed: int) -> None:
    """Reward head at std 1 / sqrt(d + 1) (Stiennon et al. 2020, arXiv:2009.01325, appendix), its bias at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        width = head.weight.shape[1]
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator) / math.sqrt(width + 1))
        if head.bias is not None:
            head.bias.zero_()


class RewardModel(nn.Module):
    """A Hugging Face sequence-classification model with one label a head, scored at the last real token.

    Causal trunks are scored here, by the mask and not by the PAD id, so that a completion that holds the PAD id
    or ends without EOS is still scored at its own last token; encoders (BERT) go through their own pooling.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.packing = False
        """Lay the rows of a batch behind one another instead of padding them; causal trunks only."""
        self.adapter_of: str | None = None
        """As :attr:`assent.models.policy.Policy.adapter_of`."""

    @property
    def trunk(self) -> nn.Module:
        return self.model.base_model

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def context_length(self) -> int:
        """Tokens of the longest row.  RoBERTa's kin count positions from behind the PAD id."""
        before = getattr(getattr(self.trunk, "embeddings", None), "padding_idx", None)
        return int(getattr(self.config, "max_position_embeddings", 1 << 30)) - (0 if before is None else before + 1)

    @property
    def criteria(self) -> tuple[str, ...]:
        """What each head judges, in order; empty where there is one head without a name, and in an ensemble."""
        if self.members > 1:
            return ()
        stored = tuple(getattr(self.config, "assent_reward_criteria", ()))
        return stored or (tuple(self.config.id2label.values()) if self.weights_needed else ())

    @property
    def weights_needed(self) -> bool:
        """Whether its labels are another trainer's, of which nothing says what each counts in a reward."""
        ours = self.members > 1 or hasattr(self.config, "assent_reward_criteria")
        return not ours and int(self.config.num_labels) > 1

    @property
    def members(self) -> int:
        """Heads that judge the same thing, each trained on its own draw of the data; 1 where it is no ensemble."""
        return int(getattr(self.config, "assent_reward_members", 1))

    @property
    def offsets(self) -> tuple[float, ...]:
        """The mean score of each head on the reference set, stored with the model and taken off every score."""
        stored = getattr(self.config, "assent_reward_offset", 0.0)
        return tuple(stored) if isinstance(stored, list) else (float(stored),) * max(self.members, len(self.criteria))

    @property
    def default_weights(self) -> dict[str, float] | None:
        """What each criterion counts in the reward where nobody says otherwise; ``None``: all the same."""
        return None

    @property
    def length_slopes(self) -> tuple[float, ...]:
        """Score of each head for each doubling of the answer's length, which the reward is freed of; empty = none."""
        return tuple(getattr(self.config, "assent_reward_length_slopes", ()))

    @property
    def length_mean(self) -> float:
        """Mean length of the reference answers, in doublings: there nothing is taken off."""
        return float(getattr(self.config, "assent_reward_length_mean", 0.0))

    def set_length_slopes(self, slopes: Sequence[float], mean: float) -> None:
        """Store what length is worth to each head."""
        self.config.assent_reward_length_slopes = [float(slope) for slope in slopes]
        self.config.assent_reward_length_mean = float(mean)

    def set_offsets(self, means: Sequence[float]) -> None:
        """Store the mean score of each head, a number where there is one head."""
        self.config.assent_reward_offset = float(means[0]) if len(means) == 1 else [float(mean) for mean in means]

    @property
    def is_causal(self) -> bool:
        return isinstance(getattr(self.model, "score", None), nn.Linear)

    def features(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """[B, D] states of right-padded rows, as :meth:`scores`: of the last real token, which the heads of a causal
        trunk read; of an encoder's first."""
        if not self.is_causal:
            return self.trunk(input_ids=tokens, attention_mask=mask.long()).last_hidden_state[:, 0]
        hidden = causal_states(self.trunk, tokens, mask, self.packing)
        return hidden[torch.arange(len(tokens), device=tokens.device), mask.sum(1) - 1]

    def scores(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """[B, H] centred rewards of right-padded rows, one per head: tokens [B, T] int64, mask [B, T] bool."""
        if self.is_causal:
            raw = self.model.score(self.features(tokens, mask))
        else:
            raw = self.model(input_ids=tokens, attention_mask=mask.long()).logits
        return raw.float() - torch.tensor(self.offsets, device=raw.device)


class ValueHead(nn.Module):
    """One value per state.  Starts at zero, so that the first advantages are the rewards themselves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Values [B, T] aligned to tokens: entry t comes from state t - 1; the first column is zero."""
        values = self.out(hidden[:, :-1])[..., 0].float()
        return nn.functional.pad(values, (1, 0))


class Critic(nn.Module):
    """A trunk of its own with a value head: that of a causal model, or encoder and decoder."""

    def __init__(self, trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = ValueHead(width)
        self.packing = False
        """As :attr:`Policy.packing`."""

    def values(self, tokens: Tensor, mask: Tensor, completion_mask: Tensor) -> Tensor:
        """[B, T] values of right-padded tokens [B, T]; the masks are those of :meth:`Policy.hidden`."""
        if isinstance(self.trunk, EncoderDecoder):
            return self.head(self.trunk(tokens, mask, completion_mask))
        return self.head(causal_states(self.trunk, tokens, mask, self.packing))
