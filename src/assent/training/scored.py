"""Completions that were sampled and scored before training, as what algorithms on rollouts train on."""

from __future__ import annotations

from collections.abc import Sequence

from assent.data.chat import encode_completion, encode_prompt
from assent.data.scored import Scored, by_prompt, score_of
from assent.errors import DataError
from assent.models.policy import Policy
from assent.training.sources import Example, Row
from assent.types import Completion, Prompt


def scored_examples(policy: Policy, rows: Sequence[Scored], source: str) -> list[Example]:
    """One example for each prompt with two completions or more, with the columns ``scores`` and ``ended``.

    A completion's own token ids are trained on where they are of the policy's tokenizer; any other text is tokenised
    and closed with EOS.  Raises :class:`DataError` for a completion without a score, one over the policy's context, and
    where no prompt has two.
    """
    examples: list[Example] = []
    for group in by_prompt(rows):
        if len(group) < 2:
            continue
        columns = {
            "scores": [score_of(completion) for _, completion in group],
            "ended": [float(completion.finish_reason == "stop") for _, completion in group],
        }
        examples.append(Example([_row(policy, *row, source) for row in group], columns=columns))
    if not examples:
        raise DataError("no prompt has two completions with scores, so there is nothing to compare", source)
    return examples


def _row(policy: Policy, prompt: Prompt, completion: Completion, source: str) -> Row:
    before = list(encode_prompt(policy.tokenizer, prompt))
    if _own_tokens(policy, completion, before):
        after = list(completion.token_ids)
    else:
        ids = encode_completion(policy.tokenizer, before, completion.text, chat=prompt.messages is not None)
        after = list(ids if completion.finish_reason == "stop" else ids[:-1])
    if not after:
        raise DataError(
            f"completion '{completion.id}' is empty and did not end, so there is nothing to train on", source
        )
    if len(before) + len(after) > policy.context_length:
        raise DataError(
            f"completion '{completion.id}' has {len(before) + len(after)} tokens with its prompt, over the model's "
            f"context of {policy.context_length}; filter with max_prompt and max_response, unit: tokens",
            source,
        )
    return Row([*before, *after], [False] * len(before) + [True] * len(after))


def _own_tokens(policy: Policy, completion: Completion, prompt_ids: Sequence[int]) -> bool:
    """Whether a completion's ids are this policy's: they decode to its text, behind the same prompt."""
    ids = completion.token_ids
    if not ids or list(completion.prompt_token_ids) != list(prompt_ids) or max(ids) >= len(policy.tokenizer):
        return False
    return policy.tokenizer.decode(ids, skip_special_tokens=True) == completion.text
