"""The in-process engine: decodes with the trainer's own weights, so a sample always comes from the newest policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assent.errors import DataError
from assent.models.policy import Policy
from assent.rollout.decoders import decoder_of, fast_weights
from assent.rollout.decoders.weights import Weights
from assent.rollout.engine import EncodedPrompt, Promises
from assent.rollout.sampling import draw, row_uniforms
from assent.rollout.slots import Drawn, SlotDecoding
from assent.rollout.stopping import StopTexts
from assent.types import Completion, SamplingSettings


@dataclass(frozen=True)
class Row:
    """One completion to be drawn."""

    prompt: EncodedPrompt
    sample_index: int


NextLogits = Callable[[Tensor | None], Tensor]
"""Logits [b, V] of the next token, given the token [b] that was drawn last (``None`` at first); keeps its own cache."""


class LocalEngine:
    """Decodes up to ``slots`` rows at once, ordered by length.

    A model with a fast decoder (:data:`assent.rollout.decoders.DECODERS`) reads each prompt once, and a row that ends
    gives its slot to the next (:class:`assent.rollout.slots.SlotDecoding`).  Any other model runs its own forward pass:
    prompts are padded on the left here, and only here, to a multiple of eight; attention masks the padding away
    exactly, positions count from each row's first real token, and ``slots`` rows wait for the slowest of them.

    ``dtype`` is the precision that a fast decoder multiplies in, whatever the policy's own: float32 or bfloat16.
    ``None``, and any other model, takes the policy's.  Log-probabilities are float32 in each.

    The fast decoder's keys and values take at most ``cache_bytes``: slots times the longest prompt and completion of a
    call.  Where that is not enough for all ``slots``, fewer rows decode at once (one at least), and nothing else
    changes.
    """

    promises = Promises(batch_invariant=True, logprobs=True, updates_weights=True)

    def __init__(
        self,
        policy: Policy,
        slots: int = 128,
        policy_name: str = "",
        dtype: torch.dtype | None = None,
        cache_bytes: int = 4 << 30,
    ) -> None:
        self.policy = policy
        self.slots = slots
        self.policy_name = policy_name
        self.dtype = dtype
        self.cache_bytes = cache_bytes

    def generate(self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1) -> list[Completion]:
        """See :class:`assent.rollout.engine.Engine`.  A prompt that leaves no room is a ``DataError``."""
        limit = self.policy.context_length
        for prompt in prompts:
            if not prompt.token_ids or len(prompt.token_ids) + sampling.max_new_tokens > limit:
                raise DataError(
                    f"prompt '{prompt.id}' has {len(prompt.token_ids)} tokens, and with max_new_tokens="
                    f"{sampling.max_new_tokens} must fit 1 to {limit} (the model's context): shorten it or lower "
                    "max_new_tokens"
                )
        rows = [Row(prompt, index) for prompt in prompts for index in range(n)]
        # Activation recomputation, in training mode, would switch the cache off: each token would see itself alone.
        training = self.policy.model.training
        self.policy.model.eval()
        try:
            return self._in_slots(rows, sampling) if rows else []
        finally:
            self.policy.model.train(training)

    @property
    def device(self) -> torch.device:
        return next(self.policy.parameters()).device

    def _in_slots(self, rows: list[Row], sampling: SamplingSettings) -> list[Completion]:
        weights = self._fast_weights()
        if weights is not None:
            stops = StopTexts(self.policy.tokenizer, sampling, len(rows)) if sampling.stop else None
            prompts = [row.prompt.token_ids for row in rows]
            length = max(map(len, prompts)) + sampling.max_new_tokens
            decoder, slot_bytes = decoder_of(weights, self.dtype or weights.dtype, length)
            slots = max(1, min(self.slots, self.cache_bytes // slot_bytes))
            uniforms = self._uniforms(rows, sampling)
            watch = stops and stops.ends
            drawn = SlotDecoding(decoder, prompts, uniforms, sampling, self._stop, slots, watch).run()
            return self._completions(rows, drawn, stops)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].prompt.token_ids))
        done: list[Completion | None] = [None] * len(rows)
        for start in range(0, len(order), self.slots):
            chosen = [rows[i] for i in order[start : start + self.slots]]
            stops = StopTexts(self.policy.tokenizer, sampling, len(chosen)) if sampling.stop else None
            found = self._completions(chosen, self._decode(chosen, sampling, stops), stops)
            for place, completion in zip(order[start : start + self.slots], found, strict=True):
                done[place] = completion
        return [completion for completion in done if completion is not None]

    def _fast_weights(self) -> Weights | None:
        return fast_weights(self.policy.model)

    def _uniforms(self, rows: list[Row], sampling: SamplingSettings) -> Tensor:
        """The random numbers [B, T] of each row."""
        steps = sampling.max_new_tokens
        drawn = [row_uniforms(sampling.seed, row.prompt.id, row.sample_index, steps) for row in rows]
        return torch.from_numpy(np.stack(drawn)).to(self.device)

    @property
    def _stop(self) -> Tensor:
        return torch.tensor(self.policy.eos_token_ids, device=self.device)

    def close(self) -> None:
        """Nothing is held: the weights are the trainer's."""

    @torch.no_grad()
    def _decode(self, rows: list[Row], sampling: SamplingSettings, stops: StopTexts | None) -> Drawn:
        uniforms, stop = self._uniforms(rows, sampling), self._stop
        drawn: list[tuple[Tensor, Tensor, Tensor]] = []
        lengths = [0] * len(rows)
        next_logits = self._decoder(rows, sampling.max_new_tokens)
        for step in range(sampling.max_new_tokens):
            logits = next_logits(drawn[-1][0] if drawn else None)
            drawn.append(draw(logits, uniforms[:, step], sampling, stop if step < sampling.min_new_tokens else None))
            last = torch.isin(drawn[-1][0], stop).tolist()
            for row, token in enumerate(drawn[-1][0].tolist()):
                if not lengths[row] and (last[row] or (stops is not None and stops.ends(row, token))):
                    lengths[row] = step + 1
            if all(lengths):
                break
        tokens, logprobs, sampled = (torch.stack(column, 1) for column in zip(*drawn, strict=True))
        return Drawn(tokens, logprobs, sampled, [length or len(drawn) for length in lengths])

    def _decoder(self, rows: list[Row], steps: int) -> NextLogits:
        tokens, mask = _left_padded(rows, self.policy.tokenizer.pad_token_id, self.device)
        attention = torch.cat([mask, mask.new_ones(len(rows), steps)], 1).long()
        position = mask.long().cumsum(1).sub(1).clamp(min=0)
        width = tokens.shape[1]
        cache: Any = None

        def next_logits(last: Tensor | None) -> Tensor:
            nonlocal cache, position, width
            if last is not None:
                position, width = position[:, -1:] + 1, width + 1
            out = self.policy.model(
                input_ids=tokens if last is None else last[:, None],
                attention_mask=attention[:, :width],
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = out.past_key_values
            return out.logits[:, -1]

        return next_logits

    def _completions(self, rows: list[Row], drawn: Drawn, stops: StopTexts | None) -> list[Completion]:
        logprobs, sampled = drawn.logprobs.tolist(), drawn.sampling_logprobs.tolist()
        kept = [ids[:length] for ids, length in zip(drawn.tokens.tolist(), drawn.lengths, strict=True)]
        stop, cut = set(self.policy.eos_token_ids), {} if stops is None else stops.cut
        texts = self.policy.tokenizer.batch_decode(
            [ids[:-1] if ids[-1] in stop else ids for ids in kept], skip_special_tokens=True
        )
        return [
            Completion(
                id=f"{row.prompt.id}/{row.sample_index}" + (f"@{self.policy_name}" if self.policy_name else ""),
                prompt_id=row.prompt.id,
                text=cut[i] if i in cut else texts[i],
                token_ids=tuple(kept[i]),
                logprobs=tuple(logprobs[i][: len(kept[i])]),
                sampling_logprobs=tuple(sampled[i][: len(kept[i])]),
                finish_reason="stop" if i in cut or kept[i][-1] in stop else "length",
                policy=self.policy_name,
                sample_index=row.sample_index,
                prompt_token_ids=row.prompt.token_ids,
            )
            for i, row in enumerate(rows)
        ]


def _left_padded(rows: list[Row], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(len(row.prompt.token_ids) for row in rows)
    width = -(-width // 8) * 8
    tokens = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        tokens[i, width - len(row.prompt.token_ids) :] = torch.tensor(row.prompt.token_ids)
        mask[i, width - len(row.prompt.token_ids) :] = True
    return tokens.to(device), mask.to(device)
