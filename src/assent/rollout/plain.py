"""The in-process engine for encoder-decoder policies, and the choice of an in-process engine for a policy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from assent.models.padding import pad_right
from assent.models.policy import Policy
from assent.models.seq2seq import Seq2SeqModel
from assent.rollout.local import LocalEngine, NextLogits, Row
from assent.rollout.settings import SamplingOptions


class Seq2SeqEngine(LocalEngine):
    """The encoder reads the prompts once, padded on the right under a mask; the decoder goes on step by step."""

    policy: Seq2SeqModel

    def _decoder(self, rows: list[Row], steps: int) -> NextLogits:
        tokens, mask = pad_right(
            [row.prompt.token_ids for row in rows], self.policy.tokenizer.pad_token_id, self.device
        )
        seen = mask.long()
        encoded = self.policy.model.get_encoder()(input_ids=tokens, attention_mask=seen).last_hidden_state
        start = torch.full((len(rows),), self.policy.decoder_start, device=self.device)
        cache: Any = None

        def next_logits(last: Tensor | None) -> Tensor:
            nonlocal cache
            out = self.policy.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
                attention_mask=seen,
                decoder_input_ids=(start if last is None else last)[:, None],
                past_key_values=cache,
                use_cache=True,
            )
            cache = out.past_key_values
            return out.logits[:, -1]

        return next_logits


def local_engine(
    policy: Policy, slots: int = 128, policy_name: str = "", options: SamplingOptions | None = None
) -> LocalEngine:
    """The engine that decodes with the policy's own weights, whatever the policy's architecture.

    ``options`` give the precision of its products and the memory of its cache; ``None``: the policy's own and 4 GiB.
    """
    kind = Seq2SeqEngine if isinstance(policy, Seq2SeqModel) else LocalEngine
    if options is None:
        return kind(policy, slots, policy_name)
    lower = torch.bfloat16 if options.rollout_dtype == "bfloat16" else None
    return kind(policy, slots, policy_name, lower, int(options.cache_memory * (1 << 30)))
