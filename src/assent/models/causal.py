"""A causal language model as the algorithms need it: log-probabilities of the tokens that carry loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from assent.models.logprobs import chunked_logprobs, plain_logprobs


class CausalModel(nn.Module):
    """A Hugging Face causal model and its tokenizer.

    Rows come padded on the right, so no attention mask is needed: a causal model's real tokens never see the padding
    behind them, and positions count from the row's first token.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self._head_is_matrix = _head_is_matrix(model)

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def hidden_size(self) -> int:
        return int(self.model.get_output_embeddings().weight.shape[1])

    @property
    def context_length(self) -> int:
        return int(getattr(self.config, "max_position_embeddings", 1 << 30))

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Every token that ends a completion: the tokenizer's, and those that ``generation_config`` names."""
        listed = getattr(self.model.generation_config, "eos_token_id", None)
        ids = [] if listed is None else [listed] if isinstance(listed, int) else list(listed)
        own = self.tokenizer.eos_token_id
        return tuple(dict.fromkeys([*([] if own is None else [own]), *ids]))

    def hidden(self, tokens: Tensor, mask: Tensor, completion_mask: Tensor) -> Tensor:
        """Last hidden states [B, T, D] of right-padded tokens [B, T].

        ``mask`` [B, T] is true on real tokens, ``completion_mask`` [B, T] on those that the loss concerns.
        """
        return self.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state

    def token_logprobs(
        self, hidden: Tensor, tokens: Tensor, mask: Tensor, temperature: float, want_entropy: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies [B, T] of the tokens where ``mask`` [B, T] is true, zero elsewhere.

        ``hidden`` is what :meth:`hidden` gave; token t is predicted from state t - 1, so the first token never counts.
        Entropies are [0] when not wanted.
        """
        rows, columns = mask[:, 1:].nonzero(as_tuple=True)
        targets = tokens[rows, columns + 1]
        states = hidden[rows, columns]
        head = self.model.get_output_embeddings()
        if self._head_is_matrix:
            logprobs, entropy = chunked_logprobs(states, head.weight, targets, temperature, want_entropy)
        else:
            logprobs, entropy = plain_logprobs(_whole_logits(self.model, hidden)[rows, columns], targets, temperature)
        place = (rows, columns + 1)
        out = torch.zeros(mask.shape, dtype=logprobs.dtype, device=mask.device).index_put(place, logprobs)
        if not want_entropy:
            return out, logprobs.new_zeros(0)
        return out, torch.zeros_like(out).index_put(place, entropy)


class _Given:
    """What a trunk would return, of which only the hidden states are there."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getattr__(self, name: str) -> None:
        """Caches, attentions and the like, whatever the architecture calls them."""
        if name.startswith("__"):
            raise AttributeError(name)

    def __getitem__(self, place: int) -> Tensor:
        return self.last_hidden_state


def _whole_logits(model: Any, hidden: Tensor) -> Tensor:
    """Logits by the model's own head code, fed with states that were computed already: the trunk does not run."""
    trunk = model.base_model
    given = _Given(hidden)
    before = trunk.__dict__.get("forward")
    trunk.forward = lambda *args, **kwargs: given
    try:
        ids = torch.zeros(hidden.shape[:2], dtype=torch.long, device=hidden.device)
        return model(input_ids=ids, use_cache=False).logits
    finally:
        del trunk.forward
        if before is not None:
            trunk.forward = before


@torch.no_grad()
def _head_is_matrix(model: Any) -> bool:
    """Whether logits are exactly hidden @ W^T, found by trying it once rather than by a list of architectures.

    Tried with states so large that the logits reach the size of a trained model's: a soft cap shows only there.
    """
    head = model.get_output_embeddings()
    if head is None or getattr(head, "bias", None) is not None:
        return False
    ids = torch.arange(4, device=head.weight.device)[None, :] % head.weight.shape[0]
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    if hidden.shape[-1] != head.weight.shape[1]:
        return False
    plain = hidden @ head.weight.T
    scale = 100.0 / plain.abs().max().clamp(min=1e-6)
    whole = _whole_logits(model, hidden * scale)
    return whole.shape == plain.shape and bool(torch.allclose(whole, plain * scale, rtol=1e-3, atol=1e-2))
