"""Memory, traffic and time of PPO on many GPUs, worked out by formulas, and the formulas held against small runs.

`python -m benchmarks.scale` prints the tables of docs/scale.md, then one JSON line: how far each formula is from what a
small run measures, as a share (0 = exact).

- ``parameters``: weights of three shapes, against `transformers`' own models (on the meta device).
- ``flops``: operations of a forward and of a backward pass, against PyTorch's counter.
- ``cache``: bytes of keys and values of a token, against the cache of a model that ran.
- ``training``: bytes of weights, gradients and Adam's moments of each of two processes with shards, against theirs.
- ``activations``: bytes that a checkpointed block keeps of a token, against what is alive between the passes.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.distributed.tensor import DTensor
from torch.utils.flop_counter import FlopCounterMode

from assent.training import distributed
from benchmarks.scaling import in_processes, training_of

GB = 1e9


@dataclass(frozen=True)
class Shape:
    """A Llama."""

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    vocabulary: int

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def block(self) -> int:
        """Weights of one block."""
        attention = 2 * self.width * self.width + 2 * self.width * self.kv_heads * self.head_dim
        return attention + 3 * self.width * self.hidden + 2 * self.width

    @property
    def weights(self) -> int:
        """All of them, embeddings and head apart from one another."""
        return self.layers * self.block + 2 * self.vocabulary * self.width + self.width

    @property
    def cache(self) -> int:
        """Numbers that the cache keeps of a token."""
        return 2 * self.layers * self.kv_heads * self.head_dim

    def flops(self, length: int) -> float:
        """Operations of a token's forward pass, in a row of ``length`` tokens; the backward pass has twice as many.

        Scores and sums over all the row's positions: the half above the diagonal is skipped by good kernels only.
        """
        products = self.weights - self.vocabulary * self.width - (2 * self.layers + 1) * self.width
        return 2 * products + 4 * self.layers * length * self.width

    def config(self) -> transformers.LlamaConfig:
        return transformers.LlamaConfig(
            num_hidden_layers=self.layers, hidden_size=self.width, num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads, intermediate_size=self.hidden, vocab_size=self.vocabulary,
            tie_word_embeddings=False, max_position_embeddings=4096,
        )  # fmt: skip


L70 = Shape("70B", 80, 8192, 64, 8, 28672, 128_256)
L8 = Shape("8B", 32, 4096, 32, 8, 14336, 128_256)
TINY = Shape("tiny", 4, 64, 4, 2, 160, 500)


@dataclass(frozen=True)
class Machine:
    """GPUs, and what is hoped of them: the shares are aims, not measurements."""

    gpus: int = 64
    a_node: int = 8
    memory: float = 80e9
    peak: float = 989e12
    """bfloat16 operations a second."""
    bandwidth: float = 3.35e12
    """Bytes a second of a GPU's memory."""
    network: float = 50e9
    """Bytes a second of a GPU to other nodes."""
    trained: float = 0.40
    """Share of the peak in training."""
    prefilled: float = 0.50
    """Share of the peak where prompts or whole rows are read."""
    decoded: float = 0.60
    """Share of the bandwidth in decoding."""


@dataclass(frozen=True)
class Work:
    """A step."""

    completions: int = 1024
    prompt: int = 512
    new: int = 512
    epochs: int = 1
    microbatch: int = 8192
    """Tokens of a microbatch of one GPU."""

    @property
    def row(self) -> int:
        return self.prompt + self.new

    @property
    def tokens(self) -> int:
        return self.completions * self.row


# --- what a GPU holds ------------------------------------------------------------------------------------------------


def training_bytes(shape: Shape, gpus: int) -> float:
    """Weights, gradients and two moments in float32, in shards."""
    return 16 * shape.weights / gpus


def activation_bytes(shape: Shape, tokens: int, size: int = 2) -> float:
    """What checkpointed blocks keep: their inputs."""
    return size * shape.layers * shape.width * tokens


def memory(shape: Shape, machine: Machine, work: Work) -> dict[str, float]:
    """Bytes of one GPU by role, all of which trains and draws in turn."""
    gathered = 2 * 2 * shape.block + 2 * 2 * shape.vocabulary * shape.width
    return {
        "policy: shards of weights, gradients, Adam": training_bytes(shape, machine.gpus),
        "critic, of the policy's size: the same": training_bytes(shape, machine.gpus),
        "reference, bfloat16 shards": 2 * shape.weights / machine.gpus,
        "reward model, bfloat16 shards": 2 * shape.weights / machine.gpus,
        "gathered: two blocks, embeddings, head (bfloat16)": gathered,
        "inputs of the blocks of a microbatch": activation_bytes(shape, work.microbatch),
        "vLLM's copy, split over a node (bfloat16)": 2 * shape.weights / machine.a_node,
    }


# --- what a step takes -----------------------------------------------------------------------------------------------


def decode_seconds(shape: Shape, machine: Machine, work: Work) -> float:
    """Each node draws its share of the completions at once; a step of it reads the weights and the caches once."""
    rows = work.completions * machine.a_node / machine.gpus
    cached = rows * 2 * shape.cache * (work.prompt + work.new / 2)
    read = (2 * shape.weights + cached) / machine.a_node
    return work.new * read / (machine.bandwidth * machine.decoded)


def pass_seconds(shape: Shape, machine: Machine, tokens: float, row: int, share: float, passes: float = 1) -> float:
    return passes * tokens * shape.flops(row) / (machine.gpus * machine.peak * share)


def step_seconds(shape: Shape, machine: Machine, work: Work) -> dict[str, float]:
    """Seconds of each part of a step of PPO; ``passes`` 4 = forward, recomputed, backward (twice a forward)."""
    prompts = work.completions * work.prompt
    scored = pass_seconds(shape, machine, work.tokens, work.row, machine.prefilled)
    trained = pass_seconds(shape, machine, work.tokens * work.epochs, work.row, machine.trained, 4)
    microbatches = max(1.0, work.tokens / machine.gpus / work.microbatch) * work.epochs
    # a microbatch gathers the weights forward and backward, and adds up the gradients, over the network between nodes
    traffic = microbatches * (2 * 2 + 4) * shape.weights / machine.a_node / machine.network
    return {
        "weights to vLLM (gathered once by each node)": 2 * shape.weights / machine.a_node / machine.network,
        "prompts read": pass_seconds(shape, machine, prompts, work.prompt, machine.prefilled),
        "completions drawn": decode_seconds(shape, machine, work),
        "log-probabilities, reference, values, rewards: four passes": 4 * scored,
        "policy trained": max(trained, traffic),
        "critic trained": max(trained, traffic),
        "of each of these two, traffic behind the products": traffic,
    }


def seconds_of(parts: dict[str, float]) -> float:
    return sum(seconds for name, seconds in parts.items() if not name.startswith("of each"))


# --- what small runs say ---------------------------------------------------------------------------------------------


def off(formula: float, measured: float) -> float:
    return abs(formula - measured) / measured


def parameters_off(shape: Shape) -> float:
    with torch.device("meta"):
        model: Any = transformers.AutoModelForCausalLM.from_config(shape.config())
    return off(shape.weights, sum(p.numel() for p in model.parameters()))


def _tiny() -> Any:
    return transformers.AutoModelForCausalLM.from_config(TINY.config(), attn_implementation="eager")


def flops_off(rows: int = 3, length: int = 48) -> float:
    model = _tiny()
    tokens = torch.randint(TINY.vocabulary, (rows, length))
    with FlopCounterMode(display=False) as forward:
        loss = model(input_ids=tokens).logits.sum()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    want = rows * length * TINY.flops(length)
    return max(off(want, forward.get_total_flops()), off(2 * want, backward.get_total_flops()))


def cache_off(rows: int = 3, length: int = 48) -> float:
    kept = _tiny()(input_ids=torch.randint(TINY.vocabulary, (rows, length)), use_cache=True).past_key_values
    return off(rows * length * TINY.cache, sum(layer.keys.numel() + layer.values.numel() for layer in kept.layers))


def _alive() -> int:
    """Bytes of the tensors that Python knows of, each storage once."""
    gc.collect()
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in gc.get_objects() if _is_tensor(t)}
    return sum(storages.values())


def _is_tensor(thing: object) -> bool:
    return type(thing) in (torch.Tensor, torch.nn.Parameter)


def kept_bytes(layers: int, rows: int, length: int) -> int:
    """What is there after a forward pass and was not before it."""
    config = TINY.config()
    config.num_hidden_layers = layers
    model: Any = transformers.AutoModelForCausalLM.from_config(config).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    tokens = torch.randint(TINY.vocabulary, (rows, length))
    before = _alive()
    loss = model(input_ids=tokens, use_cache=False).logits.sum()
    kept = _alive() - before
    loss.backward()
    return kept


def activations_off(rows: int = 16, length: int = 256) -> float:
    """By two depths, so that what is not of the blocks falls out; the generator's state that each keeps is left."""
    more = kept_bytes(8, rows, length) - kept_bytes(4, rows, length)
    return off(activation_bytes(TINY, rows * length, 4), more)


def held(folder: Path) -> dict[str, int]:
    """What this process holds of a policy in shards as its optimiser has taken a step: bytes, and all its weights."""
    torch.set_num_threads(1)
    distributed.join()
    training = training_of("grpo", "fsdp", folder, optimised=True)
    parameters = list(training.roles.trained["policy"].parameters())
    optimizer = training.optimizers["policy"]
    found: dict[str, int] = {"weights": sum(p.numel() for p in parameters)}

    def count(*_: Any) -> None:
        moments = [optimizer.state[p][name] for p in parameters for name in ("exp_avg", "exp_avg_sq")]
        tensors = [*parameters, *(p.grad for p in parameters if p.grad is not None), *moments]
        local = [t.to_local() if isinstance(t, DTensor) else t for t in tensors]
        found["bytes"] = sum(t.numel() * t.element_size() for t in local)

    optimizer.register_step_post_hook(count)
    training.one_step()
    return found


def training_off(folder: Path, processes: int = 2) -> float:
    found = in_processes(processes, held, folder)
    return off(16 * found[0]["weights"], sum(each["bytes"] for each in found.values()))


# --- tables ----------------------------------------------------------------------------------------------------------


def table(title: str, head: str, rows: dict[str, float], unit: float = 1.0) -> None:
    print(f"\n{title}\n\n| {head} |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value / unit:.1f} |")


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    machine, work = Machine(), Work()
    found = memory(L70, machine, work)
    table(f"{L70.name}, {machine.gpus} GPUs: memory of one", "what | GB", found, GB)
    left = machine.memory - sum(found.values()) + found["inputs of the blocks of a microbatch"]
    room = left * machine.a_node / (2 * L70.cache * work.row)
    print(f"\nsum {sum(found.values()) / GB:.1f} GB; a node's caches hold {room:.0f} rows of {work.row} while it draws")
    parts = step_seconds(L70, machine, work)
    table(f"{L70.name}, {machine.gpus} GPUs: {work.completions} completions", "part of a step | seconds", parts)
    total = seconds_of(parts)
    print(f"\nsum {total:.0f} s; completions a day: {86_400 / total * work.completions / 1e6:.2f} million")
    print("\nGPUs for a million prompts a day, four completions each\n\n| model | GPUs |\n|---|---|")
    for shape in (L8, L70):
        one = Machine(gpus=8)
        seconds = seconds_of(step_seconds(shape, one, work))
        print(f"| {shape.name} | {8 * seconds / work.completions * 4e6 / 86_400:.0f} |")
    with tempfile.TemporaryDirectory() as made:
        checked = {
            "parameters": max(parameters_off(shape) for shape in (L70, L8, TINY)),
            "flops": flops_off(),
            "cache": cache_off(),
            "training": training_off(Path(made) / "held"),
            "activations": activations_off(),
        }
    print(json.dumps({name: round(value, 4) for name, value in checked.items()}))


if __name__ == "__main__":
    main()
