"""Standard tasks by EleutherAI's lm-evaluation-harness, where it is installed (extra ``lmeval``)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from assent.errors import RecipeError


def standard_tasks(
    model: str, tasks: Sequence[str], limit: int | None = None, folder: str | Path | None = None
) -> dict[str, float]:
    """``task/metric`` -> value of a model folder or hub name, as the harness names them (``hellaswag/acc_norm``).

    ``limit``: the first so many rows of each task.  ``folder``: further task files.  Tasks come with their data from
    the hub unless a file of ``folder`` says otherwise.

    Raises :class:`RecipeError` where the harness is not installed or does not know a task.
    """
    try:
        harness, knowing = import_module("lm_eval"), import_module("lm_eval.tasks")
    except ImportError:
        raise RecipeError(
            "standard tasks need lm-evaluation-harness, which is not installed; pip install 'assent[lmeval]'"
        ) from None
    manager = knowing.TaskManager(include_path=None if folder is None else str(folder))
    known = set(manager.all_tasks)
    if strange := next((task for task in tasks if task not in known), None):
        raise RecipeError(f"lm-evaluation-harness has no task '{strange}'; 'lm-eval ls tasks' lists them")
    found: dict[str, Any] = harness.simple_evaluate(
        model="hf",
        model_args={"pretrained": model},
        tasks=list(tasks),
        limit=limit,
        task_manager=manager,
        bootstrap_iters=0,
        log_samples=False,
    )
    return {
        f"{task}/{metric.partition(',')[0]}": float(value)
        for task, row in found["results"].items()
        for metric, value in row.items()
        if "," in metric and "_stderr" not in metric and isinstance(value, (int, float))
    }
