"""An engine of vLLM in this process.  The one file that imports vllm."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from assent.errors import ModelError
from assent.rollout.engine import EncodedPrompt, Promises
from assent.rollout.sampling import row_seed, truncates
from assent.types import Completion, SamplingSettings


class VLLMEngine:
    """Draws with vLLM from a model folder, and from new weights once :meth:`load_weights` has put them there.

    Each row has a seed of its own, but vLLM's sums depend on what shares a batch.  Its log-probabilities are those of
    the distribution drawn from (``sampling_logprobs``).  ``logprobs``, under temperature alone, are the same where
    nothing truncates, biases or bans, and empty where something does: vLLM gives one of the two.
    """

    promises = Promises(batch_invariant=False, logprobs=True, updates_weights=True)

    def __init__(self, model: str, policy_name: str = "", slots: int = 128, **options: Any) -> None:
        """``options`` go to ``vllm.LLM``, as ``dtype`` or ``max_model_len``.  No vLLM here is a ``ModelError``."""
        # The model must be in this process for its weights to be replaced.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        try:
            import vllm  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ModelError(
                f"vLLM cannot be imported here ({error}); install it with `pip install assent[vllm]`, or on a CPU make "
                "its environment with scripts/make-vllm-env.sh"
            ) from None
        self.vllm: Any = vllm
        self.policy_name = policy_name
        self.llm: Any = vllm.LLM(model=model, logprobs_mode="processed_logprobs", max_num_seqs=slots, **options)

    def generate(self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1) -> list[Completion]:
        """See :class:`assent.rollout.engine.Engine`."""
        rows = [(prompt, index) for prompt in prompts for index in range(n)]
        if not rows:
            return []
        found = self.llm.generate(
            [{"prompt_token_ids": list(prompt.token_ids)} for prompt, _ in rows],
            [self._parameters(sampling, prompt, index) for prompt, index in rows],
            use_tqdm=False,
        )
        changed = truncates(sampling) or bool(sampling.logit_bias) or sampling.min_new_tokens > 0
        return [
            self._completion(prompt, index, request.outputs[0], changed)
            for (prompt, index), request in zip(rows, found, strict=True)
        ]

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace the model's weights, under the names they have in ``transformers``; cached prompts are forgotten."""
        named = [(name, tensor.detach()) for name, tensor in weights]
        # vLLM packs weights when they are loaded: this puts the layers back as they were, loads, and packs again.
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(named)})
        self.llm.reset_prefix_cache()

    def close(self) -> None:
        """Let go of the model."""
        self.llm = None

    def _parameters(self, sampling: SamplingSettings, prompt: EncodedPrompt, index: int) -> Any:
        return self.vllm.SamplingParams(
            max_tokens=sampling.max_new_tokens,
            min_tokens=sampling.min_new_tokens,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
            stop=list(sampling.stop),
            logit_bias=dict(sampling.logit_bias) or None,
            seed=row_seed(sampling.seed, prompt.id, index),
            logprobs=0,
        )

    def _completion(self, prompt: EncodedPrompt, index: int, output: Any, changed: bool) -> Completion:
        ids = tuple(output.token_ids)
        drawn = tuple(min(0.0, step[token].logprob) for token, step in zip(ids, output.logprobs, strict=True))
        return Completion(
            id=f"{prompt.id}/{index}" + (f"@{self.policy_name}" if self.policy_name else ""),
            prompt_id=prompt.id,
            text=output.text,
            token_ids=ids,
            logprobs=() if changed else drawn,
            sampling_logprobs=drawn,
            finish_reason="length" if output.finish_reason == "length" else "stop",
            policy=self.policy_name,
            sample_index=index,
            prompt_token_ids=prompt.token_ids,
        )
