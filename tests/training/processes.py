"""Work done by several processes that have found each other, as ``torchrun`` would start them."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

_CONTEXT = multiprocessing.get_context("forkserver")  # its server imports torch once for all of them
_CONTEXT.set_forkserver_preload(
    ["assent.training.supervised", "assent.training.on_policy", "transformers.models.llama.modeling_llama"]
)


def in_processes(number: int, work: Callable[..., Any], folder: Path, *arguments: Any) -> dict[int, Any]:
    """What ``work(*arguments)`` returned in each of ``number`` processes, by rank; of one that was killed, nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ranks = [
        _CONTEXT.Process(target=_ranked, args=(rank, number, port, work, folder, arguments)) for rank in range(number)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(240)
        assert process.exitcode is not None, "a process hangs"
    found = {rank: folder / f"rank-{rank}.pt" for rank in range(number)}
    return {rank: torch.load(path, weights_only=False) for rank, path in found.items() if path.exists()}


def _ranked(
    rank: int, number: int, port: int, work: Callable[..., Any], folder: Path, arguments: tuple[Any, ...]
) -> None:
    place: Mapping[str, Any] = {"RANK": rank, "WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    torch.set_num_threads(1)
    torch.save(work(*arguments), folder / f"rank-{rank}.pt")
