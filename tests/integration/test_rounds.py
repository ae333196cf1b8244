"""Two rounds of a recipe: what each asks, learns and is measured by; killed in the second, and waiting for people."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from whole_runs import run_beside

from assent.cli import main
from assent.data.readers import read_comparisons, read_completions, read_rankings
from assent.feedback.answers import Answer
from assent.feedback.responses import Preference
from assent.feedback.store import FeedbackStore
from assent.rewards.model import load_models
from assent.runs.manifest import read_manifest
from assent.types import Prompt

RECIPE = """
name: r
stages:
  round:
    rounds: 2
    changes:
      1:
        select: {method: random}
        policy: {methods: {rejection: {share: 0.5, samples_per_prompt: 2}, rloo: {share: 0.5}}}
    stages:
      sample:
        {model: $previous.policy or policy, mix: {old: $older.policy or policy}, data: prompts.jsonl, n: 3,
         max_new_tokens: 6}
      select:
        {data: $sample/completions.jsonl, reward: $previous.reward, asked: [$earlier.collect/rankings.jsonl],
         answers: 6}
      collect:
        {data: $select/completions.jsonl, task: pairwise, truth: rules.py:words,
         annotators: [{name: ann, tie_width: 0, fail_below: -99}]}
      comparisons: {data: $collect/rankings.jsonl, held_out: 0.4}
      answers: {uses: join, data: [$all.comparisons/train.jsonl]}
      reward: {model: policy, data: $answers/rows.jsonl, members: 2, ensemble: heads, max_steps: 2}
      drift:
        {reward: $reward, previous: $previous.reward, held_out: {round: $all.comparisons/held_out.jsonl},
         answers: $collect/rankings.jsonl, least_accuracy: 0}
      policy:
        {model: $previous.policy or policy, reward: $reward, data: prompts.jsonl, steps: 4, batch_size: 8,
         max_new_tokens: 6, save_steps: 1, methods: {rloo: {}}}
      evaluate:
        {policies: {round: $all.policy or policy}, reference: round0, data: prompts.jsonl, max_new_tokens: 6,
         judge_function: rules.py:words, judge_kind: function, group_samples: 0}
"""


@pytest.fixture(scope="module")
def home(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounds")
    return run_beside(workshop, folder, RECIPE)


@pytest.fixture(autouse=True)
def _there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def test_a_round_asks_its_budget_and_nothing_twice(home: Path) -> None:
    asked = [read_rankings(f"runs/r/round{n}.collect/rankings.jsonl") for n in (1, 2)]
    assert [len(found) for found in asked] == [6, 6]
    questions = [{(r.prompt.id, frozenset(r.texts)) for r in found} for found in asked]
    assert not questions[0] & questions[1]
    worth = [json.loads(line)["worth"] for line in _lines("runs/r/round2.select/selection.jsonl")]
    assert len(worth) == 6
    assert worth == sorted(worth, reverse=True)
    assert worth[0] > 0


def test_a_round_learns_from_all_answers_so_far() -> None:
    rows = [read_comparisons(f"runs/r/round{n}.comparisons/train.jsonl") for n in (1, 2)]
    joined = read_comparisons("runs/r/round2.answers/rows.jsonl")
    assert [c.id for c in joined] == [c.id for part in rows for c in part]
    read = {item.name: item.source for item in read_manifest(Path("runs/r/round2.reward")).inputs}
    assert read["data"] == "$round2.answers/rows.jsonl"


def test_drift_is_measured_on_every_round_beside_the_reward_model_before() -> None:
    first, second = (read_manifest(Path(f"runs/r/round{n}.drift")).metrics for n in (1, 2))
    assert {"accuracy/round1"} == {name for name in first if name.startswith("accuracy/")}
    assert {"accuracy/round1", "accuracy/round2"} == {name for name in second if name.startswith("accuracy/")}
    assert second["before/round1"] == first["accuracy/round1"]
    assert second["change/round2"] == pytest.approx(second["accuracy/round2"] - second["before/round2"])
    assert "points_per_100_answers" in second


def test_the_methods_of_a_round_follow_one_another() -> None:
    steps = {
        name: len(Path(f"runs/r/{name}/metrics.jsonl").read_text().splitlines())
        for name in ("round1.policy.rejection", "round1.policy", "round2.policy")
    }
    assert steps == {"round1.policy.rejection": 2, "round1.policy": 2, "round2.policy": 4}
    evaluation = json.loads(Path("runs/r/round2.evaluate/evaluation.json").read_text())
    assert list(evaluation["policies"]) == ["round0", "round1", "round2"]
    assert {row["policy"] for row in evaluation["win_rates"]} == {"round1", "round2"}
    assert {rating["policy"] for rating in evaluation["bradley_terry"]["ratings"]} == {"round0", "round1", "round2"}


def test_a_run_killed_in_a_round_ends_with_the_same_bits(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "assent", "run", "r.yaml", "--out", "killed"]
    process = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    until = time.monotonic() + 300
    while not list(Path("killed/stages").glob("round2.policy-*.partial/checkpoints/step-*[0-9]")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not Path("killed/round2.policy").exists(), "it had finished: make the stage longer"
    assert main(["run", "r.yaml", "--out", "killed"]) == 0
    assert "round1.reward: done before" in capsys.readouterr().out
    for stage in ("round1.policy", "round2.reward", "round2.policy"):
        once, twice = (read_manifest(Path(folder) / stage) for folder in ("runs/r", "killed"))
        assert once.identity == twice.identity
        assert once.outputs["model.safetensors"] == twice.outputs["model.safetensors"], stage


def test_without_an_annotator_the_rounds_that_heard_them_are_made_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lineage", "runs/r", "--forget-annotator", "simulated:ann"]) == 0
    said = capsys.readouterr().out
    assert "--set round1.collect.without=[simulated:ann]" in said
    assert main(["plan", "r.yaml", "--set", "round2.collect.without=[x]"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "done" in lines["round1.evaluate"]
    assert '-> ["x"]' in lines["round2.collect"]
    assert "parent round2.collect will run" in lines["round2.comparisons"]


def test_people_are_waited_for_in_each_round(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "r.yaml", "--people", "--out", "people"]
    for number in (1, 2):
        assert main(command) == 3
        said = capsys.readouterr()
        assert "0 of 6 answers are in" in said.out + said.err
        assert "http://127.0.0.1:8321/" in said.out + said.err
        with FeedbackStore.open("people/feedback.db") as store:
            answered = {answer.question.id for answer in store.answers()}
            asked = [question for question in store.questions() if question.id not in answered]
            assert len(asked) == 6
            for question in asked:
                longer = len(question.texts[0]) > len(question.texts[1])
                store.add_answer(Answer(question.id, "eve", Preference(-1 if longer else 1), order=(0, 1)))
        assert not Path(f"people/round{number}.collect").exists()
    assert main(command) == 0
    assert [len(read_rankings(f"people/round{n}.collect/rankings.jsonl")) for n in (1, 2)] == [6, 6]


def selected(method: str, *more: str) -> list[tuple[Prompt, list[str]]]:
    """The prompts that a method chooses of the second round's samples, and the texts of each, in order."""
    command = ["select", "--data", "runs/r/round2.sample/completions.jsonl", "--method", method, "--overwrite"]
    assert main([*command, "--answers", "4", "--out", "chosen", *more]) == 0
    groups: dict[str, tuple[Prompt, list[str]]] = {}
    for prompt, completion in read_completions("chosen/completions.jsonl"):
        groups.setdefault(prompt.id, (prompt, []))[1].append(completion.text)
    return list(groups.values())


REWARD = ("--reward", "runs/r/round1.reward")


def test_near_ties_are_the_closest_of_the_two_best() -> None:
    rows = read_completions("runs/r/round2.sample/completions.jsonl")
    reward = load_models("runs/r/round1.reward")
    scores = np.array(list(reward.score([p for p, _ in rows], [c for _, c in rows]).parts.values()))
    closeness: dict[str, tuple[float, set[str]]] = {}
    for prompt in {p.id for p, _ in rows}:
        texts = {c.text: scores[:, i] for i, (p, c) in reversed(list(enumerate(rows))) if p.id == prompt}
        best = sorted(texts, key=lambda text, of=texts: -of[text].mean())[:2]
        if len(best) == 2:
            wins = 1 / (1 + np.exp(texts[best[1]] - texts[best[0]]))
            closeness[prompt] = abs(wins.mean() - 0.5), set(best)
    wanted = sorted(closeness, key=lambda prompt: closeness[prompt][0])[:4]
    found = selected("near_ties", *REWARD)
    assert {prompt.id for prompt, _ in found} == set(wanted)
    assert all(set(texts) == closeness[prompt.id][1] for prompt, texts in found)


def test_every_method_asks_its_budget_of_different_prompts() -> None:
    for method, more in (
        ("disagreement", REWARD),
        ("information_gain", (*REWARD, "--posterior", "ensemble")),
        ("coverage", ("--model", "policy")),
        ("random", ()),
    ):
        assert [len(texts) for _, texts in selected(method, *more)] == [2] * 4, method
    assert [len(texts) for _, texts in selected("random", "--answers-per-question", "2")] == [2] * 2
    whole = selected("information_gain", *REWARD, "--ask", "prompts")
    assert [len(texts) for _, texts in whole] == [6] * 4  # three of each of two policies


def test_what_stops_paying_is_not_asked_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    worth = [json.loads(line)["worth"] for line in _lines("runs/r/round2.select/selection.jsonl")]
    limit = (worth[1] + worth[2]) / 2
    asked = ("--asked", "runs/r/round1.collect/rankings.jsonl", "--answers", "6")
    assert len(selected("information_gain", *REWARD, *asked, "--stop-below", str(limit))) == 2
    said = capsys.readouterr().out
    assert "more answers stop paying: after 2 questions the next is expected to tell" in said
    assert read_manifest(Path("chosen")).metrics["stopped"] == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--method", "near_ties"), "method near_ties needs reward; in the first round choose random or coverage"),
        (("--method", "coverage"), "method coverage needs reward or model"),
        (("--method", "disagreement", "--reward", "reward"), "where the members of an ensemble differ; train it with"),
        (("--method", "random", "--stop-below", "1"), "stop_below is in nats of method information_gain"),
    ],
)
def test_a_selection_that_cannot_be(more: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = "runs/r/round1.sample/completions.jsonl"
    assert main(["select", "--data", data, "--answers", "3", "--out", "none", *more]) == 2
    assert message in capsys.readouterr().err


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
