"""Store to form to store gives the same questions and answers, and importing again adds nothing."""

import dataclasses
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assent.data.forms import FORMS
from assent.feedback.answers import Answer
from assent.feedback.interchange.exporting import export_file
from assent.feedback.interchange.importing import import_file
from assent.feedback.interchange.label_studio_config import Layout
from assent.feedback.interchange.label_studio_results import read_result, write_result
from assent.feedback.interchange.orders import reordered
from assent.feedback.questions import Criterion, Question, dense_ranks
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
)  # fmt: skip
from assent.feedback.store import FeedbackStore
from assent.types import Message, Prompt

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1, max_size=10).filter(
    lambda text: text.strip() != ""
)
NAMES = st.sampled_from(["ann", "bob", "çelik", "simulated:eve"])
CRITERIA = (Criterion("helpful"), Criterion("harm", "none", 0, 4))


@st.composite
def questions(draw, number):
    task = draw(st.sampled_from(["ranking", "pairwise", "best", "rating", "label", "rewrite", "demonstration"]))
    count = {"pairwise": 2, "demonstration": 0}.get(task, draw(st.integers(2, 4)))
    prompt = (
        Prompt(f"p{number}", text=draw(WORDS), metadata={"source": "x"})
        if draw(st.booleans())
        else Prompt(f"p{number}", messages=(Message("system", draw(WORDS)), Message("user", draw(WORDS))))
    )
    return Question(
        f"q{number}", prompt, tuple(f"c{i}" for i in range(count)), tuple(draw(WORDS) for _ in range(count)),
        criterion=draw(st.sampled_from(["overall", "tone"])), instructions=draw(st.sampled_from(["", "Be kind."])),
        priority=draw(st.sampled_from([0.0, 1.5])), task=task, criteria=CRITERIA if task == "rating" else (),
        labels=("no", "maybe", "yes") if task == "label" else (), queue=draw(st.sampled_from(["", "easy"])),
    )  # fmt: skip


@st.composite
def responses(draw, question):
    k = len(question.texts)
    marks = st.booleans()
    match question.task:
        case "ranking":
            drawn = tuple(draw(st.sampled_from([None, 1, 2, 3])) for _ in range(k))
            return Ranks(dense_ranks(drawn, "drawn"))  # as the store keeps them
        case "pairwise":
            return Preference(draw(st.integers(-3, 3)), (draw(marks), draw(marks)))
        case "best":
            best = draw(st.none() | st.integers(0, k - 1))
            return Best(best, tuple(best is None or (i != best and draw(marks)) for i in range(k)))
        case "rating":
            scored = st.fixed_dictionaries({"helpful": st.integers(1, 5), "harm": st.integers(0, 4)})
            return Ratings(tuple(draw(st.none() | scored) for _ in range(k)))
        case "label":
            return Labels(tuple(draw(st.none() | st.integers(0, 2)) for _ in range(k)))
        case "rewrite":
            return Rewritten("anew: " + draw(WORDS), draw(st.integers(0, k - 1)))
        case _:
            return Written(draw(WORDS))


@st.composite
def answers(draw, question, annotator):
    order = tuple(draw(st.permutations(range(len(question.texts)))))
    response = Skipped("too long") if draw(st.integers(0, 5)) == 0 else draw(responses(question))
    return Answer(
        question.id, annotator, response, order=order, seconds=draw(st.none() | st.just(3.5)),
        note="" if isinstance(response, Skipped) else draw(st.sampled_from(["", "a note\nof two lines"])),
        instructions=draw(st.sampled_from([None, "Other rules."])),
        created=1.7e9 + draw(st.integers(0, 9)) + 0.25,
    )  # fmt: skip


@st.composite
def contents(draw):
    asked = [draw(questions(number)) for number in range(draw(st.integers(1, 3)))]
    said = [draw(answers(q, name)) for q in asked for name in draw(st.lists(NAMES, unique=True, max_size=2))]
    return asked, said


def standing(store):
    found = {}
    for a in store.answers():
        found[a.question.id, a.annotator] = dataclasses.replace(a, event=0), store.instructions_text(a.instructions_id)
    return store.questions(), found


@pytest.fixture(autouse=True, scope="module")
def no_waiting_for_the_disk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


WHOLE = [("store", "o.jsonl"), ("store", "o.csv.gz"), ("label-studio", "o.json"), ("argilla", "folder")]


@pytest.mark.parametrize(("form", "name"), WHOLE, ids=[f"{form}-{name}" for form, name in WHOLE])
@settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
@given(content=contents())
def test_whole_forms_give_the_same_store_and_twice_the_same(form, name, content):
    asked, said = content
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / name
        with FeedbackStore.open(Path(folder) / "a.db") as a, FeedbackStore.open(Path(folder) / "b.db") as b:
            a.add_questions(asked)
            a.add_answers(said)
            report = export_file(a, form, out)
            assert not report.refused
            assert not report.lost
            first = import_file(b, out, form, strict=True)
            assert (first.kept.questions, first.kept.answers) == (len(asked), len(said))
            expected, found = standing(a), standing(b)
            if form == "argilla":  # a dataset a layout: the order of the questions among themselves is not kept
                expected = sorted(expected[0], key=lambda q: q.id), expected[1]
                found = sorted(found[0], key=lambda q: q.id), found[1]
            assert found == expected
            again = import_file(b, out, form, strict=True)
            assert (again.kept.questions, again.kept.answers, again.kept.known) == (0, 0, len(said))
            back = import_file(a, out, form, strict=True)  # into the store that it came from
            assert (back.kept.questions, back.kept.answers, back.kept.known) == (0, 0, len(said))


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_results_of_label_studio_are_responses_and_back(data):
    question = data.draw(questions(1))
    response = data.draw(responses(question))
    layout = Layout.of(question)
    assert read_result(write_result(response, layout, "why"), layout) == (response, "why")
    a, b = (tuple(data.draw(st.permutations(range(len(question.texts))))) for _ in range(2))
    there = reordered(response, a, b)
    assert reordered(there, b, a) == response
    assert in_store_order(there, b) == in_store_order(response, a)


RECORD_FORMS = [name for name, form in FORMS.items() if form.write]


@pytest.mark.parametrize("form", RECORD_FORMS)
@settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))
@given(content=contents())
def test_records_that_a_form_holds_are_the_same_after_it(form, content):
    """Rankings, preferences and choices between two, ratings on one criterion, labels, and what people wrote."""
    asked, said = content
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "o.jsonl"
        with FeedbackStore.open(Path(folder) / "a.db") as a, FeedbackStore.open(Path(folder) / "b.db") as b:
            a.add_questions(asked)
            a.add_answers(said)
            report = export_file(a, form, out)
            if not sum(report.written.values()):
                return
            imported = import_file(b, out, form, scale=(0, 5) if form in ("helpsteer", "summarize-axes") else None)
            if not report.split:  # rankings of two come back as they were, but for the event in their id
                mine = (
                    {_plain(r) for r in a.rankings()} if report.written["ranking"] + report.written["vote"] else set()
                )
                theirs = {_plain(r) for r in b.rankings()}
                assert theirs <= mine
                if not report.refused and not imported.rows.refused and not imported.lost["strength"]:
                    assert theirs == mine
            wrote = {(d.prompt.id, d.response, d.author) for d in a.demonstrations()}
            assert {(d.prompt.id, d.response, d.author) for d in b.demonstrations()} <= wrote
            assert import_file(b, out, form).kept.answers == 0


def _plain(ranking):
    bare = dataclasses.replace(ranking, id=ranking.id.split(":")[0], prompt=Prompt(ranking.prompt.id, text=""))
    return str((bare, ranking.prompt.text, ranking.prompt.messages, dict(ranking.prompt.metadata)))
