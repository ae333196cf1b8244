"""How good a policy itself would take its completions to be, before anybody was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from assent.data.chat import encode_completion, encode_prompt
from assent.data.scored import Scored
from assent.errors import DataError
from assent.evaluation.tokens import token_logprobs
from assent.models.policy import Policy
from assent.types import Completion, Prompt


def mutual_information(
    policy: Policy, rows: Sequence[Scored], prompts: Sequence[Prompt], *, others: int = 3, weight: float = 0.5
) -> NDArray[np.float64]:
    """log p(y|x) - ``weight`` log p(y) of each completion [N], in nats: likely, and likelier for its prompt.

    log p(y) is the mean of log p(y|x') over ``others`` of the other ``prompts``, which lie evenly spaced behind x in
    their order.  Raises :class:`DataError` where there is no other prompt.

    Source: Li et al., "A diversity-promoting objective function for neural conversation models", arXiv:1510.03055
    (2016), equation 9, there for decoding.
    """
    if len(prompts) < 2:
        raise DataError("has completions of one prompt only, and how much a prompt makes an answer likelier takes two")
    place = {prompt.id: index for index, prompt in enumerate(prompts)}
    count = min(others, len(prompts) - 1)
    own = _sums(policy, [_behind(policy, prompt, completion) for prompt, completion in rows])
    elsewhere = np.zeros_like(own)
    for away in (turn * len(prompts) // (count + 1) for turn in range(1, count + 1)):
        moved = [
            _behind(policy, prompts[(place[prompt.id] + away) % len(prompts)], completion)
            for prompt, completion in rows
        ]
        elsewhere += _sums(policy, moved) / count
    return own - weight * elsewhere


def _behind(policy: Policy, prompt: Prompt, completion: Completion) -> Completion:
    """The completion as an answer to a prompt that may be another's; of the prompt what the context has room for."""
    before = encode_prompt(policy.tokenizer, prompt)
    answer = encode_completion(policy.tokenizer, before, completion.text, chat=prompt.messages is not None)
    answer = answer[: policy.context_length - 1]
    room = policy.context_length - len(answer)
    return replace(completion, prompt_token_ids=tuple(before[-room:]), token_ids=answer)


def _sums(policy: Policy, completions: Sequence[Completion]) -> NDArray[np.float64]:
    return np.array([sum(row) for row in token_logprobs(policy, completions, 1.0)], dtype=np.float64)
