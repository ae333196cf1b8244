"""How completions are drawn, as settings of a stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from assent.config import Settings
from assent.types import SamplingSettings


class SamplingOptions(Settings):
    """Sampling settings, under the names that users of ``transformers`` know."""

    max_new_tokens: int = Field(default=64, gt=0)
    """Longest completion in tokens, its end-of-sequence token included."""
    min_new_tokens: int = Field(default=0, ge=0)
    """The end-of-sequence token is not drawn before this many tokens."""
    temperature: float = Field(default=1.0, ge=0.0)
    """Logits are divided by it; 0 takes the most probable token."""
    top_k: int = Field(default=0, ge=0)
    """Draw from the k most probable tokens; 0 = from all."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Draw from the smallest set of tokens with this probability mass; 1 = from all."""
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    """Draw from tokens at least this many times as probable as the most probable one; 0 = from all."""
    stop: list[Annotated[str, Field(min_length=1)]] = Field(default=[])
    """Texts that end a completion; its text then ends before them."""
    logit_bias: dict[int, float] = Field(default={})
    """Token id -> what is added to its logit before the temperature divides it."""
    rollout_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of matrix products in decoding; log-probabilities are float32 in both."""
    cache_memory: float = Field(default=4.0, gt=0.0)
    """GiB that the keys and values of the rows being decoded may take; fewer rows decode at once where it is short."""

    def sampling(self, seed: int) -> SamplingSettings:
        """As the engine takes them."""
        return SamplingSettings(
            max_new_tokens=self.max_new_tokens,
            min_new_tokens=self.min_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            seed=seed,
            stop=tuple(self.stop),
            logit_bias=tuple(sorted(self.logit_bias.items())),
        )
