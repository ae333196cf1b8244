"""A source of reward by its folder or name: a reward model, an ensemble, a combination, or as ``reward.json`` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from assent.errors import ModelError, RecipeError
from assent.models.device import pick_device
from assent.models.shared import Bases
from assent.rewards.combine import Combined, Named
from assent.rewards.combined import combination_of, is_combined, read_combined
from assent.rewards.ensemble import MEAN, Pooling
from assent.rewards.kinds import is_source, read_source
from assent.rewards.model import load_models
from assent.rewards.source import RewardSource, for_tokenizer


def load_reward(
    source: str,
    policy_tokenizer: Any = None,
    token_budget: int = 8192,
    weights: Mapping[str, float] | None = None,
    pooling: Pooling = MEAN,
    bases: Bases | None = None,
) -> RewardSource:
    """The source in a folder, or the reward model of a hub name.

    ``weights`` are for a reward model alone, ``pooling`` for an ensemble; a combination has its own.  Models that are
    adapters of ``bases`` share them.
    """
    if not is_source(source) and not is_combined(source):
        return load_models(source, pick_device(), policy_tokenizer, token_budget, weights, pooling, bases)
    if weights is not None:
        raise RecipeError(f"{source}: is no reward model, and reward_weights are for one with several criteria")
    if is_source(source):
        return for_tokenizer(read_source(source), policy_tokenizer)
    values, scales = read_combined(source)
    named = open_sources(values, policy_tokenizer, token_budget, bases)
    if named.keys() != scales.keys():
        raise ModelError(f"{source}: its scales are not those of its rewards; make it again")
    scaled = {n: replace(each, mean=scales[n][0], deviation=scales[n][1]) for n, each in named.items()}
    return Combined(scaled, combination_of(values))


def open_sources(
    values: Mapping[str, Any], policy_tokenizer: Any = None, token_budget: int = 8192, bases: Bases | None = None
) -> dict[str, Named]:
    """The sources that the settings of a combination name, not whitened.

    The values of a reward model are log-odds; those of a source that is no model are taken for numbers from 0 to 1.
    """
    pooling = Pooling(values["ensemble"], values["variance_coefficient"])
    return {
        name: Named(
            load_reward(place, policy_tokenizer, token_budget, None, pooling, bases), logistic=not is_source(place)
        )
        for name, place in values["rewards"].items()
    }
