"""The one-method idea of a rollout engine: prompts in, completions with token ids and log-probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from assent.types import Completion, SamplingSettings


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the policy's own token ids."""

    id: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class Promises:
    """What an engine can promise; ``check_engine`` tests each."""

    batch_invariant: bool
    """The same seed, prompt and sample index give the same tokens whatever else is in the batch (float32)."""
    logprobs: bool
    """Completions carry log-probabilities."""
    updates_weights: bool
    """Samples follow the trained weights without reloading a model."""
    token_ids: bool = True
    """Completions carry the token ids that were sampled; where not, their text is all there is."""


class Engine(Protocol):
    """Draws completions from a policy."""

    promises: Promises

    def generate(self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1) -> list[Completion]:
        """``n`` completions of each prompt, in the order of the prompts, the samples of one prompt together.

        Random numbers are a function of ``sampling.seed``, the prompt's id and the sample's index alone.
        """
        ...

    def close(self) -> None: ...
