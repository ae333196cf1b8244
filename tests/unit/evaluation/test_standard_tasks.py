"""What is asked of lm-evaluation-harness, and what is read from its answer; the harness itself is stood in for."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from assent.errors import RecipeError
from assent.evaluation.standard_tasks import standard_tasks


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def simple_evaluate(**given: Any) -> dict[str, Any]:
        calls.append(given)
        row = {"alias": "arc", "acc,none": 0.25, "acc_stderr,none": "N/A", "acc_norm,none": 0.5, "sample_len": 8}
        return {"results": {"arc_easy": row}}

    harness, tasks = ModuleType("lm_eval"), ModuleType("lm_eval.tasks")
    harness.simple_evaluate = simple_evaluate  # pyright: ignore[reportAttributeAccessIssue]
    tasks.TaskManager = lambda include_path: SimpleNamespace(all_tasks=["arc_easy"])  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "lm_eval", harness)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", tasks)
    return calls


def test_figures_are_named_by_task_and_metric(asked: list[dict[str, Any]]) -> None:
    assert standard_tasks("out/ppo", ["arc_easy"], limit=8) == {"arc_easy/acc": 0.25, "arc_easy/acc_norm": 0.5}
    assert asked[0]["model_args"] == {"pretrained": "out/ppo"}
    assert asked[0]["limit"] == 8


def test_an_unknown_task_is_named(asked: list[dict[str, Any]]) -> None:
    with pytest.raises(RecipeError, match="no task 'arc_hard'"):
        standard_tasks("out/ppo", ["arc_hard"])
    assert asked == []


def test_a_missing_harness_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(RecipeError, match=r"assent\[lmeval\]"):
        standard_tasks("out/ppo", ["arc_easy"])
