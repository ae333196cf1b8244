"""Where Adam adds its epsilon, and what PPO's first updates make of it: ``python -m benchmarks.adam_epsilon``.

Huang et al. 2024, "The N Implementation Details of RLHF with PPO", found that PyTorch's Adam (epsilon after the bias
correction of the second moment) moves the policy about six times as far in approximate KL as TensorFlow's (before it),
in the first updates, with OpenAI's settings: learning rate 1e-5, epsilon 1e-5, four epochs, one minibatch.  Here the
same PPO, from the same rollouts, on a small random model and a rule as its reward.  The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from assent.algorithms.ppo import ALGORITHM, PPOSettings
from assent.models.new import ShapeSettings, new_causal
from assent.pipeline.stage import NoProgress
from assent.rewards.rule import FunctionReward
from assent.testing.tiny import tiny_tokenizer
from assent.training.callbacks import read_metrics
from assent.training.critic import CriticSettings
from assent.training.on_policy import OnPolicySettings, OnPolicyTask, encode_prompts, train
from assent.types import Prompt

SHAPE = ShapeSettings(hidden_size=512, intermediate_size=1376, num_hidden_layers=6, num_attention_heads=8)
"""20 million weights: the effect needs gradients that are small beside epsilon, as those of large models are."""


class RunSettings(OnPolicySettings, CriticSettings, PPOSettings):
    """PPO with OpenAI's settings of 2019."""


def approximate_kl(placement: str, seed: int, steps: int) -> list[float]:
    """PPO's approximate KL per token in each of the first ``steps`` batches."""
    policy = new_causal(tiny_tokenizer(), SHAPE, seed)
    prompts = [Prompt(id=str(i), text=f"The film {i}") for i in range(64)]
    settings: dict[str, Any] = {
        "max_steps": steps,
        "batch_size": 64,
        "epochs": 4,
        "max_new_tokens": 24,
        "temperature": 0.7,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant",
        "adam_epsilon": 1e-5,
        "adam_epsilon_placement": placement,
        "critic": "shared",
    }
    with tempfile.TemporaryDirectory() as folder:
        train(
            OnPolicyTask(
                policy=policy,
                reward=FunctionReward(lambda prompt, text: float(text.count("e"))),
                reward_model=None,
                prompts=prompts,
                encoded=encode_prompts(policy.tokenizer, prompts, 32, None, "prompts"),
                pretrain=(),
                algorithm=ALGORITHM,
                settings=RunSettings(**settings),
                folder=Path(folder),
                seed=seed,
                progress=NoProgress(),
                say=lambda text: None,
            )
        )
        return [row["approximate_kl"] for row in read_metrics(Path(folder) / "metrics.jsonl")]


def main() -> None:
    parser = argparse.ArgumentParser(description="Approximate KL of PPO's first updates by the placement of epsilon.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    ratios: list[list[float]] = []
    for seed in range(given.seeds):
        found = {name: approximate_kl(name, seed, given.steps) for name in ("pytorch", "tensorflow")}
        ratios.append([a / b for a, b in zip(found["pytorch"], found["tensorflow"], strict=True)])
        for name, values in found.items():
            print(f"seed {seed}  {name:<10}  " + "  ".join(f"{value:.2e}" for value in values))
        print(f"seed {seed}  ratio       " + "  ".join(f"{ratio:8.2f}" for ratio in ratios[-1]))
    first = [row[0] for row in ratios]
    print(json.dumps({"ratio_of_first_batch": [round(x, 2) for x in first], "mean": round(sum(first) / len(first), 2)}))


if __name__ == "__main__":
    main()
