"""What one policy wrote on the held-out prompts, and the figures of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from assent.data.readers import read_completions, read_texts
from assent.errors import DataError
from assent.evaluation.alarm import length_correlation
from assent.evaluation.groups import paired_prompts
from assent.evaluation.kl import sequence_kl, token_log_ratios
from assent.evaluation.tokens import perplexity, token_logprobs
from assent.intervals import wilson_interval
from assent.models.policy import Policy
from assent.pipeline.stages.lost import bias_rows, reference_figures, references_by_prompt, text_figures, toxic_flags
from assent.rewards.combine import models_in
from assent.rewards.model import same_tokenizer
from assent.rewards.source import RewardSource, for_tokenizer, is_comparative, score_all
from assent.rollout.engine import EncodedPrompt
from assent.rollout.plain import local_engine
from assent.rollout.settings import SamplingOptions
from assent.training.on_policy import encode_prompts, room_for_prompts
from assent.types import Completion, Message, Prompt, from_json, to_json


@dataclass
class Sampled:
    """One policy's answers, one a prompt, and what the judges say of them."""

    completions: list[Completion]
    utilities: Sequence[float] | None
    """``None`` without a judge."""
    rewards: Sequence[float] | None
    logprobs: list[list[float]] | None
    """``None``, as ``ref_logprobs``, where the reference has another tokenizer: then there is no KL from it."""
    ref_logprobs: list[list[float]] | None
    figures: dict[str, float]
    others: dict[str, list[float]]
    """Scores of the further judges, by their names."""
    bias: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """How differently groups are spoken of; empty for a snapshot."""

    def to_keep(self) -> dict[str, Any]:
        """As plain JSON types."""
        kept = {item.name: getattr(self, item.name) for item in fields(self)}
        return kept | {"completions": [to_json(completion) for completion in self.completions]}

    @staticmethod
    def taken_up(kept: dict[str, Any]) -> Sampled:
        """What :meth:`to_keep` gave, as it was."""
        return Sampled(**{**kept, "completions": [from_json(Completion, row) for row in kept["completions"]]})

    @property
    def kl(self) -> list[float] | None:
        """The k1 terms of the completions, in nats; ``None`` where there is no KL."""
        if self.logprobs is None or self.ref_logprobs is None:
            return None
        rows = zip(self.logprobs, self.ref_logprobs, strict=True)
        return [sum(token_log_ratios(ours, refs)) for ours, refs in rows]


@dataclass(frozen=True)
class Measuring:
    """What every policy is measured with."""

    prompts: Sequence[Prompt]
    reference: Policy
    judge: RewardSource | None
    judge_is_model: bool
    reward: RewardSource | None
    others: dict[str, RewardSource]
    base: Policy | None
    toxicity_model: RewardSource | None
    settings: Any
    """An :class:`~assent.pipeline.stages.evaluate.EvaluateSettings`."""
    seed: int

    @property
    def compares(self) -> bool:
        """Whether the judge has to see two answers beside one another."""
        return self.judge is not None and is_comparative(self.judge)

    def answers(
        self, policy: Policy, name: str, n: int = 1, seed: int | None = None, prompts: Sequence[Prompt] | None = None
    ) -> list[Completion]:
        """``n`` answers to each prompt, named ``NAME:PROMPT`` so that whoever judges them need not know the policy."""
        settings: SamplingOptions = self.settings
        asked = prompts or self.prompts
        sampling = settings.sampling(self.seed if seed is None else seed)
        encoded = self._encoded(policy, name, asked)
        found = local_engine(policy, options=settings).generate(encoded, sampling, n)
        return [replace(c, id=f"{name}:{c.prompt_id}", policy=name) for c in found] if n == 1 else found

    def _encoded(self, policy: Policy, name: str, prompts: Sequence[Prompt]) -> list[EncodedPrompt]:
        """The prompts as this policy reads them, behind its preamble where it has one."""
        if (preamble := self.settings.preambles.get(name)) is not None:
            prompts = [_behind(preamble, prompt) for prompt in prompts]
        limit, cut = room_for_prompts(policy, self.settings), self.settings.truncate_prompts
        return encode_prompts(policy.tokenizer, prompts, limit, cut, self.settings.data)

    def measure(self, policy: Policy, name: str, given: list[Completion] | None = None) -> Sampled:
        """The policy's answers, drawn now unless given, with all of its figures and how it speaks of groups."""
        sampled = self.measure_snapshot(policy, name, given)
        figures = dict(sampled.figures)
        if self.base is not None:
            figures["perplexity"] = perplexity(token_logprobs(self.base, sampled.completions, 1.0))
        if self.settings.base_text is not None:
            figures["held_out_perplexity"] = text_perplexity(policy, self.settings.base_text)
        if self.settings.references is not None:
            prompts, groups = references_by_prompt(self.settings.references, self.settings.max_prompts)
            figures |= reference_figures(policy, self.answers(policy, name, prompts=prompts), groups)
        if self.settings.group_samples:
            sampled.bias = self._bias(policy, name)
        sampled.figures = _finite(figures)
        return sampled

    def measure_snapshot(self, policy: Policy, name: str, given: list[Completion] | None = None) -> Sampled:
        """The same for a policy on the way: its answers, their scores and texts, and KL."""
        completions = given or self.answers(policy, name)
        bare = self._without_preamble(policy, name, completions)
        utilities, rewards = (scores_of(each, policy, self.prompts, bare) for each in (self.judge, self.reward))
        judged = {other: scores_of(each, policy, self.prompts, bare) for other, each in self.others.items()}
        others = {other: values for other, values in judged.items() if values is not None}
        sampled = Sampled(completions, utilities, rewards, None, None, {}, others)
        figures: dict[str, float] = {}
        if same_tokenizer(policy.tokenizer, self.reference.tokenizer):
            # Both sides by the trainer's path, so that a policy's KL from itself is exactly zero.
            sampled.logprobs = token_logprobs(policy, completions, self.settings.temperature)
            sampled.ref_logprobs = token_logprobs(self.reference, bare, self.settings.temperature)
            kl = sequence_kl(sampled.logprobs, sampled.ref_logprobs)
            figures = {"kl": kl.k1, "kl_se": kl.k1_se, "kl_k3": kl.k3, "token_entropy": _entropy(sampled.logprobs)}
        toxic = toxic_flags(completions, scores_of(self.toxicity_model, policy, self.prompts, completions))
        figures |= {**text_figures(completions), "toxicity_rate": float(np.mean(toxic)), **self._score_figures(sampled)}
        sampled.figures = _finite(figures)
        return sampled

    def _without_preamble(self, policy: Policy, name: str, completions: list[Completion]) -> list[Completion]:
        """The same answers, to the prompts as they stand: what judges and the reference read."""
        if name not in self.settings.preambles:
            return completions
        limit = room_for_prompts(policy, self.settings)
        plain = encode_prompts(policy.tokenizer, self.prompts, limit, "left", self.settings.data)
        return [replace(c, prompt_token_ids=p.token_ids) for c, p in zip(completions, plain, strict=True)]

    def _bias(self, policy: Policy, name: str) -> list[dict[str, Any]]:
        prompts = paired_prompts(samples=self.settings.group_samples)
        completions = self.answers(policy, name, prompts=prompts)
        classified = scores_of(self.toxicity_model, policy, prompts, completions)
        scores = {"toxicity": toxic_flags(completions, classified)}
        if self.reward is not None and models_in(self.reward):  # another source may know nothing of such prompts
            scores["reward"] = scores_of(self.reward, policy, prompts, completions) or []
        return bias_rows(name, prompts, scores)

    def _score_figures(self, sampled: Sampled) -> dict[str, float]:
        figures: dict[str, float] = {}
        utilities, rewards, count = sampled.utilities, sampled.rewards, len(sampled.completions)
        lengths = [len(c.text) for c in sampled.completions]
        if utilities is not None:
            figures |= {"utility": float(np.mean(utilities)), "utility_se": float(np.std(utilities) / count**0.5)}
            if (found := length_correlation(utilities, lengths, resamples=0)) is not None:
                figures["utility_length_correlation"] = found.value
        if utilities is not None and self.judge_is_model:
            low, high = wilson_interval(positive := sum(u > 0 for u in utilities), count)
            figures |= {"positive_rate": positive / count, "positive_rate_low": low, "positive_rate_high": high}
        if rewards is not None:
            figures |= {"reward": float(np.mean(rewards)), "reward_se": float(np.std(rewards) / count**0.5)}
            if (found := length_correlation(rewards, lengths, resamples=0)) is not None:
                figures["reward_length_correlation"] = found.value
        return figures


def _entropy(logprobs: Sequence[Sequence[float]]) -> float:
    """Nats per token: what the sampled tokens cost under the policy that drew them."""
    return -sum(map(sum, logprobs)) / max(1, sum(map(len, logprobs)))


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Without what is not finite: an empty text has no distinct-2, for one."""
    return {key: float(value) for key, value in figures.items() if math.isfinite(value)}


def _behind(preamble: str, prompt: Prompt) -> Prompt:
    """The prompt behind a text, or its messages behind a system message."""
    if prompt.messages is None:
        return replace(prompt, text=preamble + str(prompt.text))
    return replace(prompt, messages=(Message("system", preamble), *prompt.messages))


def for_policy(source: RewardSource, policy: Policy) -> RewardSource:
    """A reward model scores the very ids where it shares this policy's tokenizer, and the text where it does not."""
    return for_tokenizer(source, policy.tokenizer)


def scores_of(
    source: RewardSource | None, policy: Policy, prompts: Sequence[Prompt], completions: Sequence[Completion]
) -> list[float] | None:
    """The score [n] of each answer by itself; ``None`` without a source, or where it only compares answers."""
    if source is None or is_comparative(source):
        return None
    scorer = for_policy(source, policy)
    return list(score_all(scorer, prompts, completions).values)


def text_perplexity(policy: Policy, source: str) -> float:
    """Perplexity of the policy on the texts of a file, each cut to its context."""
    texts = read_texts(source)
    ids = [tuple(policy.tokenizer(text).input_ids)[: policy.context_length] for text in texts]
    rows = [
        Completion(str(i), "", "", token_ids=t[1:], prompt_token_ids=t[:1]) for i, t in enumerate(ids) if len(t) > 1
    ]
    return perplexity(token_logprobs(policy, rows, 1.0))


def given_answers(source: str, policies: Sequence[str], prompts: Sequence[Prompt]) -> dict[str, list[Completion]]:
    """By policy, the answers of an earlier evaluation, in the order of the prompts.

    Raises :class:`DataError` where a policy did not answer a prompt.
    """
    found: dict[tuple[str, str], Completion] = {(c.policy, c.prompt_id): c for _, c in read_completions(source)}
    out: dict[str, list[Completion]] = {}
    for name in policies:
        missing = next((prompt.id for prompt in prompts if (name, prompt.id) not in found), None)
        if missing is not None:
            raise DataError(
                f"has no answer of '{name}' to prompt '{missing}'; give the answers.jsonl of an evaluation of the same "
                "policies on the same prompts",
                source,
            )
        out[name] = [found[name, prompt.id] for prompt in prompts]
    return out
