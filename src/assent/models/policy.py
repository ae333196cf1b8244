"""What every policy is to the algorithms, whatever its architecture: states of tokens, and their log-probabilities."""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from assent.models.adapters import has_trained, without_trained
from assent.models.logprobs import chunked_logprobs, plain_logprobs


class Policy(nn.Module):
    """A Hugging Face language model and its tokenizer.

    A kind of model gives :meth:`hidden` and says in :meth:`_without_trunk` how its head is run by itself.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.packing = False
        """Lay the rows of a batch behind one another instead of padding them; causal models only."""
        self.adapter_of: str | None = None
        """The folder or hub name that the adapter which is trained belongs on; ``None`` where none is."""
        self._head_scale = self._find_head_scale()

    def frozen_copy(self) -> Self:
        """The policy as it is now, to be the reference; of one with an adapter in training, what that was put on, over
        the same weights."""
        if has_trained(self.model):
            return self.over(without_trained(self.model))
        return self.over(copy.deepcopy(self.model).requires_grad_(False))

    def over(self, model: Any, tokenizer: Any = None) -> Self:
        """Another policy of this kind over ``model``; ``tokenizer`` = this one's where none is given."""
        return type(self)(model, tokenizer or self.tokenizer)

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def hidden_size(self) -> int:
        return int(self.model.get_output_embeddings().weight.shape[1])

    @property
    def context_length(self) -> int:
        """Tokens of the longest row; a number beyond all rows where the positions are relative, as T5's are."""
        return int(getattr(self.config, "max_position_embeddings", 1 << 30))

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Every token that ends a completion: the tokenizer's, and those that ``generation_config`` names."""
        listed = getattr(self.model.generation_config, "eos_token_id", None)
        ids = [] if listed is None else [listed] if isinstance(listed, int) else list(listed)
        own = self.tokenizer.eos_token_id
        return tuple(dict.fromkeys([*([] if own is None else [own]), *ids]))

    @property
    def trunk(self) -> nn.Module:
        """The model without its head, as :class:`assent.models.scalar.Critic` takes it."""
        raise NotImplementedError

    def hidden(self, tokens: Tensor, mask: Tensor, completion_mask: Tensor) -> Tensor:
        """States [B, T, D] of right-padded tokens [B, T]: state t - 1 is what token t is predicted from.

        ``mask`` [B, T] is true on real tokens, ``completion_mask`` [B, T] on those that the loss concerns.
        """
        raise NotImplementedError

    def _without_trunk(self, states: Tensor) -> tuple[nn.Module, dict[str, Any]]:
        """The module whose last states the head reads, and arguments for the model with ``states`` [1, N, D] there."""
        raise NotImplementedError

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
        if self._head_scale is None:
            logprobs, entropy = plain_logprobs(self._whole_logits(states), targets, temperature)
        else:
            states = states if self._head_scale == 1.0 else states * self._head_scale
            weight = self.model.get_output_embeddings().weight
            logprobs, entropy = chunked_logprobs(states, weight, targets, temperature, want_entropy)
        place = (rows, columns + 1)
        out = torch.zeros(mask.shape, dtype=logprobs.dtype, device=mask.device).index_put(place, logprobs)
        if not want_entropy:
            return out, logprobs.new_zeros(0)
        return out, torch.zeros_like(out).index_put(place, entropy)

    def _whole_logits(self, states: Tensor) -> Tensor:
        """Logits [N, V] by the model's own head code, fed with states [N, D] that are there: the trunk does not run."""
        trunk, arguments = self._without_trunk(states[None])
        given = _Given(states[None])
        before = trunk.__dict__.get("forward")
        trunk.forward = lambda *args, **kwargs: given
        try:
            return self.model(**arguments, use_cache=False).logits[0]
        finally:
            del trunk.forward
            if before is not None:
                trunk.forward = before

    @torch.no_grad()
    def _find_head_scale(self) -> float | None:
        """The c for which logits are exactly c h W^T, or ``None``: found by trying rather than by a list of models.

        1 for most, d^-1/2 for a T5 with tied embeddings; no c where there is a bias or a soft cap.  Tried with states
        so large that the logits reach the size of a trained model's: a soft cap shows only there.
        """
        head = self.model.get_output_embeddings()
        if head is None or getattr(head, "bias", None) is not None:
            return None
        tokens = torch.arange(6, device=head.weight.device)[None, :] % head.weight.shape[0]
        written = tokens > 1
        states = self.hidden(tokens, torch.ones_like(written), written)[0, 1:5]
        if states.shape[-1] != head.weight.shape[1]:
            return None
        plain = states @ head.weight.T
        larger = 100.0 / plain.abs().max().clamp(min=1e-6)
        plain, whole = plain * larger, self._whole_logits(states * larger)
        if whole.shape != plain.shape:
            return None
        scale = float((whole.double() * plain.double()).sum() / plain.double().square().sum())
        if not torch.allclose(whole, plain * scale, rtol=1e-3, atol=1e-2 * abs(scale)):
            return None
        return 1.0 if abs(scale - 1.0) < 1e-4 else scale


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
