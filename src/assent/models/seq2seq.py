"""Encoder-decoder language models, such as T5, behind the interface of causal ones.

A row is prompt tokens, then completion tokens y_0 .. y_{n-1}, as for a causal model.  The encoder reads the prompt; the
decoder reads [start, y_0 .. y_{n-2}], so that its state j predicts y_j (Raffel et al. 2020, arXiv:1910.10683).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from assent.errors import ModelError
from assent.models.policy import Policy


class EncoderDecoder(nn.Module):
    """Encoder and decoder without the head; ``start`` is the token that the decoder begins with."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, start: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.start = encoder, decoder, start

    def forward(self, tokens: Tensor, mask: Tensor, completion_mask: Tensor) -> Tensor:
        """States [B, T, D] of rows [B, T]: where token t is y_j, state t - 1 is the decoder's state j; else zero.

        Raises :class:`ModelError` for a completion in several pieces, or with no prompt before it.
        """
        prompts, counts = _spans(mask, completion_mask)
        read = int(prompts.max())
        seen = (torch.arange(read, device=tokens.device) < prompts[:, None]).long()
        encoded = self.encoder(input_ids=tokens[:, :read], attention_mask=seen).last_hidden_state
        step = torch.arange(max(1, int(counts.max())), device=tokens.device)
        before = (prompts[:, None] - 1 + step).clamp(max=tokens.shape[1] - 1)  # [B, n] where the token before y_j is
        ids = tokens.gather(1, before)
        ids[:, 0] = self.start
        states = self.decoder(
            input_ids=ids, encoder_hidden_states=encoded, encoder_attention_mask=seen, use_cache=False
        ).last_hidden_state
        rows, steps = (step < counts[:, None]).nonzero(as_tuple=True)
        out = states.new_zeros(*tokens.shape, states.shape[-1])
        return out.index_put((rows, before[rows, steps]), states[rows, steps])


class Seq2SeqModel(Policy):
    """A Hugging Face encoder-decoder model and its tokenizer.  A model that forces a first token is refused."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.decoder_start = _decoder_start(model)
        super().__init__(model, tokenizer)

    @property
    def trunk(self) -> EncoderDecoder:
        return EncoderDecoder(self.model.get_encoder(), self.model.get_decoder(), self.decoder_start)

    def hidden(self, tokens: Tensor, mask: Tensor, completion_mask: Tensor) -> Tensor:
        return self.trunk(tokens, mask, completion_mask)

    def _without_trunk(self, states: Tensor) -> tuple[nn.Module, dict[str, Any]]:
        ids = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
        return self.model.get_decoder(), {
            "encoder_outputs": BaseModelOutput(last_hidden_state=states[:, :1]),  # pyright: ignore[reportArgumentType]
            "decoder_input_ids": ids,
        }


def _spans(mask: Tensor, completion_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens of each row's prompt and of its completion [B]; a row without completion is all prompt."""
    counts, first = completion_mask.sum(1), completion_mask.int().argmax(1)
    place = torch.arange(mask.shape[1], device=mask.device)
    one_piece = (place >= first[:, None]) & (place < (first + counts)[:, None])
    if not torch.equal(one_piece, completion_mask):
        raise ModelError(
            "an encoder-decoder model reads a prompt and answers once, and a row here trains several turns; train the "
            "last turn only (turns: last), or take a causal model"
        )
    if bool(((first == 0) & (counts > 0)).any()):
        raise ModelError(
            "an encoder-decoder model reads a prompt before it answers, and a row here has none (plain text?); give "
            "prompts with completions, or take a causal model"
        )
    return torch.where(counts > 0, first, mask.sum(1)), counts


def _decoder_start(model: Any) -> int:
    generation = model.generation_config
    if generation.forced_bos_token_id is not None:
        raise ModelError(
            f"{type(model).__name__}: the model forces the first token of each answer (forced_bos_token_id), which is "
            "not supported; take a model of the T5 family, or a causal one"
        )
    start = getattr(model.config, "decoder_start_token_id", None)
    start = generation.decoder_start_token_id if start is None else start
    if start is None:
        raise ModelError(
            f"{type(model).__name__}: config.json names no decoder_start_token_id, the token that answers begin with; "
            "add it (T5: that of pad)"
        )
    return int(start)
