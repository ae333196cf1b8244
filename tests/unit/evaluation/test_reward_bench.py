"""RewardBench's sections and weights on rows made here, for a reward that is known; both versions; what is refused."""

from __future__ import annotations

import json
from math import tanh
from pathlib import Path
from typing import Any

import pytest

from assent.errors import DataError
from assent.evaluation.reward_bench import read_reward_bench, run_reward_bench
from assent.rewards.rule import FunctionReward

LONGEST = FunctionReward(lambda prompt, text: float(len(text)))
NUMBER = FunctionReward(lambda prompt, text: float(text))


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def pair(subset: str, chosen: str, rejected: str, prompt: Any = "Say it") -> dict[str, Any]:
    return {"id": 3, "subset": subset, "prompt": prompt, "chosen": chosen, "rejected": rejected}


def test_the_first_version_weighs_subsets_and_sections(tmp_path: Path):
    turns = [{"role": "user", "content": "Hi"}]
    rows = [
        *[pair("alpacaeval-easy", "long", "no")] * 3,
        pair("alpacaeval-easy", "no", "long"),
        pair("mt-bench-easy", "no", "long"),
        pair("math-prm", "long", "no"),
        pair("hep-go", "same", "size"),  # equal scores are no win
        pair("shp", "long", "no", turns),
        pair("summarize", "no", "long", turns),
    ]
    version, items = read_reward_bench(write(tmp_path / "bench.jsonl", rows))
    assert items[0].prompt.messages is not None
    found = run_reward_bench(LONGEST, version, items)
    chat, reasoning = 0.75 * 100 / 128, 984 / (984 + 164)
    assert found.subsets["alpacaeval-easy"] == 0.75
    assert found.sections == pytest.approx({"Chat": chat, "Reasoning": reasoning, "Prior Sets": 0.5})
    assert found.score == pytest.approx((chat + reasoning + 0.5 * 0.5) / 2.5)
    assert found.counts["alpacaeval-easy"] == 4
    assert "mt-bench-hard" in found.missing
    assert "anthropic_hhh" not in found.missing  # the prior sets are files of their own


def test_the_second_version_is_the_best_of_four_and_its_ties(tmp_path: Path):
    def row(ident: str, subset: str, chosen: list[int], rejected: list[int]) -> dict[str, Any]:
        sides = {"chosen": [str(n) for n in chosen], "rejected": [str(n) for n in rejected]}
        return {"id": ident, "subset": subset, "prompt": "?", "num_correct": len(chosen), **sides}

    rows = [
        row("0", "Math", [5], [1, 2, 3]),
        row("1", "Math", [5], [5, 5, 3]),
        row("2", "Focus", [1], [5, 1, 0]),
        row("ref:0", "Ties", [9], [1, 2]),
        row("tied:0", "Ties", [6, 8, 7], [1, 2]),
        row("ref:1", "Ties", [3], [4, 2]),
        row("tied:1", "Ties", [9, 5, 5], [2, 1]),
    ]
    version, items = read_reward_bench(write(tmp_path / "bench2.jsonl", rows), chat=False)
    assert (version, items[0].prompt.text) == (2, "?\n\n")
    found = run_reward_bench(NUMBER, version, items)
    assert found.subsets["Math"] == pytest.approx((1 + 1 / 3) / 2)
    assert found.subsets["Focus"] == 0.0
    # of two tied prompts: both right; one of two references; gaps 4 > 2 and 3 < 4; the least gaps 4 and -1
    margin = (tanh(4 / 2 - 1) + tanh(-1 / 4 - 1)) / 2
    assert found.subsets["Ties"] == pytest.approx(0.3 * 0.5 + 0.3 + 0.2 * 0.5 + 0.2 * 0.5 + 0.01 * margin)
    assert found.score == pytest.approx(sum(found.subsets.values()) / 3)
    assert found.missing == ("Factuality", "Precise IF", "Safety")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "?", "chosen": "a", "subset": "shp"}, "line 2: expected RewardBench's columns"),
        (pair("shp", "a", "b", [{"content": "?"}]), "line 2: prompt: expected a text, or a list of messages"),
        ({**pair("Math", "a", "b"), "chosen": ["a"], "num_correct": 1}, "line 2: is a row of RewardBench 2 among"),
    ],
)
def test_rows_of_another_form(row: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(DataError, match=message):
        read_reward_bench(write(tmp_path / "bench.jsonl", [pair("shp", "a", "b"), row]))
