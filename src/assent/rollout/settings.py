"""How completions are drawn, as settings of a stage."""

from __future__ import annotations

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

    def sampling(self, seed: int) -> SamplingSettings:
        """As the engine takes them."""
        return SamplingSettings(
            max_new_tokens=self.max_new_tokens,
            min_new_tokens=self.min_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=seed,
        )
