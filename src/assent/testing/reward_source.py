"""A check for anyone's source of rewards: :func:`check_reward_source`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from assent.rewards.source import RewardSource, Scores
from assent.types import Completion, Prompt


def check_reward_source(
    source: RewardSource, prompts: Sequence[Prompt], completions: Sequence[Completion], tolerance: float = 1e-5
) -> None:
    """Raise ``AssertionError``, in a sentence, unless scores are finite, one per completion, and each the completion's
    own: the same on a second call, in another order and alone, within ``tolerance``.

    ``prompts[i]`` belongs to ``completions[i]``; give three or more that a good source tells apart.
    """
    assert len(prompts) == len(completions) >= 3, "check_reward_source needs three completions or more"
    scores = _score(source, prompts, completions)
    again = _score(source, prompts, completions)
    assert _near(scores.values, again.values, tolerance), f"a second call scores {again.values}, not {scores.values}"
    backwards = _score(source, prompts[::-1], completions[::-1])
    assert _near(scores.values, backwards.values[::-1], tolerance), (
        f"scores depend on the order: {scores.values} and, asked backwards, {backwards.values[::-1]}"
    )
    alone = [_score(source, [p], [c]).values[0] for p, c in zip(prompts, completions, strict=True)]
    assert _near(scores.values, alone, tolerance), f"scores depend on the company: {scores.values} and, alone, {alone}"
    empty = source.score([], [])
    assert tuple(empty.values) == (), f"no completions were scored as {empty.values}"


def _score(source: RewardSource, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
    scores = source.score(prompts, completions)
    columns = {"values": scores.values, **{f"part '{name}'": part for name, part in scores.parts.items()}}
    if scores.uncertainty is not None:
        columns["uncertainty"] = scores.uncertainty
        assert all(u >= 0 for u in scores.uncertainty), f"an uncertainty is negative: {scores.uncertainty}"
    for name, column in columns.items():
        assert len(column) == len(completions), f"{name}: {len(column)} numbers for {len(completions)} completions"
        assert all(isinstance(x, float) and math.isfinite(x) for x in column), f"{name}: not finite floats: {column}"
    return scores


def _near(one: Sequence[float], other: Sequence[float], tolerance: float) -> bool:
    return all(math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) for a, b in zip(one, other, strict=True))
