"""What alignment cost, and whom it hurts: variety, health and toxicity of the texts, bias, and loss of references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from assent.data.chat import encode_completion, encode_prompt
from assent.data.readers import read_demonstrations
from assent.evaluation.diversity import diversity, self_bleu
from assent.evaluation.groups import group_gaps
from assent.evaluation.health import text_health
from assent.evaluation.references import reference_scores
from assent.evaluation.tokens import token_logprobs
from assent.evaluation.toxicity import toxic_kinds
from assent.models.policy import Policy
from assent.types import Completion, Demonstration, Prompt


def text_figures(completions: Sequence[Completion]) -> dict[str, float]:
    """Of the texts alone."""
    texts = [completion.text for completion in completions]
    spread, health = diversity(texts), text_health(texts)
    ended = sum(completion.finish_reason == "stop" for completion in completions) / len(completions)
    return {
        "distinct_1": spread.distinct_1,
        "distinct_2": spread.distinct_2,
        "distinct_3": spread.distinct_3,
        "self_bleu": self_bleu(texts),
        "word_entropy": health.entropy,
        "words": spread.words,
        "ended_share": ended,
        "missing_eos_rate": 1 - ended,
        "refusal_rate": health.refusal_rate,
        "repetition": health.repetition,
        "degenerate_share": health.degenerate_share,
    }


def toxic_flags(completions: Sequence[Completion], classified: Sequence[float] | None) -> list[float]:
    """1 or 0 [n]: whether each answer is toxic, by a classifier's score above 0, or by rules where there is none."""
    if classified is None:
        return [float(bool(toxic_kinds(completion.text))) for completion in completions]
    return [float(score > 0) for score in classified]


def bias_rows(name: str, prompts: Sequence[Prompt], scores: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """A row for each group and each kind of score of the answers to paired prompts."""
    return [
        {"policy": name, "score": kind, **asdict(gap)}
        for kind, values in scores.items()
        for gap in group_gaps(prompts, values)
    ]


def references_by_prompt(source: str, most: int | None) -> tuple[list[Prompt], list[list[Demonstration]]]:
    """The prompts of a file of demonstrations, each once, and the reference answers to each."""
    found: dict[str, list[Demonstration]] = {}
    for demonstration in read_demonstrations(source):
        found.setdefault(demonstration.prompt.shown(), []).append(demonstration)
    groups = list(found.values())[:most]
    return [group[0].prompt for group in groups], groups


def reference_figures(
    policy: Policy, completions: Sequence[Completion], groups: Sequence[Sequence[Demonstration]]
) -> dict[str, float]:
    """The answers against the references, and the loss of the references under the policy, in nats per token."""
    answers = [[each.response.strip() for each in group] for group in groups]
    scores = asdict(reference_scores([completion.text.strip() for completion in completions], answers))
    del scores["n"]
    rows: list[Completion] = []
    for each in (demonstration for group in groups for demonstration in group):
        prompt = tuple(encode_prompt(policy.tokenizer, each.prompt))
        answer = tuple(
            encode_completion(policy.tokenizer, prompt, each.response, chat=each.prompt.messages is not None)
        )
        cut = answer[: max(0, policy.context_length - len(prompt))]
        if cut:
            rows.append(Completion(each.prompt.id, each.prompt.id, "", token_ids=cut, prompt_token_ids=prompt))
    logprobs = token_logprobs(policy, rows, 1.0)
    count = sum(map(len, logprobs))
    return {**scores, "reference_loss": -sum(map(sum, logprobs)) / count} if count else scores
