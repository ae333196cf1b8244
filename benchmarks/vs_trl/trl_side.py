"""TRL's side, run by the interpreter of its own environment: `python trl_side.py JOB.json`.

The job names the work, the model and data, and what to write: the step times, or the gradient of the first batch with
what it was computed from.  Nothing of assent is imported here.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback

sys.path.insert(0, str(Path(__file__).parent))
from words import even_share


class Clock(TrainerCallback):
    """The seconds of each step, from the end of the one before: loading of the batch is in, start-up is not."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())

    def seconds(self) -> list[float]:
        return [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)]


class KeepGradient(TrainerCallback):
    """Writes the gradient of the first step, which must not be clipped."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        named = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        torch.save(named, self.path)


def common(job: dict[str, Any]) -> dict[str, Any]:
    """Of every TRL config: a CPU, no saving, no logging between the first step and the last."""
    return {
        "output_dir": job["scratch"],
        "per_device_train_batch_size": job["batch"],
        "max_steps": job["steps"],
        "learning_rate": job["learning_rate"],
        "bf16": job["dtype"] == "bfloat16",
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "max_grad_norm": 0.0 if job.get("gradient") else 1.0,
        "gradient_checkpointing": job["checkpointing"],
        "seed": job["seed"],
    }


def read(job: dict[str, Any]) -> Dataset:
    rows = [json.loads(line) for line in Path(job["data"]).read_text(encoding="utf-8").splitlines()]
    return Dataset.from_list([rows[i] for i in job["order"]])


def offline(job: dict[str, Any]) -> Any:
    """SFT, reward model or DPO; the examples in the order of the file."""
    import trl

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    config = {**common(job), "train_sampling_strategy": "sequential"}
    data = read(job)
    if job["work"] == "sft":
        return trl.SFTTrainer(job["model"], trl.SFTConfig(**config), train_dataset=data, processing_class=tokenizer)
    if job["work"] == "dpo":
        return trl.DPOTrainer(
            job["model"], args=trl.DPOConfig(**config), train_dataset=data, processing_class=tokenizer
        )
    model = AutoModelForSequenceClassification.from_pretrained(job["model"], dtype=torch.float32)
    config = trl.RewardConfig(**config, center_rewards_coefficient=0.001)
    return trl.RewardTrainer(model, config, train_dataset=data, processing_class=tokenizer)


def on_policy(job: dict[str, Any], seen: dict[str, Any]) -> Any:
    """GRPO or RLOO with the end-of-sequence token off; ``seen`` gets the first rollouts and their rewards."""
    import trl

    def reward(prompts: list[str], completions: list[str], **kwargs: Any) -> list[float]:
        values = [even_share(*pair) for pair in zip(prompts, completions, strict=True)]
        seen.setdefault("rewards", values)
        return values

    config: dict[str, Any] = {
        **common(job),
        "num_generations": job["samples"],
        "max_completion_length": job["new"],
        "shuffle_dataset": False,
        "generation_kwargs": {"min_new_tokens": job["new"]},
    }
    if job["work"] == "grpo":
        kind: Any = trl.GRPOTrainer
        config = trl.GRPOConfig(**config, beta=0.04, loss_type="grpo")
    else:
        kind = trl.RLOOTrainer
        config = trl.RLOOConfig(**config, beta=0.05)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    trainer = kind(job["model"], reward, args=config, train_dataset=read(job), processing_class=tokenizer)
    made = trainer._generate_and_score_completions

    def keep(inputs: Any) -> Any:
        output = made(inputs)
        seen.setdefault("rollouts", {k: v for k, v in output.items() if k.endswith(("_ids", "_mask"))})
        return output

    trainer._generate_and_score_completions = keep
    return trainer


def count_tokens(trainer: Any, counts: list[int]) -> None:
    """Into ``counts``, the real tokens of each step's batch."""
    computed = trainer.compute_loss

    def counted(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        masks = [inputs[name] for name in ("attention_mask", "prompt_mask", "completion_mask") if name in inputs]
        counts.append(sum(int(mask.sum()) for mask in (masks[:1] if "attention_mask" in inputs else masks)))
        return computed(model, inputs, *args, **kwargs)

    trainer.compute_loss = counted


def sampled(rollouts: dict[str, Any]) -> Any:
    """What PPO's policy wrote [B, T]."""
    return rollouts["sequences"][:, rollouts["queries"].shape[1] :]


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    seen: dict[str, Any] = {}
    counts: list[int] = []
    clock = Clock()
    if job["work"] == "ppo":
        from trl_ppo import ppo

        trainer = ppo(job, seen, counts)
    else:
        trainer = offline(job) if job["work"] in ("sft", "reward", "dpo") else on_policy(job, seen)
        count_tokens(trainer, counts)
        if job.get("gradient"):
            trainer.add_callback(KeepGradient(job["gradient"]))
    trainer.add_callback(clock)
    trainer.train()
    if job.get("gradient"):
        torch.save(seen, job["gradient"] + ".seen")
    rollouts = seen.get("rollouts", {})
    padded = "queries" in rollouts and bool((sampled(rollouts) == trainer.processing_class.pad_token_id).any())
    result = {"seconds": clock.seconds(), "tokens": counts, "sampled_padding": padded}
    Path(job["result"]).write_text(json.dumps(result), encoding="ascii")


if __name__ == "__main__":
    main()
