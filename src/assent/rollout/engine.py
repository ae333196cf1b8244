"""The one-method idea of a rollout engine: prompts in, completions with token ids and log-probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class Beside(Protocol):
    """An engine that draws beside other work, on copies of the weights as they are when it is asked."""

    def begin(
        self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1
    ) -> Future[list[Completion]]:
        """What :meth:`Engine.generate` gives, later; the policy may be trained meanwhile."""
        ...


def begin(
    engine: Engine, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1
) -> Future[list[Completion]]:
    """Completions by the weights as they are now: drawn beside what comes next where the engine can, else at once."""
    if isinstance(engine, Beside):
        return engine.begin(prompts, sampling, n)
    done: Future[list[Completion]] = Future()
    done.set_result(engine.generate(prompts, sampling, n))
    return done
