"""``assent collect`` with simulated annotators: their failings and several criteria, as a recipe asks for them."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from assent.cli import main
from assent.data.readers import read_comparisons, read_demonstrations, read_judgements, read_rankings
from assent.feedback import Answer, FeedbackStore, Rewritten, Written
from assent.feedback.handing import Assignment

TRUTH = """
def length(prompt, text):
    return float(len(text))

def shortness(prompt, text):
    return -float(len(text))

def loud(prompt, text):
    return text if prompt.text == "p0" else text + "!"
"""
RECIPE = """
name: r
stages:
  collect:
    data: answers.jsonl
    truth: truth.py:length
    annotators_per_question: 3
    annotators:
      - {name: ann, noise: 0, tie_width: 0, fail_below: -1000}
      - {name: eve, noise: 0, tie_width: 0, fail_below: -1000, contrariness: 1}
      - {name: sam, noise: 0, spam: 1}
"""


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("truth.py").write_text(TRUTH)
    rows = [{"prompt": f"p{i}", "completion": " " + "x" * (i + 4 * k + 1)} for i in range(6) for k in range(3)]
    Path("answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def collected(more: str = "") -> list[tuple[str, str, tuple[int | None, ...], tuple[int, ...]]]:
    """Annotator, criterion, ranks by length (the longest first), and ranks as shown."""
    Path("r.yaml").write_text(RECIPE + more)
    assert main(["run", "r.yaml"]) == 0
    (path,) = Path("runs/r").glob("**/rankings.jsonl")
    out = []
    for ranking in read_rankings(path):
        by_length = sorted(range(3), key=lambda i: -len(ranking.texts[i]))
        out.append((ranking.annotator, ranking.criterion, tuple(ranking.ranks[i] for i in by_length), ranking.ranks))
    return out


def test_each_annotator_has_failings_of_their_own():
    found = collected()
    assert Counter(name for name, *_ in found) == {f"simulated:{name}": 6 for name in ("ann", "eve", "sam")}
    assert {ranks for name, _, ranks, _ in found if name.endswith("ann")} == {(1, 2, 3)}
    assert {ranks for name, _, ranks, _ in found if name.endswith("eve")} == {(3, 2, 1)}
    assert {shown for name, _, _, shown in found if name.endswith("sam")} == {(1, 2, 3)}


def test_every_criterion_is_a_question_of_its_own_with_its_own_truth():
    found = collected("    criteria: {long: null, short: 'truth.py:shortness'}\n")
    ann = {(criterion, ranks) for name, criterion, ranks, _ in found if name.endswith("ann")}
    assert ann == {("long", (1, 2, 3)), ("short", (3, 2, 1))}
    assert len(found) == 36


def test_noise_on_a_criterion_that_is_not_asked_is_refused(capsys: pytest.CaptureFixture[str]):
    Path("r.yaml").write_text(RECIPE + "      - {name: bo, noise_on: {kind: 2}}\n")
    assert main(["run", "r.yaml"]) == 2
    assert "noise_on names 'kind', which is not asked" in capsys.readouterr().err


def run_of(more: str) -> Path:
    Path("r.yaml").write_text(RECIPE.replace("truth: truth.py:length", f"truth: truth.py:length\n    {more}"))
    assert main(["run", "r.yaml"]) == 0
    (path,) = Path("runs/r").glob("**/rankings.jsonl")
    return path.parent


def test_the_best_and_preferences_are_rankings_of_their_kind():
    rankings = read_rankings(run_of("task: best") / "rankings.jsonl")
    assert {ranking.kind for ranking in rankings} == {"best"}
    for ranking in rankings:
        if ranking.annotator.endswith("ann"):
            assert len(ranking.texts[ranking.ranks.index(1)]) == max(map(len, ranking.texts))


def test_ratings_become_judgements_by_criterion_and_these_training_data(tmp_path: Path):
    folder = run_of("task: rating\n    criteria: {long: null, short: 'truth.py:shortness'}")
    assert read_rankings_or_none(folder) == []
    given = read_judgements(folder / "judgements.jsonl")
    assert Counter(j.criterion for j in given) == {"long": 54, "short": 54}
    ann = {(j.criterion, j.response): j.label for j in given if j.annotator.endswith("ann")}
    assert {label for (criterion, _), label in ann.items() if criterion == "long"} == {5.0}  # lengths are far above 0
    assert {label for (criterion, _), label in ann.items() if criterion == "short"} == {1.0}
    data = str(folder / "judgements.jsonl")
    arguments = ["--adjudication", "majority", "--criteria", "short", "--scale", "[1, 5]", "--out", "labels"]
    assert main(["judgements", "--data", data, *arguments]) == 0
    made = [*read_judgements("labels/train.jsonl"), *read_judgements("labels/held_out.jsonl")]
    assert len(made) == 18
    assert {j.criterion for j in made} == {"short"}
    assert all(len(j.sources) == 3 and 0.0 <= j.label <= 1.0 for j in made)
    assert main(["comparisons", "--data", data, "--out", "pairs"]) == 0
    assert {c.criterion for c in read_comparisons("pairs/train.jsonl")} == {"long", "short"}


def read_rankings_or_none(folder: Path) -> list[str]:
    return (folder / "rankings.jsonl").read_text().splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--criteria", "kind"], "has no judgement on 'kind'; its criteria are overall"),
        (["--scale", "[5, 1]"], "give the label that becomes 0 and a larger one"),
        (["--adjudication", "vote"], "majority"),
    ],
)
def test_mistakes_in_judgements_are_told(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str):
    rows = [{"prompt": f"p{i}", "completion": " x", "label": i % 2} for i in range(4)]
    Path("labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["judgements", "--data", "labels.jsonl", *arguments, "--out", "out"]) == 2
    assert message in capsys.readouterr().err


def test_labels_of_empty_answers_stop_or_are_left_out(capsys: pytest.CaptureFixture[str]):
    rows = [{"prompt": f"p{i}", "completion": " x" if i else "", "label": i % 2} for i in range(5)]
    Path("labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["judgements", "--data", "labels.jsonl", "--held-out", "0", "--out", "out"]
    assert main(asked) == 2
    assert "labels.jsonl, line 1: column 'completion' is empty" in capsys.readouterr().err
    assert main([*asked, "--empty", "skip"]) == 0
    assert [made.prompt.text for made in read_judgements("out/train.jsonl")] == ["p1", "p2", "p3", "p4"]


def test_who_simulates_writes_by_a_function_alone(capsys: pytest.CaptureFixture[str]):
    asked = RECIPE.replace("truth: truth.py:length", "truth: truth.py:length\n    task: rewrite")
    Path("r.yaml").write_text(asked)
    assert main(["run", "r.yaml"]) == 2
    assert "need `annotators` and `writer`; or set people: true" in capsys.readouterr().err
    Path("r.yaml").write_text(asked.replace("task: rewrite", "task: rewrite\n    writer: truth.py:loud"))
    assert main(["run", "r.yaml"]) == 0
    given = {row["completion"] for row in map(json.loads, Path("answers.jsonl").read_text().splitlines())}
    written = read_demonstrations("runs/r/collect/demonstrations.jsonl")
    assert len(written) == 15  # six questions by three annotators; nothing was to be done to p0
    assert {made.response for made in written} <= {f"{text}!" for text in given}
    assert {made.author for made in written} == {"simulated:ann", "simulated:eve", "simulated:sam"}


def test_people_write_demonstrations_and_rewrites_which_sft_reads(capsys: pytest.CaptureFixture[str]):
    for task, response in (("demonstration", Written(" Mine.")), ("rewrite", Rewritten(" Better.", 1))):
        arguments = ["--people", "--store", "feedback.db", "--out", task]
        assert main(["collect", "--data", "answers.jsonl", "--task", task, *arguments]) == 3
        assert "0 of 6 answers are in" in capsys.readouterr().err
        with FeedbackStore.open("feedback.db") as store:
            for question in store.questions():
                if question.task == task:
                    store.add_answer(Answer(question.id, "ann", response))
        assert main(["collect", "--data", "answers.jsonl", "--task", task, *arguments]) == 0
        written = read_demonstrations(f"{task}/demonstrations.jsonl")
        assert [made.response for made in written] == [response.text] * 6
        assert {made.author for made in written} == {"ann"}
        assert all((made.rewrite_of is None) == (task == "demonstration") for made in written)


def test_before_anyone_compares_it_is_said_what_so_many_answers_can_show(capsys: pytest.CaptureFixture[str]):
    rows = [{"prompt": f"p{i}", "completion": f" answer {k}"} for i in range(50) for k in range(2)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["collect", "--data", "pairs.jsonl", "--people", "--task", "pairwise", "--store", "f.db", "--out", "out"]
    assert main(asked) == 3
    assert "50 answers to as many prompts would tell a win rate of 70% from one half" in capsys.readouterr().err


def test_a_run_that_waits_serves_the_questions_and_goes_on_by_itself(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    Path("r.yaml").write_text(f"name: r\nstages:\n  collect: {{data: answers.jsonl, answers: 2, port: {port}}}\n")
    run = subprocess.Popen(
        [sys.executable, "-m", "assent", "run", "r.yaml", "--people", "--wait"], stdout=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 120

    def served() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/").status_code < 500
        return False

    while not served():
        assert run.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    with FeedbackStore.open("runs/r/feedback.db") as store:
        for question in store.questions()[:2]:
            assert run.poll() is None
            store.add_ranking(question.id, "eve", (1, 2, 3))
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert f"waiting for 2 more rankings: answer at http://127.0.0.1:{port}/" in said
    assert len(read_rankings("runs/r/collect/rankings.jsonl")) == 2
    assert not served()  # and the app went with it


def test_what_is_asked_now_comes_before_what_an_earlier_stage_left(tmp_path: Path):
    rows = [{"prompt": f"q{i}", "completion": " " + "y" * (k + 1)} for i in range(3) for k in range(2)]
    Path("later.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("r.yaml").write_text(
        "name: r\nstages:\n  first: {uses: collect, data: answers.jsonl, answers: 1}\n"
        "  second: {uses: collect, data: later.jsonl, answers: 1}\n"
    )
    asked: list[str] = []
    for _ in range(2):
        assert main(["run", "r.yaml", "--people"]) == 3
        with FeedbackStore.open("runs/r/feedback.db") as store:
            taken = store.work.take("eve")
            assert isinstance(taken, Assignment)
            asked.append(taken.question.prompt.shown())
            store.add_ranking(taken.question.id, "eve", tuple(range(1, len(taken.question.texts) + 1)))
    assert main(["run", "r.yaml", "--people"]) == 0
    assert asked == ["p0", "q0"]
