"""Label Studio itself: our configurations, tasks and annotations through its API, and a recipe that waits for it."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from assent.data.jsonl import write_jsonl
from assent.errors import ExchangeError
from assent.feedback.answers import Answer
from assent.feedback.interchange.label_studio_api import LabelStudio
from assent.feedback.interchange.label_studio_config import Layout
from assent.feedback.interchange.label_studio_results import write_result
from assent.feedback.interchange.label_studio_sync import pull, push
from assent.feedback.questions import Criterion, Question
from assent.feedback.responses import (
    Best,
    Labels,
    Preference,
    Ranks,
    Ratings,
    Rewritten,
    Skipped,
    Written,
    in_store_order,
)
from assent.feedback.store import FeedbackStore
from assent.types import Message, Prompt
from tests.labelstudio.conftest import TOKEN

pytestmark = [pytest.mark.labelstudio, pytest.mark.slow]
PROMPT = Prompt(
    "p", messages=(Message("user", "Hi <b>"), Message("assistant", "Hello"), Message("user", "Why?\n\n`x`"))
)
ASKED = [
    (Question("ranking", PROMPT, ("a", "b", "c", "d"), ("A", "B", "C", "D")), Ranks((2, 1, 1, None))),
    (Question("pairwise", PROMPT, ("a", "b"), ("A", "B"), task="pairwise"), Preference(-2, (False, True))),
    (Question("best", PROMPT, ("a", "b", "c"), ("A", "B", "C"), task="best"), Best(1, (False, False, True))),
    (
        Question("rating", PROMPT, ("a", "b"), ("A", "B"), task="rating",
                 criteria=(Criterion("helpful"), Criterion("harm & <risk>", "", 0, 4))),
        Ratings(({"helpful": 3, "harm & <risk>": 0}, None)),
    ),
    (Question("label", PROMPT, ("a", "b"), ("A", "B"), task="label", labels=("no", "yes & more")), Labels((1, None))),
    (Question("rewrite", PROMPT, ("a", "b"), ("A", "B"), task="rewrite"), Rewritten("anew\n\nand longer", 1)),
    (Question("written", Prompt("t", text="Once upon"), (), (), task="demonstration"), Written("  a time\n")),
]  # fmt: skip


@pytest.fixture
def server(label_studio):
    with LabelStudio(label_studio, TOKEN) as opened:
        yield opened


@pytest.fixture
def store(tmp_path):
    with FeedbackStore.open(tmp_path / "s.db") as opened:
        yield opened


def tasks_of(server, name):
    """Question id to task, over the projects of a name."""
    found = {}
    for project in server.projects():
        if project["title"].startswith(f"{name} "):
            found |= {task["data"]["question"]: task for task in server.tasks(project["id"])}
    return found


def annotate(server, task, question, response, note="", **more):
    return server.annotate(task["id"], {"result": write_result(response, Layout.of(question), note), **more})


def calls(server, method, path, **more):
    response = httpx.request(
        method, f"{server.url}{path}", headers={"Authorization": f"Token {TOKEN}"}, timeout=60, **more
    )
    assert response.is_success, response.text
    return response


def test_every_kind_of_question_goes_there_and_its_answer_comes_back(server, store):
    store.add_questions(question for question, _ in ASKED)
    pushed = push(store, server, store.questions(), "kinds")
    assert (pushed.projects, pushed.tasks) == (7, 7)
    tasks = tasks_of(server, "kinds")
    for question, response in ASKED:
        annotate(server, tasks[question.id], question, response, "why", lead_time=4.5)
    pulled = pull(store, server, "kinds")
    assert (pulled.kept.answers, pulled.refused) == (7, [])
    found = {answer.question.id: answer for answer in store.answers()}
    for question, response in ASKED:
        answer = found[question.id]
        assert answer.response == response
        assert list(answer.order) == tasks[question.id]["data"]["order"]
        assert (answer.annotator, answer.seconds, answer.note) == ("ann@example.org", 4.5, "why")
        assert answer.created > 1.7e9
    again = pull(store, server, "kinds")
    assert (again.kept.answers, again.kept.known, again.corrected) == (0, 7, 0)
    repushed = push(store, server, store.questions(), "kinds")
    assert (repushed.projects, repushed.tasks) == (0, 0)
    assert "completion_ids" not in str(tasks)


def test_edits_skips_doubles_partial_and_deleted(server, store):
    questions = [dataclasses.replace(ASKED[0][0], id=f"q{i}") for i in range(6)]
    store.add_questions(questions)
    push(store, server, questions, "edits")
    tasks = tasks_of(server, "edits")
    first = annotate(server, tasks["q0"], questions[0], Ranks((1, 2, 3, 4)))
    annotate(server, tasks["q1"], questions[1], Ranks((1, 2, 3, 4)), was_cancelled=True)
    annotate(server, tasks["q2"], questions[2], Ranks((1, 2, 3, 4)))
    annotate(server, tasks["q2"], questions[2], Ranks((4, 3, 2, 1)))
    half = write_result(Ranks((1, 2, 3, 4)), Layout.of(questions[3]))
    half[0]["value"]["ranker"]["_"] = half[0]["value"]["ranker"].pop("4")
    server.annotate(tasks["q3"]["id"], {"result": half})
    pulled = pull(store, server, "edits")
    assert (pulled.kept.answers, pulled.doubled) == (3, 1)
    assert [reason.split(": ")[-1] for reason in pulled.refused] == ["answer4 was not placed under a rank"]
    assert f"/data?task={tasks['q3']['id']}" in pulled.refused[0]
    said = {answer.question.id: answer.response for answer in store.answers()}
    assert said == {
        "q0": Ranks((1, 2, 3, 4)),
        "q1": Skipped("skipped in Label Studio"),
        "q2": Ranks((4, 3, 2, 1)),
    }
    # an edit there supersedes, and going back to what it was before does again
    for ranks in ((2, 1, 3, 4), (1, 2, 3, 4)):
        calls(
            server,
            "PATCH",
            f"/api/annotations/{first}",
            json={"result": write_result(Ranks(ranks), Layout.of(questions[0]))},
        )
        pulled = pull(store, server, "edits")
        assert (pulled.corrected, pulled.kept.answers) == (1, 0)
        assert {a.question.id: a.response for a in store.answers()}["q0"] == Ranks(ranks)
    # what is deleted there stays here; a deleted task without an answer is made again
    calls(server, "DELETE", f"/api/tasks/{tasks['q0']['id']}")
    calls(server, "DELETE", f"/api/tasks/{tasks['q4']['id']}")
    pulled = pull(store, server, "edits")
    assert {a.question.id for a in store.answers()} == {"q0", "q1", "q2"}
    assert push(store, server, questions, "edits").tasks == 1
    assert set(tasks_of(server, "edits")) == {"q1", "q2", "q3", "q4", "q5"}
    # answered here and otherwise, later than there: the later one stands
    mine = next(a for a in store.answers() if a.question.id == "q2")
    store.add_answer(Answer("q2", mine.annotator, Ranks((1, 1, 1, 1)), supersedes=mine.event))
    assert "answered it here later" in pull(store, server, "edits").refused[-1]
    assert Ranks((1, 1, 1, 1)) in [a.response for a in store.answers()]


def test_annotations_of_another_store_are_told(server, store, tmp_path):
    store.add_questions([ASKED[0][0]])
    push(store, server, store.questions(), "other")
    annotate(server, tasks_of(server, "other")["ranking"], *ASKED[0])
    with FeedbackStore.open(tmp_path / "empty.db") as empty:
        (reason,) = pull(empty, server, "other").refused
    assert "1 annotations of question 'ranking', which this store does not have" in reason


def test_a_wrong_token_is_a_sentence(label_studio, store):
    with (
        LabelStudio(label_studio, "f" * 40) as server,
        pytest.raises(ExchangeError, match=r"refuses the token .401.: set"),
    ):
        pull(store, server)


RECIPE = """
name: loop
stages:
  collect:
    data: {data}
    with: label-studio
    url: {url}
    label_studio_name: loop
  comparisons:
    data: $collect/rankings.jsonl
"""


def run(folder, *arguments, token=TOKEN):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LABEL_STUDIO_TOKEN": token}
    command = [sys.executable, "-m", "assent.cli", "run", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def test_a_recipe_waits_for_label_studio_and_goes_on(server, tmp_path):
    rows = [
        {"prompt": f"Say {i}.", "completion": text, "id": f"{i}{text}", "prompt_id": f"p{i}"}
        for i in range(3)
        for text in ("yes", "no")
    ]
    write_jsonl(tmp_path / "completions.jsonl", rows)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(data="completions.jsonl", url=server.url))
    assert "wants a token" in run(tmp_path, "recipe.yaml", token="").stderr
    first = run(tmp_path, "recipe.yaml")
    assert first.returncode == 3, first.stderr
    assert "0 of 3 rankings are in" in first.stderr
    assert server.url in first.stderr
    with FeedbackStore.open(tmp_path / "runs" / "loop" / "feedback.db") as store:
        questions = {question.id: question for question in store.questions()}
    tasks = tasks_of(server, "loop")
    assert set(tasks) == set(questions)
    order = list(questions)
    for name in order[:2]:
        annotate(server, tasks[name], questions[name], Ranks((1, 2)))
    second = run(tmp_path, "recipe.yaml")
    assert second.returncode == 3
    assert "2 of 3 rankings are in" in second.stderr
    away = recipe.read_text().replace(server.url, "http://127.0.0.1:9")
    (tmp_path / "away.yaml").write_text(away)
    gone = run(tmp_path, "away.yaml")
    assert gone.returncode == 2
    assert "Label Studio at http://127.0.0.1:9 does not answer" in gone.stderr
    annotate(server, tasks[order[2]], questions[order[2]], Ranks((2, 1)))
    third = run(tmp_path, "recipe.yaml")
    assert third.returncode == 0, third.stderr
    with FeedbackStore.open(tmp_path / "runs" / "loop" / "feedback.db") as store:
        answers = {answer.question.id: answer for answer in store.answers()}
    best = {name: in_store_order(answer.response, answer.order).ranks.index(1) for name, answer in answers.items()}
    assert best == {name: tasks[name]["data"]["order"][0 if name in order[:2] else 1] for name in order}
    for path in Path(tmp_path).rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
