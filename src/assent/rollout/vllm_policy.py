"""vLLM as the rollout engine of a training: beside the policy, on its newest weights."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from assent.errors import ModelError
from assent.models.adapters import merged
from assent.models.policy import Policy
from assent.models.save import save_model
from assent.models.seq2seq import Seq2SeqModel
from assent.rollout.engine import EncodedPrompt
from assent.rollout.vllm import VLLMEngine
from assent.types import Completion, SamplingSettings


class VLLMPolicyEngine:
    """Draws what ``policy`` would, with vLLM in this process, which gets the policy's weights before each rollout.

    Adapters are merged into the copy that vLLM holds.  On a GPU vLLM sleeps while the policy trains: the memory of its
    weights and of its cache is free then, and the weights are written anew as it wakes.
    """

    promises = VLLMEngine.promises

    def __init__(self, policy: Policy, slots: int, dtype: str, gpu_memory: float) -> None:
        """``gpu_memory``: share of the GPU's memory that vLLM may take while it draws.

        Raises :class:`ModelError` for an encoder-decoder policy, and where vLLM is missing.
        """
        if isinstance(policy, Seq2SeqModel):
            raise ModelError(f"engine: vllm draws from causal models, and the policy is a {type(policy).__name__}")
        self.policy = policy
        self.sleeps = torch.cuda.is_available()
        there = {"gpu_memory_utilization": gpu_memory, "enable_sleep_mode": True} if self.sleeps else {}
        with tempfile.TemporaryDirectory(prefix="assent-vllm-") as made:
            folder = Path(made) / "policy"
            save_model(policy, folder, method="", base="", settings={})
            self.engine = VLLMEngine(
                str(folder), slots=slots, dtype=dtype, max_model_len=policy.context_length, **there
            )
        self._sleep()

    def generate(self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1) -> list[Completion]:
        """See :class:`assent.rollout.engine.Engine`."""
        if self.sleeps:
            self.engine.llm.wake_up()
        self.engine.load_weights(merged(self.policy.model).state_dict().items())
        found = self.engine.generate(prompts, sampling, n)
        self._sleep()
        return found

    def close(self) -> None:
        """Let go of vLLM's copy."""
        self.engine.close()

    def _sleep(self) -> None:
        if self.sleeps:
            self.engine.llm.sleep(level=2)  # weights and cache are given up: both are made anew for the next rollout
