"""The contrast stage: which samples a demonstration is set against, by hand; and what it says of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assent.data.jsonl import write_completions, write_jsonl
from assent.data.readers import read_comparisons, read_demonstrations, read_prompts
from assent.errors import DataError
from assent.pipeline.run import run_stage
from assent.types import Completion, Demonstration, Prompt

A, B, C = (Prompt(name, text=f"Film {name}:") for name in "abc")


def drawn(prompt: Prompt, *texts: str) -> list[tuple[Prompt, Completion]]:
    return [(prompt, Completion(f"{prompt.id}/{i}", prompt.id, text)) for i, text in enumerate(texts)]


def contrast(folder: Path, demonstrations: list[Demonstration], samples: Any, silent: Any) -> list[Any]:
    write_jsonl(folder / "demos.jsonl", demonstrations)
    write_completions(folder / "completions.jsonl", samples)
    settings = {"data": str(folder / "demos.jsonl"), "completions": str(folder / "completions.jsonl")}
    out = run_stage("contrast", settings, folder / "out", say=silent, progress=silent)
    return read_comparisons(out / "comparisons.jsonl")


def test_each_demonstration_is_chosen_over_each_sample_of_its_prompt(tmp_path, silent):
    demonstrations = [Demonstration(A, "good", author="ann"), Demonstration(B, "long"), Demonstration(A, "fine")]
    pairs = contrast(tmp_path, demonstrations, [*drawn(A, "bad", "dull", "bad", ""), *drawn(B, "x")], silent)
    assert [(p.prompt.id, p.chosen, p.rejected, p.weight) for p in pairs] == [
        *(("a", "good", text, 0.25) for text in ("bad", "dull", "bad", "")),
        *(("a", "fine", text, 0.25) for text in ("bad", "dull", "bad", "")),
        ("b", "long", "x", 1.0),
    ]
    assert {(p.criterion, p.tie, p.group == p.prompt.id) for p in pairs} == {("demonstration", False, True)}
    assert [p.annotator for p in pairs[3:5]] == ["ann", ""]
    assert len({p.id for p in pairs}) == 9
    assert len(silent.said) == 1  # the stage is done


def test_what_is_left_out_is_counted_and_said(tmp_path, silent):
    demonstrations = [Demonstration(A, "good"), Demonstration(B, "long")]
    pairs = contrast(tmp_path, demonstrations, [*drawn(A, "good", "bad", "good"), *drawn(C, "x", "y")], silent)
    # the weight of the samples that equal the demonstration is not given to the other
    assert [(p.chosen, p.rejected, p.weight) for p in pairs] == [("good", "bad", pytest.approx(1 / 3))]
    assert silent.said[:-1] == [
        "2 samples equal to their demonstration left out",
        "1 prompts with a demonstration and no sample left out",
        "1 prompts with samples and no demonstration left out",
    ]
    figures = json.loads((tmp_path / "out" / "manifest.json").read_text())["metrics"]
    assert figures == {
        "comparisons": 1,
        "prompts": 1,
        "equal_samples": 2,
        "prompts_without_samples": 1,
        "prompts_without_demonstrations": 1,
    }


def test_a_prompt_sampled_twice_under_one_id_counts_once(tmp_path, silent):
    pairs = contrast(tmp_path, [Demonstration(A, "good")], [*drawn(A, "bad", "dull"), *drawn(A, "bad", "dull")], silent)
    assert [(p.rejected, p.weight) for p in pairs] == [("bad", 0.5), ("dull", 0.5)]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (drawn(C, "x"), "none of its 1 prompts has a demonstration in .*demos.jsonl; sample the prompts of"),
        (drawn(A, "good"), "every sample equals its demonstration"),
    ],
)
def test_nothing_to_tell_apart_is_an_error(tmp_path, silent, samples, message):
    with pytest.raises(DataError, match=message) as caught:
        contrast(tmp_path, [Demonstration(A, "good")], samples, silent)
    assert "completions.jsonl" in str(caught.value)


TALK = [{"role": role, "content": text} for role, text in (("user", "hi"), ("assistant", "yo"))]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "The film", "completion": " is good"},
        {"id": 7, "prompt": "The film", "completion": " is good"},
        {"prompt_id": "p7", "prompt": "The film", "response": " is good"},
        {"prompt": TALK[:1], "completion": TALK[1:]},
        {"messages": [*TALK, {"role": "user", "content": "so?"}, {"role": "assistant", "content": "so"}]},
        {"instruction": "Add", "input": "1 2", "system": "Be brief", "output": "3"},
        {"question": "Why?", "answer": "So."},
    ],
    ids=lambda row: "-".join(row),
)
def test_the_prompts_of_a_demonstrations_file_find_their_demonstrations(tmp_path, silent, row):
    """What the sample stage reads of such a file, it writes; rows of every layout are found again."""
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    prompts = read_prompts(tmp_path / "rows.jsonl")
    write_completions(tmp_path / "completions.jsonl", drawn(prompts[0], "something else"))
    settings = {"data": str(tmp_path / "rows.jsonl"), "completions": str(tmp_path / "completions.jsonl")}
    out = run_stage("contrast", settings, tmp_path / "out", say=silent, progress=silent)
    (pair,) = read_comparisons(out / "comparisons.jsonl")
    (demonstration,) = read_demonstrations(tmp_path / "rows.jsonl")
    assert (pair.prompt, pair.chosen, pair.rejected) == (
        demonstration.prompt,
        demonstration.response,
        "something else",
    )
