"""How fast the in-process engine decodes, against the model's own forward pass and the plain cumulative sum.

`python -m benchmarks.decode [a b32 b128] [--rounds 3]` prints a table, then one JSON line.  Both engines run in turn in
one process, on the same prompts and the same random numbers, with the end-of-sequence token off; in `a-stop` and
`a-queue` rows end after about 29 tokens.  Each shape takes the median of its rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig

from assent.models.causal import CausalModel
from assent.rollout import sampling
from assent.rollout.engine import EncodedPrompt
from assent.rollout.local import LocalEngine
from assent.testing.tiny import tiny_tokenizer
from assent.types import SamplingSettings


@dataclass(frozen=True)
class Shape:
    """A model and the rows it decodes."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    rows: int
    prompt: tuple[int, int]
    """Shortest and longest prompt."""
    new: int
    samples: int = 1
    """Of each prompt."""
    eos_bias: float | None = None
    """Added to the logit of the end-of-sequence token; ``None``: it is never drawn."""
    dtype: torch.dtype = torch.float32


SHAPES = {
    "a": Shape(4, 96, 4, 768, 128, (20, 30), 64),
    "a-stop": Shape(4, 96, 4, 768, 128, (20, 30), 64, eos_bias=3.2),
    "a-queue": Shape(4, 96, 4, 768, 512, (20, 30), 64, samples=4, eos_bias=3.2),
    "b32": Shape(6, 288, 6, 32_000, 32, (8, 64), 64, samples=8),
    "b128": Shape(6, 288, 6, 32_000, 128, (8, 64), 64, samples=8),
    "b32-bf16": Shape(6, 288, 6, 32_000, 32, (8, 64), 64, samples=8, dtype=torch.bfloat16),
}


class OwnForward(LocalEngine):
    """Decodes by the model's own forward pass, whatever its architecture."""

    def _fast_weights(self) -> None:
        return None


def whole_cumulative(p: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """What :func:`assent.rollout.sampling.invert` is quick at."""
    cumulative = p.double().cumsum(-1)
    total = cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, uniforms[:, None] * total, right=True)[:, 0]
    return tokens.clamp(max=p.shape[1] - 1), total[:, 0]


def make_policy(shape: Shape) -> CausalModel:
    """A random Llama."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=-(-shape.width * 8 // 3 // 32) * 32,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    model: Any = AutoModelForCausalLM.from_config(config, dtype=shape.dtype)
    head = torch.nn.Linear(shape.width, shape.vocabulary, dtype=shape.dtype)
    with torch.no_grad():
        head.weight.copy_(model.get_input_embeddings().weight)
        head.bias.zero_()
        head.bias[tokenizer.eos_token_id] = -1e9 if shape.eos_bias is None else shape.eos_bias
    model.config.tie_word_embeddings = False
    model.set_output_embeddings(head)
    return CausalModel(model.eval(), tokenizer)


def measure(shape: Shape, rounds: int) -> dict[str, float]:
    """Median tokens per second of both engines, their ratio round by round, and how far their samples agree."""
    policy = make_policy(shape)
    generator = torch.Generator().manual_seed(1)
    low, high = shape.prompt
    lengths = torch.randint(low, high + 1, (shape.rows // shape.samples,), generator=generator).tolist()
    prompts = [
        EncodedPrompt(str(i), tuple(torch.randint(3, shape.vocabulary, (n,), generator=generator).tolist()))
        for i, n in enumerate(lengths)
    ]
    settings = SamplingSettings(max_new_tokens=shape.new)
    slow, fast = OwnForward(policy), LocalEngine(policy)

    def timed(engine: LocalEngine) -> tuple[float, list[tuple[int, ...]]]:
        start = time.perf_counter()
        found = engine.generate(prompts, settings, shape.samples)
        tokens = [c.token_ids for c in found]
        return sum(map(len, tokens)) / (time.perf_counter() - start), tokens

    before, after = list[float](), list[float]()
    same = 0.0
    for _ in range(rounds):
        with patch.object(sampling, "invert", whole_cumulative):
            rate, one = timed(slow)
        before.append(rate)
        rate, other = timed(fast)
        after.append(rate)
        same = sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
    return {
        "before": round(statistics.median(before), 1),
        "after": round(statistics.median(after), 1),
        "ratio": round(statistics.median(a / b for a, b in zip(after, before, strict=True)), 2),
        "same_rows": round(same, 3),
    }


def main() -> None:
    """Print the table and the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", help=f"of {', '.join(SHAPES)}; all when none is given")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    unknown = set(asked.shapes) - set(SHAPES)
    if unknown:
        sys.exit(f"unknown shape {', '.join(sorted(unknown))}; the shapes are {', '.join(SHAPES)}")
    print(f"{torch.get_num_threads()} threads, generated tokens per second, medians of {asked.rounds} rounds")
    print(f"{'shape':10} {'own forward':>12} {'engine':>10} {'ratio':>7} {'same rows':>10}")
    found: dict[str, dict[str, float]] = {}
    for name in asked.shapes or SHAPES:
        r = found[name] = measure(SHAPES[name], asked.rounds)
        print(f"{name:10} {r['before']:12.0f} {r['after']:10.0f} {r['ratio']:7.2f} {r['same_rows']:10.1%}", flush=True)
    print(json.dumps({"decode": found, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
