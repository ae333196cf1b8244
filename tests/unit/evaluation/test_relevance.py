"""How much a policy makes of its completions, against log-probabilities worked out one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assent.data.chat import encode_completion, encode_prompt
from assent.errors import DataError
from assent.evaluation.relevance import mutual_information
from assent.models.causal import CausalModel
from assent.testing.tiny import tiny_causal
from assent.types import Completion, Prompt

PROMPTS = [Prompt(f"p{i}", text) for i, text in enumerate(["The film", "A girl who", "The cat saw", "It was", "Once"])]
TEXTS = [" is good.", " was long and slow.", "", " saw the girl"]
ROWS = [(prompt, Completion(f"{prompt.id}/{i}", prompt.id, text)) for prompt in PROMPTS for i, text in enumerate(TEXTS)]


def by_hand(policy: CausalModel, prompt: Prompt, text: str) -> float:
    before = encode_prompt(policy.tokenizer, prompt)
    answer = encode_completion(policy.tokenizer, before, text)
    with torch.no_grad():
        logits = policy.model(torch.tensor([[*before, *answer]])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(before) + t - 1, token]) for t, token in enumerate(answer))


@pytest.mark.parametrize(("others", "away"), [(1, [2]), (3, [1, 2, 3]), (9, [1, 2, 3, 4])])
def test_it_is_the_likelihood_less_half_of_that_behind_other_prompts(others: int, away: list[int]):
    policy = tiny_causal()
    wanted = [
        by_hand(policy, prompt, completion.text)
        - 0.5 * np.mean([by_hand(policy, PROMPTS[(place + a) % 5], completion.text) for a in away])
        for place, prompt in enumerate(PROMPTS)
        for _, completion in [row for row in ROWS if row[0] is prompt]
    ]
    np.testing.assert_allclose(mutual_information(policy, ROWS, PROMPTS, others=others), wanted, atol=2e-5)
    likely = [by_hand(policy, prompt, completion.text) for prompt, completion in ROWS]
    np.testing.assert_allclose(mutual_information(policy, ROWS, PROMPTS, others=others, weight=0.0), likely, atol=2e-5)


def test_another_prompt_gives_way_where_the_context_is_too_short():
    policy = tiny_causal()
    text = " good" * 200
    long = Prompt("long", "The film " * 100), Completion("long/0", "long", text)
    found = mutual_information(policy, [*ROWS, long], [*PROMPTS, long[0]])
    assert np.isfinite(found).all()


def test_one_prompt_alone_is_refused():
    with pytest.raises(DataError, match="completions of one prompt only"):
        mutual_information(tiny_causal(), ROWS[:4], PROMPTS[:1])
