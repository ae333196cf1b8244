"""Records OpenRLHF's losses: ``python tests/golden/record_openrlhf.py`` (see README.md).

A second opinion beside TRL's, where TRL differs from assent or has nothing: conservative DPO and IPO of summed
log-probabilities, PPO whose score is on the last token, the KL estimator k2, the adaptive KL controller.  The loss
classes and the experience maker's advantages run as they are; Ray and DeepSpeed, which their modules import and these
parts do not use, are left out.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import torch
from fixture import HERE, Rows, by_row, masks, padded, random_numbers, random_rows, write_fixture
from torch import nn

PACKAGES = ("", ".models", ".trainer", ".trainer.ppo_utils", ".trainer.ray", ".utils")


def without_their_init(root: Path) -> None:
    """The packages of OpenRLHF as bare namespaces: their ``__init__`` would import every engine that they can use."""
    for name in PACKAGES:
        package = ModuleType(f"openrlhf{name}")
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[package.__name__] = package
    for name in ("ray", "deepspeed", "openrlhf.trainer.ray.launcher"):
        sys.modules[name] = mock.MagicMock()


without_their_init(Path(importlib.util.find_spec("openrlhf").submodule_search_locations[0]))
from openrlhf.models import loss as losses  # noqa: E402
from openrlhf.models.utils import compute_approx_kl  # noqa: E402
from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker  # noqa: E402
from openrlhf.trainer.ppo_utils.kl_controller import AdaptiveKLController  # noqa: E402


def case(name: str, function: Any, inputs: str, settings: dict[str, Any], **results: Any) -> dict[str, Any]:
    called = f"{function.__module__}.{function.__qualname__}"
    return {"name": name, "function": called, "inputs": inputs, "settings": settings, **results}


def table(rows: Rows, name: str = "logprobs", fill: float = -0.7) -> nn.Parameter:
    return nn.Parameter(padded(rows, name, fill))


def dpo(rows: Rows) -> list[dict[str, Any]]:
    cases = []
    completion = masks(rows)[1]
    for name, settings in (
        ("dpo", {"beta": 0.3}),
        ("dpo-smoothed", {"beta": 0.3, "label_smoothing": 0.1}),
        ("dpo-ipo", {"beta": 0.4, "ipo": True}),
    ):
        policy = table(rows)
        sums = [(values * completion).sum(1).chunk(2) for values in (policy, padded(rows, "ref_logprobs"))]
        loss, _, _ = losses.DPOLoss(**settings)(*sums[0], *sums[1])
        loss.backward()
        results = {"loss": loss.item(), "gradient": by_row(policy.grad, rows)}
        cases.append(case(name, losses.DPOLoss, "preferences", settings, **results))
    return cases


def reward(rows: Rows) -> list[dict[str, Any]]:
    scores = nn.Parameter(torch.tensor(rows["scores"], dtype=torch.float64))
    loss = losses.PairWiseLoss()(*scores.chunk(2), torch.tensor(rows["margins"], dtype=torch.float64))
    loss.backward()
    results = {"loss": loss.item(), "gradient": scores.grad.tolist()}
    return [case("reward", losses.PairWiseLoss, "scored_preferences", {}, **results)]


def advantages(rows: Rows, estimator: str, group_size: int, kl_coefficient: float, gamma: float, lam: float) -> Any:
    """What the experience maker makes of scores, values and KL."""
    completion = masks(rows)[1]
    made = SimpleNamespace(
        index=list(range(len(completion))),
        rewards=torch.tensor(rows["scores"], dtype=torch.float64),
        values=padded(rows, "old_values", 0.0) if "old_values" in rows else None,
        kl=compute_approx_kl(padded(rows, "old_logprobs"), padded(rows, "ref_logprobs")).double() * completion,
        action_mask=completion,
        info={},
    )
    args = SimpleNamespace(
        algo=SimpleNamespace(
            advantage=SimpleNamespace(estimator=estimator, gamma=gamma, lambd=lam, no_std_norm=False),
        ),
        rollout=SimpleNamespace(n_samples_per_prompt=group_size),
        reward=SimpleNamespace(
            clip_range=None, overlong_buffer_len=None, overlong_penalty_factor=0.0, stop_properly_penalty_coef=None
        ),
    )
    maker = object.__new__(RemoteExperienceMaker)
    maker.strategy, maker.advantage_estimator = SimpleNamespace(args=args), estimator
    maker.kl_ctl = SimpleNamespace(value=kl_coefficient)
    return maker.compute_advantages_and_returns([made])[0]


def ppo(rows: Rows) -> list[dict[str, Any]]:
    settings = {"kl_coefficient": 0.1, "gamma": 0.95, "lam": 0.9, "clip": 0.2, "value_clip": 0.2}
    completion = masks(rows)[1]
    made = advantages(rows, "gae", 1, *(settings[key] for key in ("kl_coefficient", "gamma", "lam")))
    policy, values = table(rows), table(rows, "values", 0.0)
    policy_loss = losses.PolicyLoss(settings["clip"], settings["clip"])(
        policy, padded(rows, "old_logprobs"), made.advantages, completion
    )[0]
    value_loss = losses.ValueLoss(settings["value_clip"])(values, made.values, made.returns, completion)
    (policy_loss + value_loss).backward()
    results = {
        "policy_loss": policy_loss.item(),
        "value_loss": value_loss.item(),
        "gradient": by_row(policy.grad, rows),
        "value_gradient": by_row(values.grad, rows),
        "advantages": by_row(made.advantages * completion, rows),
        "returns": by_row(made.returns * completion, rows),
    }
    return [case("ppo", RemoteExperienceMaker.compute_advantages_and_returns, "rollouts", settings, **results)]


def grpo(rows: Rows) -> list[dict[str, Any]]:
    cases = []
    completion = masks(rows)[1]
    for name, settings in (
        ("grpo", {"token_level_loss": False, "clip_eps_high": 0.2, "policy_loss_type": "ppo", "kl": 0.3}),
        ("grpo-token", {"token_level_loss": True, "clip_eps_high": 0.28, "policy_loss_type": "ppo", "kl": 0.1}),
        ("grpo-gspo", {"token_level_loss": False, "clip_eps_high": 0.2, "policy_loss_type": "gspo", "kl": 0.0}),
    ):
        made = advantages(rows, "dr_grpo", rows["group_size"], 0.0, 1.0, 1.0)
        policy = table(rows)
        clip = {key: value for key, value in settings.items() if key != "kl"}
        loss = losses.PolicyLoss(**clip)(policy, padded(rows, "old_logprobs"), made.advantages, completion)[0]
        kl = compute_approx_kl(policy, padded(rows, "ref_logprobs"), kl_estimator="k2")
        loss = loss + settings["kl"] * losses.aggregate_loss(kl, completion, settings["token_level_loss"])
        loss.backward()
        results = {"loss": loss.item(), "gradient": by_row(policy.grad, rows)}
        cases.append(case(name, losses.PolicyLoss, "rollouts", settings, **results))
    return cases


def controller() -> list[dict[str, Any]]:
    settings = {"init_kl_coef": 0.2, "target": 6.0, "horizon": 100.0}
    steps = [[6.5, 8], [20.0, 8], [1.0, 4], [5.9, 16]]
    made, values = AdaptiveKLController(**settings), []
    for kl, count in steps:
        made.update(kl, count)
        values.append(float(made.value))
    return [case("kl-controller", AdaptiveKLController, "", settings, steps=steps, values=values)]


def main() -> None:
    lengths = [4, 6, 2, 5, 1, 3, 4, 2, 6]
    rows = random_rows(52, [2] * 9, lengths, old_logprobs=0.3, ref_logprobs=0.4)
    old = [random_numbers(80 + b, n, 0.6) for b, n in enumerate(lengths)]
    moves = [random_numbers(100 + b, n, 0.3) for b, n in enumerate(lengths)]
    moved = [[round(v + d, 4) for v, d in zip(*pair, strict=True)] for pair in zip(old, moves, strict=True)]
    inputs: dict[str, Any] = {
        "preferences": random_rows(2, [2, 3, 1, 2, 2, 3, 1, 2], [4, 2, 5, 3, 3, 6, 1, 4], ref_logprobs=0.6),
        "scored_preferences": {"scores": random_numbers(7, 8, 1.5), "margins": [0.5, 1.0, 0.0, 2.0]},
        "rollouts": {**rows, "old_values": old, "values": moved, "scores": random_numbers(31, 9, 1.2), "group_size": 3},
    }
    cases = dpo(inputs["preferences"]) + reward(inputs["scored_preferences"]) + controller()
    cases += ppo(inputs["rollouts"]) + grpo(inputs["rollouts"])
    write_fixture(HERE / "openrlhf-0.11.2.json", ("openrlhf", "torch"), inputs, cases)


if __name__ == "__main__":
    main()
