"""A check for anyone's source of rewards: :func:`check_reward_source`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from assent.rewards.source import RewardSource, Scores, groups_of, is_comparative
from assent.types import Completion, Prompt


def check_reward_source(
    source: RewardSource, prompts: Sequence[Prompt], completions: Sequence[Completion], tolerance: float = 1e-5
) -> None:
    """Raise ``AssertionError``, in a sentence, unless scores are finite floats, one per completion, and each the
    completion's own: the same on a second call, in another order and alone, for a completion of another id, and beside
    an empty one, within ``tolerance``.

    ``prompts[i]`` belongs to ``completions[i]``; give three or more that a good source tells apart.  Of a source that
    compares the completions of one prompt (``comparative``), a score is its group's: then give two prompts or more with
    two completions or more each, and their order and the company of other prompts must not matter.  A completion
    without a score must be told in ``unscored``; all of those given must have one, and an empty one may have none.
    """
    assert len(prompts) == len(completions) >= 3, "check_reward_source needs three completions or more"
    given = list(prompts), list(completions)
    scores = _score(source, prompts, completions)
    assert (list(prompts), list(completions)) == given, "the source changed the lists that it was given"
    assert len(set(scores.values)) > 1, f"the source tells no completion from another: {scores.values}"
    again = _score(source, prompts, completions)
    assert _near(scores, again, tolerance), f"a second call scores {again.values}, not {scores.values}"
    backwards = _score(source, prompts[::-1], completions[::-1])
    turned = backwards.select(range(len(completions))[::-1])
    assert _near(scores, turned, tolerance), (
        f"scores depend on the order: {scores.values} and, asked backwards, {turned.values}"
    )
    _check_company(source, prompts, completions, scores, tolerance)
    empty = source.score([], [])
    assert tuple(empty.values) == (), f"no completions were scored as {empty.values}"
    _check_empty_completion(source, prompts, completions, scores, tolerance)


def _check_company(
    source: RewardSource, prompts: Sequence[Prompt], completions: Sequence[Completion], scores: Scores, tolerance: float
) -> None:
    parts = groups_of(completions) if is_comparative(source) else [[i] for i in range(len(completions))]
    if is_comparative(source):
        enough = len(parts) > 1 and min(map(len, parts)) > 1
        assert enough, "a source that compares is checked on two prompts or more with two completions or more each"
    for places in parts:
        alone = _score(source, [prompts[i] for i in places], [completions[i] for i in places])
        assert _near(scores.select(places), alone, tolerance), (
            f"scores depend on the company: {scores.select(places).values} and, alone, {alone.values}"
        )


def _check_empty_completion(
    source: RewardSource, prompts: Sequence[Prompt], completions: Sequence[Completion], scores: Scores, tolerance: float
) -> None:
    """A policy may say nothing: that has a score or a reason for none, and is no reason to fail."""
    ended = completions[0].token_ids[-1:] if completions[0].finish_reason == "stop" else ()
    said_nothing = replace(completions[0], id=f"{completions[0].id}/empty", text="", token_ids=ended, logprobs=())
    if is_comparative(source):
        said_nothing = replace(said_nothing, prompt_id=f"{completions[0].prompt_id}/empty")
        other = replace(completions[0], id=f"{completions[0].id}/other", prompt_id=said_nothing.prompt_id)
        more = [said_nothing, other]
    else:
        more = [said_nothing]
    found = source.score([*prompts, *([prompts[0]] * len(more))], [*completions, *more])
    count = len(completions)
    assert len(found.values) == count + len(more), (
        f"{len(found.values)} scores for {count + len(more)} completions, one of them empty"
    )
    for place in range(count, count + len(more)):
        assert math.isfinite(found.values[place]) or place in found.unscored, (
            f"an empty completion was scored {found.values[place]}, and unscored does not say why"
        )
    assert _near(scores, found.select(range(count)), tolerance), (
        f"an empty completion in the company changed the scores: {scores.values} and {found.values}"
    )


def _score(source: RewardSource, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
    scores = source.score(prompts, completions)
    columns = {"values": scores.values, **{f"part '{name}'": part for name, part in scores.parts.items()}}
    if scores.uncertainty is not None:
        columns["uncertainty"] = scores.uncertainty
        assert all(u >= 0 for u in scores.uncertainty), f"an uncertainty is negative: {scores.uncertainty}"
    for why in scores.unscored.values():
        raise AssertionError(f"a completion has no score: {why}")
    for name, column in columns.items():
        assert len(column) == len(completions), f"{name}: {len(column)} numbers for {len(completions)} completions"
        assert all(isinstance(x, float) and math.isfinite(x) for x in column), f"{name}: not finite floats: {column}"
    return scores


def _near(one: Scores, other: Scores, tolerance: float) -> bool:
    """Whether values, parts and uncertainties are the same."""
    if set(one.parts) != set(other.parts) or (one.uncertainty is None) != (other.uncertainty is None):
        return False
    columns = [(one.values, other.values), *((one.parts[name], other.parts[name]) for name in one.parts)]
    columns += [(one.uncertainty or (), other.uncertainty or ())]
    pairs = [pair for left, right in columns for pair in zip(left, right, strict=True)]
    return all(math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) for a, b in pairs)
