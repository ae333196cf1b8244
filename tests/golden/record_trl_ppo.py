"""Records TRL's PPO: ``python tests/golden/record_trl_ppo.py``, with trl 1.12.0, the last that has it (see README.md).

``PPOTrainer.train`` is one long method, so the method itself runs, for one batch and one update, on a policy and a
critic that are tables.  What it would get from models (completions, log-probabilities, values, scores) is put in their
place; what it makes of them (token rewards, whitening, GAE, losses) is read from its local variables at the moment
when it calls ``accelerator.backward``.  Nothing of TRL's formulas is written down here.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from accelerate import Accelerator
from fixture import HERE, VOCABULARY, Rows, by_row, masks, padded, random_numbers, random_rows, write_fixture
from torch import Tensor, nn
from transformers import TrainerControl
from trl.experimental.ppo import ppo_trainer
from trl.experimental.ppo.ppo_trainer import OnlineTrainerState, PPOTrainer

PAD, STOP = 0, 1
TEMPERATURE = 1.0 - 1e-7
"""TRL divides by temperature + 1e-7: this way by 1, so that what goes in is what is compared."""

SETTINGS: dict[str, Any] = {
    "gamma": 1.0,
    "lam": 0.95,
    "kl_coef": 0.05,
    "kl_estimator": "k1",
    "whiten_rewards": False,
    "cliprange": 0.2,
    "cliprange_value": 0.2,
    "vf_coef": 0.1,
    "missing_eos_penalty": None,
}


class Tables(nn.Module):
    """Policy and critic of one update: log-probabilities and values [B, T] as parameters."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.logprobs = nn.Parameter(padded(rows, "logprobs"))
        self.values = nn.Parameter(padded(rows, "values", 0.0))
        self.policy, self.value_model = nn.Identity(), nn.Identity()


def token_ids(rows: Rows) -> Tensor:
    """[B, T] ids: completions shorter than the longest end with the stop token, and then comes padding."""
    real, completion = masks(rows)
    ids = (2 + torch.arange(real.numel()).view(real.shape) % (VOCABULARY - 2)).masked_fill(~real, PAD)
    for b, (prompt, length) in enumerate(zip(rows["prompt_lengths"], rows["completion_lengths"], strict=True)):
        if length < completion.sum(1).max():
            ids[b, prompt + length - 1] = STOP
    return ids


def logits(ids: Tensor, logprobs: Tensor) -> Tensor:
    """[B, T, V] whose log-softmax at place t is ``logprobs`` of the token at t + 1, as a causal model's is."""
    others = torch.log(-torch.expm1(logprobs)) - torch.log(torch.tensor(VOCABULARY - 1.0, dtype=torch.float64))
    at = torch.where(nn.functional.one_hot(ids, VOCABULARY).bool(), logprobs[..., None], others[..., None])
    return at.roll(-1, 1)


def update(rows: Rows, settings: dict[str, Any]) -> dict[str, Any]:
    """Loss, gradients and what lies between, of the first update."""
    ids, model, prompt = token_ids(rows), Tables(rows), rows["prompt_lengths"][0]
    reference, critic, reward_model = nn.Identity(), model.value_model, nn.Identity()
    batch = len(ids)
    seen: dict[str, Any] = {}

    def batch_generation(*_: Any) -> tuple[Tensor, Tensor]:
        return ids, logits(ids, padded(rows, "old_logprobs"))[:, prompt - 1 : -1]

    def get_reward(asked: nn.Module, *_: Any) -> tuple[Tensor, Tensor | None, None]:
        if asked is critic:
            return padded(rows, "old_values", 0.0).roll(-1, 1)[..., None], None, None
        return torch.zeros(()), torch.tensor(rows["scores"], dtype=torch.float64), None

    def forward(asked: nn.Module, *_: Any) -> Any:
        if asked is reference:
            return SimpleNamespace(logits=logits(ids, padded(rows, "ref_logprobs")))
        order = torch.as_tensor(sys._getframe(1).f_locals["micro_batch_inds"])
        output = SimpleNamespace(logits=logits(ids, model.logprobs)[order])
        return output, model.values.roll(-1, 1)[order][..., None]

    def backward(loss: Tensor) -> None:
        loss.backward()
        seen["locals"] = dict(sys._getframe(1).f_locals)
        seen["gradients"] = [table.grad.clone() for table in (model.logprobs, model.values)]

    @contextmanager
    def unwrapped(asked: nn.Module, *_: Any, **__: Any) -> Any:
        yield asked

    with (
        mock.patch.object(ppo_trainer, "batch_generation", batch_generation),
        mock.patch.object(ppo_trainer, "get_reward", get_reward),
        mock.patch.object(ppo_trainer, "forward", forward),
        mock.patch.object(ppo_trainer, "unwrap_model_for_generation", unwrapped),
    ):
        made = trainer(model, reference, reward_model, ids[:, :prompt], settings, batch)
        made.accelerator.backward = backward
        np.random.seed(0)  # TRL shuffles the rows; sums in another order differ in the last digit
        made.train()
    return results(seen["locals"], *seen["gradients"], rows)


def trainer(
    model: Tables, reference: nn.Module, reward_model: nn.Module, prompts: Tensor, settings: dict[str, Any], batch: int
) -> Any:
    """A PPOTrainer with what ``train`` reads, and no constructor run."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    made = object.__new__(PPOTrainer)
    args = {
        **settings,
        "num_total_batches": 1,
        "batch_size": batch,
        "local_batch_size": batch,
        "local_mini_batch_size": batch,
        "per_device_train_batch_size": batch,
        "local_rollout_forward_batch_size": batch,
        "num_ppo_epochs": 1,
        "num_mini_batches": 1,
        "gradient_accumulation_steps": 1,
        "response_length": 1,
        "temperature": TEMPERATURE,
        "total_episodes": batch,
        "ds3_gather_for_generation": False,
        "num_sample_generations": 0,
        **dict.fromkeys(("logging_steps", "eval_steps", "save_steps")),
    }
    handler = SimpleNamespace(**{name: lambda a, s, c: c for name in ("on_train_begin", "on_step_end", "on_train_end")})
    vars(made).update(
        args=SimpleNamespace(**args),
        accelerator=Accelerator(cpu=True),
        model=model,
        ref_model=reference,
        reward_model=reward_model,
        processing_class=SimpleNamespace(pad_token_id=PAD, eos_token_id=STOP),
        stop_token_id=STOP,
        optimizer=optimizer,
        lr_scheduler=torch.optim.lr_scheduler.ConstantLR(optimizer),
        dataloader=[{"input_ids": prompts}],
        train_dataset_len=batch,
        state=OnlineTrainerState(),
        control=TrainerControl(),
        callback_handler=handler,
        is_deepspeed_enabled=False,
        log=lambda metrics: None,
    )
    return made


def results(at: dict[str, Any], policy: Tensor, values: Tensor, rows: Rows) -> dict[str, Any]:
    """Of ``train``'s local variables, those that are compared; the rows in the order that they went in."""
    names = ("rewards", "advantages", "returns", "padding_mask", "padding_mask_p1")
    return {
        "loss": at["loss"].item(),
        "policy_loss": at["pg_loss"].item(),
        "value_loss": at["vf_loss"].item(),
        "gradient": by_row(policy, rows),
        "value_gradient": values[:, rows["prompt_lengths"][0] :].tolist(),
        **{name: at[name].tolist() for name in names},
    }


def sampled(seed: int, lengths: list[int]) -> Rows:
    """Rows with scores, and with values before and after the critic has moved."""
    rows = random_rows(seed, [2] * len(lengths), lengths, old_logprobs=0.3, ref_logprobs=0.4)
    values = [random_numbers(seed + 10 + b, n, 0.6) for b, n in enumerate(lengths)]
    moves = [random_numbers(seed + 40 + b, n, 0.3) for b, n in enumerate(lengths)]
    old = [[round(v + d, 4) for v, d in zip(*pair, strict=True)] for pair in zip(values, moves, strict=True)]
    return {**rows, "values": values, "old_values": old, "scores": random_numbers(seed + 1, len(lengths), 1.5)}


def main() -> None:
    torch.set_default_dtype(torch.float64)  # TRL's whitening divides two counts, which gives the default type
    inputs = {"full": sampled(60, [5] * 6), "ragged": sampled(70, [5, 3, 4, 1, 2, 5])}
    cases = []
    for name, source, changed in (
        ("ppo", "full", {}),
        ("ppo-discounted", "full", {"gamma": 0.9, "lam": 0.8, "kl_coef": 0.2, "vf_coef": 0.5, "cliprange": 0.1}),
        ("ppo-whitened-rewards", "full", {"whiten_rewards": True}),
        ("ppo-missing-eos", "ragged", {"missing_eos_penalty": 1.5}),
        ("ppo-ragged-whitened", "ragged", {"whiten_rewards": True, "gamma": 0.9}),
    ):
        settings = {**SETTINGS, **changed}
        called = f"{PPOTrainer.__module__}.{PPOTrainer.__qualname__}.train"
        made = update(inputs[source], settings)
        cases.append({"name": name, "function": called, "inputs": source, "settings": settings, **made})
    write_fixture(HERE / "trl-1.12.0.json", ("trl", "transformers", "accelerate", "torch"), inputs, cases)


if __name__ == "__main__":
    main()
