"""Do several processes train the same as one, and how much faster?

`python -m benchmarks.scaling [--steps 12] [--repeats 3]` prints tables, then one JSON line.

- ``ranks_gradient_gap``: the largest relative difference (norm of the difference over norm) of a gradient of the first
  optimiser batch on 2 and 4 processes, with and without sharding, from that of one process; SFT, reward model, DPO,
  KTO, GRPO, RLOO and PPO on tiny random models, microbatches and shares of uneven size.
- ``reshard_identical``: whether weights and Adam's moments that 2 processes saved in shards after two steps are the
  same bits when 1 and 4 processes have read them.
- ``ray_identical``: whether PPO with a rollout worker and a reward worker on a Ray cluster leaves the same files, bit
  by bit, as in one process.
- ``speedup_2``: how many times shorter the median step of `assent sft` is with two processes than with one, on a small
  random Llama, one thread a process in both; the median of repeats in alternation.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.tensor import DTensor

from assent.algorithms import load_algorithm
from assent.algorithms.batch import Batch
from assent.models.causal import CausalModel
from assent.rollout.engine import EncodedPrompt
from assent.rollout.local import LocalEngine
from assent.testing.tiny import tiny_causal, tiny_reward
from assent.training import distributed
from assent.training.critic import CriticSettings, start_critic
from assent.training.examples import comparison_examples, demonstration_examples, labelled
from assent.training.loop import Training
from assent.training.objective import Objective
from assent.training.on_policy import OnPolicySettings
from assent.training.optim import build_optimizers
from assent.training.roles import Roles
from assent.training.rollouts import collate_rollouts
from assent.training.sharding import Sharding
from assent.training.sources import DatasetSource
from assent.training.supervised import DatasetSettings
from assent.types import Comparison, Demonstration, Prompt, SamplingSettings
from benchmarks.crash import differences
from benchmarks.crash_jobs import make_workshop
from benchmarks.vs_trl.data import Shape, Texts, demonstrations, make_models, write_rows

ALGORITHMS = ("sft", "reward", "dpo", "kto", "grpo", "rloo", "ppo")
WORDS = ("good", "bad", "slow and fine", "long", "a cat", "the girl saw a cat", "fine", "cast", "time", "film of old")
PROMPTS = [Prompt(f"p{i}", text=f"The film {i} is" if i % 2 else f"It was {i}") for i in range(10)]
SHAPE = Shape(layers=4, width=256, heads=4, hidden=688, vocabulary=4_000)

Tensors = dict[str, torch.Tensor]


# --- what the processes do -------------------------------------------------------------------------------------------


class Given:
    """Source: one batch."""

    def __init__(self, batch: Batch) -> None:
        self.given = batch

    def batch(self, step: int) -> tuple[Batch, dict[str, float]]:
        return self.given, {}


def training_of(name: str, sharding: str, folder: Path, optimised: bool = False) -> Training:
    """A run of an algorithm over a fixed batch, the reference being another model than the policy."""
    algorithm = load_algorithm(name)
    rollouts = "rollouts" in algorithm.data
    bases = (OnPolicySettings, CriticSettings) if rollouts else (DatasetSettings,)
    made: Any = type("Given", (*bases, algorithm.Settings), {})
    extra: dict[str, Any] = {"samples_per_prompt": 2, "batch_size": 12} if rollouts else {}
    settings = made(sharding=sharding, token_budget=60, learning_rate=1e-3, **extra)
    policy = tiny_causal()
    if "scores" in algorithm.outputs:
        roles = Roles(reward=tiny_reward())
    else:
        reference = CausalModel(tiny_causal(seed=1).model.requires_grad_(False), policy.tokenizer)
        critic = start_critic(policy, None, settings, 0) if "values" in algorithm.outputs else None
        if critic is not None:
            torch.nn.init.constant_(critic.get_parameter("head.out.weight"), 0.1)
        roles = Roles(policy=policy, reference=reference, critic=critic)
    source = Given(_rollouts(policy)) if rollouts else _examples(name, policy.tokenizer)
    if sharding == "fsdp":
        Sharding(roles)
    optimizers = build_optimizers(roles.trained, settings)
    objective = Objective(source, algorithm, settings)
    return Training([objective], roles, optimizers if optimised else {}, settings, settings, 2, folder, [], 0, _silent)


def _silent(text: str) -> None:
    """Progress of runs that are compared is not shown."""


def _rollouts(policy: CausalModel) -> Batch:
    encoded = [EncodedPrompt(p.id, tuple(policy.tokenizer(p.text)["input_ids"])) for p in PROMPTS[:6]]
    drawn = LocalEngine(policy).generate(encoded, SamplingSettings(max_new_tokens=8, seed=1), 2)
    scores = [completion.text.count("e") + 0.1 * len(completion.text) for completion in drawn]
    return collate_rollouts(drawn, scores, [2] * 6, 0, torch.device("cpu"))


def _examples(name: str, tokenizer: Any) -> DatasetSource:
    if name == "sft":
        rows = [Demonstration(p, " " + w) for p, w in zip(PROMPTS, WORDS, strict=True)]
        examples = demonstration_examples(tokenizer, rows, 60, "error", "words")[0]
    else:
        compared = [
            Comparison(f"{i}{a}{b}", p, f" {WORDS[(i + a) % 10]}", f" {WORDS[(i + b) % 10]}", weight=1 / 3, group=p.id)
            for i, p in enumerate(PROMPTS)
            for a, b in ((0, 1), (0, 2), (1, 2))
        ]
        examples = comparison_examples(tokenizer, compared, 60, "error", "words")[0]
        examples = labelled(examples, "words") if name == "kto" else examples
    return DatasetSource(examples, 8, 0, 0, torch.device("cpu"), mismatched=name == "kto")


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach()


def all_gradients(folder: Path) -> dict[str, dict[str, Tensors]]:
    """Sharding -> algorithm -> every gradient."""
    torch.set_num_threads(1)
    distributed.join()
    out: dict[str, dict[str, Tensors]] = {}
    for sharding in ("none", "fsdp"):
        for name in ALGORITHMS:
            training = training_of(name, sharding, folder)
            training.one_step()
            named = [(f"{r}.{n}", p) for r, m in training.roles.trained.items() for n, p in m.named_parameters()]
            out.setdefault(sharding, {})[name] = {n: _whole(p.grad) for n, p in named if p.grad is not None}
    return out


def saved_or_read(folder: Path) -> Tensors:
    """PPO's weights and moments, in shards: trained for two steps and saved, or read where that was done before."""
    torch.set_num_threads(1)
    distributed.join()
    training = training_of("ppo", "fsdp", folder, optimised=True)
    training.restore()
    if training.step == 0:
        training.one_step()
        training.one_step()
        training.save()
    found: Tensors = {}
    for role, module in training.roles.trained.items():
        state = training.optimizers[role].state
        for name, parameter in module.named_parameters():
            found[f"{role}.{name}"] = _whole(parameter)
            for moment in ("exp_avg", "exp_avg_sq"):
                found[f"{role}.{name}.{moment}"] = _whole(state[parameter][moment])
    return found


# --- what is made of it ----------------------------------------------------------------------------------------------


def in_processes(number: int, work: Callable[..., Any], *arguments: Any) -> dict[int, Any]:
    """What each process returned, by rank."""
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=number, run_id=f"scaling-{os.getpid()}", rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=0,
    )  # fmt: skip
    return elastic_launch(config, work)(*arguments)


def gap(one: Tensors, other: Tensors) -> float:
    """|| difference || / || one ||; infinite where they are not of the same weights."""
    if one.keys() != other.keys():
        return float("inf")
    size = sum(float(x.double().square().sum()) for x in one.values())
    return (sum(float((other[n].double() - x.double()).square().sum()) for n, x in one.items()) / size) ** 0.5


def gradient_gap(folder: Path) -> float:
    alone = all_gradients(folder)["none"]
    worst = 0.0
    for number in (2, 4):
        found = in_processes(number, all_gradients, folder)[0]
        for sharding, by_name in found.items():
            gaps = {name: gap(alone[name], tensors) for name, tensors in by_name.items()}
            worst = max(worst, *gaps.values())
            print(f"{number} processes, {sharding}: " + ", ".join(f"{name} {x:.1e}" for name, x in gaps.items()))
    return worst


def reshard_identical(folder: Path) -> bool:
    saved = in_processes(2, saved_or_read, folder)[0]
    same = True
    for number in (1, 4):
        copied = folder.with_name(f"{folder.name}-{number}")
        shutil.copytree(folder, copied)
        read = in_processes(number, saved_or_read, copied)[0]
        same &= read.keys() == saved.keys() and all(torch.equal(read[name], x) for name, x in saved.items())
    return same


def ray_identical(folder: Path) -> bool:
    folder.mkdir()
    make_workshop(folder)
    words = ["ppo", "--model", "policy", "--reward", "reward", "--data", "prompts.jsonl", "--max-steps", "4"]
    words += ["--batch-size", "16", "--max-new-tokens", "8"]
    workers = ["--cluster", "ray", "--rollout-workers", "1", "--reward-workers", "1"]
    for where, more in (("here", []), ("there", workers)):
        assent(*words, *more, "--out", f"{where}/out", folder=folder)
    apart = differences(folder / "here/out", folder / "there/out")
    print(f"PPO on a Ray cluster: {', '.join(apart) or 'no file'} differs from that of one process")
    return not apart


def assent(*words: str, folder: Path | None = None) -> None:
    """The command, one thread a process."""
    done = subprocess.run(
        [sys.executable, "-m", "assent", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    if done.returncode:
        sys.exit(f"assent {' '.join(words)} failed:\n{done.stderr.decode()}")


def step_seconds(folder: Path, number: int, steps: int) -> float:
    """Median seconds of a step of `assent sft`, the first two left out."""
    out = folder / f"out-{number}"
    shutil.rmtree(out, ignore_errors=True)
    words = ["sft", "--model", str(folder / "policy"), "--data", str(folder / "rows.jsonl"), "--out", str(out)]
    words += ["--max-steps", str(steps), "--batch-size", "32", "--nproc", str(number)]
    assent(*words)
    rows = [json.loads(line) for line in (out / "timing.jsonl").read_text(encoding="ascii").splitlines()]
    return statistics.median(row["seconds"] for row in rows[2:])


def speedup(folder: Path, steps: int, repeats: int) -> float:
    ratios: list[float] = []
    for _ in range(repeats):
        one, two = (step_seconds(folder, number, steps) for number in (1, 2))
        print(f"seconds of a step: {one:.3f} in one process, {two:.3f} in two")
        ratios.append(one / two)
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        make_models(folder, SHAPE)
        write_rows(folder / "rows.jsonl", demonstrations(Texts(SHAPE.vocabulary, 0), 256))
        found = {
            "ranks_gradient_gap": gradient_gap(folder / "gradients"),
            "speedup_2": round(speedup(folder, options.steps, options.repeats), 3),
            "ray_identical": ray_identical(folder / "ray"),
            "reshard_identical": reshard_identical(folder / "shards"),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
