"""The mathematics of each algorithm, one file each.  Light: modules load when :func:`load_algorithm` asks for them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assent.algorithms.base import Algorithm

ALGORITHMS: dict[str, str] = {
    "sft": "sft",
    "reward": "reward_model",
    "reward-ranking": "reward_ranking",
    "reward-classifier": "reward_classifier",
    "inverse-rl": "inverse_rl",
    "spin": "spin",
    "dpo": "dpo",
    "kto": "kto",
    "orpo": "orpo",
    "simpo": "simpo",
    "cpo": "cpo",
    "ppo": "ppo",
    "reinforce": "reinforce",
    "rloo": "rloo",
    "grpo": "grpo",
    "ppo-sequence": "ppo_sequence",
    "kl-control": "kl_control",
    "rebel": "rebel",
    "rejection": "rejection",
    "expert-iteration": "expert_iteration",
    "online-dpo": "online_dpo",
}
"""Name of an algorithm -> its module here.  Adding one is its file and one line."""


def load_algorithm(name: str) -> Algorithm:
    """The record of the algorithm of this name."""
    return import_module(f"assent.algorithms.{ALGORITHMS[name]}").ALGORITHM
