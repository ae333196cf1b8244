"""What the recorders share: rows of a fixture laid out as padded tensors, and the JSON file that they write.

Imports torch and nothing of assent or of what is recorded, so that it loads in any of the environments.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).parent
VOCABULARY = 32
PROMPT_LOGPROB = -0.7
"""Of every prompt token: no loss may look at it, so that its gradient must be zero."""

Rows = Mapping[str, Any]


def random_rows(seed: int, prompts: Sequence[int], completions: Sequence[int], **spread: float) -> dict[str, Any]:
    """Rows with ``logprobs`` of each completion token, and for each name of ``spread`` others that far from them.

    Rounded, so that the file is short and says exactly what went in.
    """
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, Any] = {"prompt_lengths": list(prompts), "completion_lengths": list(completions)}
    logprobs = [-0.2 - 1.5 * torch.rand(n, generator=generator, dtype=torch.float64) for n in completions]
    rows["logprobs"] = [rounded(row) for row in logprobs]
    for name, size in spread.items():
        away = [row + size * torch.randn(len(row), generator=generator, dtype=torch.float64) for row in logprobs]
        rows[name] = [rounded(row.clamp(max=-0.01)) for row in away]
    return rows


def random_numbers(seed: int, count: int, scale: float = 1.0) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    return rounded(scale * torch.randn(count, generator=generator, dtype=torch.float64))


def rounded(values: Tensor) -> list[float]:
    return [round(float(v), 4) for v in values]


def masks(rows: Rows) -> tuple[Tensor, Tensor]:
    """[B, T] bool: the real tokens, and those of the completion, of rows padded on the right."""
    prompts = torch.tensor(rows["prompt_lengths"])[:, None]
    ends = prompts + torch.tensor(rows["completion_lengths"])[:, None]
    positions = torch.arange(int(ends.max()))[None, :]
    return positions < ends, (positions >= prompts) & (positions < ends)


def padded(rows: Rows, name: str, fill: float = PROMPT_LOGPROB) -> Tensor:
    """[B, T] float64: what ``name`` holds of each completion token; ``fill`` elsewhere."""
    completion = masks(rows)[1]
    table = torch.full(completion.shape, fill, dtype=torch.float64)
    table[completion] = torch.tensor([v for row in rows[name] for v in row], dtype=torch.float64)
    return table


def by_row(values: Tensor, rows: Rows) -> list[list[float]]:
    """The entries of ``values`` [B, T] at each row's completion tokens; elsewhere they must be zero."""
    completion = masks(rows)[1]
    if bool((values.detach() * ~completion).any()):
        raise ValueError("something outside the completions is not zero")
    return [values[b][completion[b]].tolist() for b in range(len(values))]


def write_fixture(
    path: Path, packages: Iterable[str], inputs: Mapping[str, Rows], cases: Sequence[Mapping[str, Any]], **more: str
) -> None:
    """Inputs, settings and results, with what they were recorded from; one case a line."""
    provenance = {
        "recorded": date.today().isoformat(),
        "command": " ".join(["python", f"tests/golden/{Path(sys.argv[0]).name}", *more.pop("arguments", "").split()]),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        **more,
    }
    named = {"inputs": inputs, "cases": {case["name"]: case for case in cases}}
    parts = [f'"provenance": {json.dumps(provenance)}']
    parts += [f'"{key}": {_lines(value)}' for key, value in named.items()]
    path.write_text("{" + ",\n".join(parts) + "}\n")
    print(f"{path.name}: {len(cases)} cases, {path.stat().st_size / 1000:.0f} kB")


def _lines(table: Mapping[str, Any]) -> str:
    return "{\n" + ",\n".join(f'  "{name}": {json.dumps(value)}' for name, value in table.items()) + "\n}"
