"""PPO by TRL 1.12.0, the last release that has it; see :mod:`trl_side`."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer


def ppo(job: dict[str, Any], seen: dict[str, Any], counts: list[int]) -> Any:
    """The trainer; ``seen`` gets the first rollouts, ``counts`` the generated tokens of each step."""
    from trl.experimental import ppo as trl_ppo
    from trl.experimental.ppo import ppo_trainer
    from trl_side import common, read

    tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    config = common(job)
    config.pop("max_steps")
    args = trl_ppo.PPOConfig(
        **config,
        total_episodes=job["steps"] * job["batch"],
        num_ppo_epochs=job["epochs"],
        num_mini_batches=1,
        response_length=job["new"],
        temperature=1.0,
        stop_token=None,
        num_sample_generations=0,
    )

    def load(kind: Any, folder: str) -> Any:
        return kind.from_pretrained(folder, dtype=torch.float32)

    data = read(job).map(lambda row: {"input_ids": tokenizer(row["prompt"]).input_ids}, remove_columns="prompt")
    trainer = trl_ppo.PPOTrainer(
        args=args,
        processing_class=tokenizer,
        model=load(AutoModelForCausalLM, job["model"]),
        ref_model=load(AutoModelForCausalLM, job["model"]),
        reward_model=load(AutoModelForSequenceClassification, job["reward"]),
        value_model=load(AutoModelForSequenceClassification, job["reward"]),
        train_dataset=data,
    )
    generate = ppo_trainer.batch_generation

    def keep(model: Any, queries: Any, *rest: Any) -> Any:
        sequences, logits = generate(model, queries, *rest)
        counts.append(sequences[:, queries.shape[1] :].numel())
        seen.setdefault("rollouts", {"queries": queries, "sequences": sequences})
        return sequences, logits

    ppo_trainer.batch_generation = keep
    if job.get("gradient"):
        _keep_gradient(trainer, job["gradient"])
    return trainer


def _keep_gradient(trainer: Any, path: str) -> None:
    """Write the gradient that the first update is made of."""
    backward = trainer.accelerator.backward
    written: list[str] = []

    def kept(loss: Any) -> None:
        backward(loss)
        if not written:
            written.append(path)
            model = trainer.accelerator.unwrap_model(trainer.model)
            torch.save({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}, path)

    trainer.accelerator.backward = kept
