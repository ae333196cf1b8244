"""An engine that answers from a script, for tests that need completions and no model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from assent.rollout.engine import EncodedPrompt, Promises
from assent.rollout.sampling import row_uniforms
from assent.types import Completion, SamplingSettings


class FakeEngine:
    """Each token is drawn uniformly from ``vocabulary`` ids, of which 0 ends; a prompt in ``script`` gets its answers
    in turn.  A scripted answer ends with the token 0 where it did end, and is cut off by ``max_new_tokens``.
    """

    promises = Promises(batch_invariant=True, logprobs=True, updates_weights=False)

    def __init__(self, vocabulary: int = 8, script: Mapping[str, Sequence[Sequence[int]]] | None = None) -> None:
        self.vocabulary = vocabulary
        self.script = dict(script or {})
        self.asked: list[tuple[str, ...]] = []
        """The prompt ids of each call, for tests to look at."""

    def generate(self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1) -> list[Completion]:
        self.asked.append(tuple(prompt.id for prompt in prompts))
        return [self._completion(prompt, sampling, index) for prompt in prompts for index in range(n)]

    def close(self) -> None:
        """Nothing is held."""

    def _completion(self, prompt: EncodedPrompt, sampling: SamplingSettings, index: int) -> Completion:
        answers = self.script.get(prompt.id)
        if answers is None:
            uniforms = row_uniforms(sampling.seed, prompt.id, index, sampling.max_new_tokens)
            ids = [int(u * self.vocabulary) for u in uniforms]
            ids = [i or 1 if place < sampling.min_new_tokens else i for place, i in enumerate(ids)]
        else:
            ids = list(answers[index % len(answers)])
        kept = ids[: ids.index(0) + 1] if 0 in ids else ids
        kept = kept[: sampling.max_new_tokens]
        ended = kept[-1:] == [0]
        even = (-math.log(self.vocabulary),) * len(kept)
        return Completion(
            id=f"{prompt.id}/{index}",
            prompt_id=prompt.id,
            text=" ".join(str(i) for i in kept if i),
            token_ids=tuple(kept),
            logprobs=even,
            sampling_logprobs=even,
            finish_reason="stop" if ended else "length",
            sample_index=index,
            prompt_token_ids=prompt.token_ids,
        )
