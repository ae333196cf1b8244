"""The second part of the contract of a feedback store: tasks of every kind, and who is given which question."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from assent.errors import StoreError
from assent.feedback.answers import Answer
from assent.feedback.projects import ProjectSettings
from assent.feedback.questions import DEFAULT_PROJECT, TASKS, Criterion, Question, Task
from assent.feedback.responses import (
    Best,
    Labels,
    Preference,
    Ranks,
    Ratings,
    Response,
    Rewritten,
    Skipped,
    Written,
)
from assent.feedback.store import FeedbackStore
from assent.feedback.work import Coverage, Progress
from assent.types import Message, Prompt


def make_question(number: int = 0, answers: int = 3, priority: float = 0.0) -> Question:
    """A question ``q<number>`` whose answers are told apart by their texts."""
    return Question(
        id=f"q{number}",
        prompt=Prompt(id=f"p{number}", messages=(Message("user", f"Ask {number}?"),), metadata={"source": "test"}),
        completion_ids=tuple(f"q{number}c{i}" for i in range(answers)),
        texts=tuple(f"answer {i} to {number}" for i in range(answers)),
        instructions="Best first.",
        priority=priority,
    )


def make_task(task: Task) -> Question:
    """A question whose id is its task: of no answer, two or three, ``c0`` to ``c2``."""
    count = {"pairwise": 2, "demonstration": 0}.get(task, 3)
    return Question(
        id=task,
        prompt=Prompt(id=f"p-{task}", text="Ask?"),
        completion_ids=tuple(f"c{i}" for i in range(count)),
        texts=tuple(f"answer {i}" for i in range(count)),
        task=task,
        criteria=(Criterion("clear", low=0, high=4),) if task == "rating" else (),
    )


def taken(store: FeedbackStore, annotator: str, project: str = DEFAULT_PROJECT, **how: Any) -> str:
    """The id of the question that this annotator is given, or why there is none."""
    turn = store.work.take(annotator, project, **how)
    return turn if isinstance(turn, str) else turn.question.id


def questions_read(store: FeedbackStore) -> int:
    """Questions, read twice."""
    assert store.question("q0") == store.questions()[0]
    return store.work.size()


class StoreWorkTests:
    """See the module's docstring; :class:`assent.testing.FeedbackStoreTests` has these too."""

    # Tasks of every kind

    def test_every_kind_of_task_comes_back_as_what_training_reads(self, store: FeedbackStore) -> None:
        store.add_questions(make_task(task) for task in TASKS)
        answers = [
            Answer("ranking", "ann", Ranks((2, None, 1)), order=(2, 0, 1)),
            Answer("pairwise", "ann", Preference(2), order=(1, 0)),
            Answer("best", "ann", Best(1, (False, False, True)), order=(2, 0, 1)),
            Answer("rating", "ann", Ratings(({"clear": 4}, None, {"clear": 0})), order=(2, 0, 1)),
            Answer("label", "ann", Labels((1, None, 0)), order=(2, 0, 1)),
            Answer("rewrite", "ann", Rewritten("better", 1), order=(2, 0, 1), note="why"),
            Answer("demonstration", "ann", Written("mine")),
        ]
        store.add_answers(answers)
        assert [(r.kind, r.completion_ids, r.ranks, r.strength) for r in store.rankings()] == [
            ("ranking", ("c2", "c0", "c1"), (2, None, 1), None),
            ("pairwise", ("c1", "c0"), (2, 1), 2.0),
            ("best", ("c2", "c0", "c1"), (2, 1, None), None),
        ]
        assert [(j.completion_id, j.criterion, j.label) for j in store.judgements()] == [
            ("c2", "clear", 4.0),
            ("c0", "failed", 1.0),
            ("c1", "clear", 0.0),
            ("c2", "overall", 1.0),
            ("c0", "failed", 1.0),
            ("c1", "overall", 0.0),
        ]
        assert [(d.response, d.author, d.rewrite_of) for d in store.demonstrations()] == [
            ("better", "ann", "c0"),
            ("mine", "ann", None),
        ]
        kept = store.answers()
        assert [answer.response for answer in kept] == [answer.response for answer in answers]
        assert [answer.question.task for answer in kept] == list(TASKS)
        assert kept[5].note == "why"

    @pytest.mark.parametrize(
        ("task", "response", "message"),
        [
            ("pairwise", Ranks((1, 2)), "kind 'ranking' to a question of kind 'pairwise'"),
            ("pairwise", Preference(4), "strength 4"),
            ("best", Best(3), "best 3"),
            ("best", Best(0, (True, False, False)), "did not fail"),
            ("rating", Ratings(({"clear": 5}, None, None)), "from 0 to 4"),
            ("rating", Ratings(({"other": 1}, None, None)), "other"),
            ("label", Labels((2, 0, 0)), "label 2"),
            ("label", Labels((0, 0)), "2 labels for 3 answers"),
            ("rewrite", Rewritten(" answer 1 ", 1), "answer itself"),
            ("rewrite", Rewritten("x", 3), "position 3"),
            ("demonstration", Written(" \n"), "empty"),
            ("demonstration", Skipped(""), "reason"),
        ],
    )
    def test_responses_that_do_not_fit_are_refused(
        self, store: FeedbackStore, task: Task, response: Response, message: str
    ) -> None:
        store.add_questions([make_task(task)])
        with pytest.raises(StoreError, match=message):
            store.add_answer(Answer(task, "ann", response))
        assert store.answers() == []

    def test_all_failed_is_a_best_of_none(self, store: FeedbackStore) -> None:
        store.add_questions([make_task("best")])
        store.add_answer(Answer("best", "ann", Best(None)))
        assert store.rankings()[0].ranks == (None, None, None)

    def test_skip_is_no_answer_and_is_not_asked_again(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0)])
        store.add_answer(Answer("q0", "ann", Skipped("not my field")))
        assert store.work.take("ann") == "finished"
        assert store.rankings() == []
        assert store.counts()["skips"] == 1
        assert store.counts()["answered"] == 0
        assert store.work.progress("ann") == Progress(answered=0, skipped=1, questions=1, last_hour=1)

    def test_one_key_is_one_answer(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0), make_question(1)])
        sent = Answer("q0", "ann", Ranks((1, 2, 3)), key="k1")
        first = store.add_answer(sent)
        assert store.add_answer(sent) == first
        assert store.add_answers([Answer("q1", "ann", Ranks((1, 2, 3)), key="k2"), sent])[1] == first
        assert store.add_answer(replace(sent, annotator="bob")) > first, "keys of two people are not the same"
        assert store.counts()["answers"] == 3
        store.undo(first, "ann")
        assert store.add_answer(sent) == first, "what was taken back is not sent again by an old request"
        assert [r.annotator for r in store.rankings()] == ["ann", "bob"]

    # Work

    def test_overlap_and_leases_share_the_work(self, store: FeedbackStore) -> None:
        store.add_questions(replace(make_question(n), overlap=1) for n in range(2))
        assert taken(store, "ann", now=0) == "q0"
        assert taken(store, "ann", now=60) == "q0", "a lease is kept"
        assert taken(store, "bob", now=60) == "q1"
        assert taken(store, "cat", now=60) == "finished"
        assert taken(store, "cat", now=30.5 * 60) == "q0", "ann's lease is over"
        store.add_ranking("q0", "ann", [1, 2, 3])
        assert len(store.rankings()) == 1, "late work is kept"
        assert taken(store, "dan", now=30.5 * 60) == "finished"
        store.undo(store.last_answer("ann") or 0, "ann")
        store.work.release("cat")
        assert taken(store, "dan", now=30.5 * 60) == "q0"
        assert taken(store, "eve", now=-86_400) == "q0", "dan's lease was taken before the clock was set back by a day"

    def test_overlap_is_kept_when_many_ask_at_once(self, store: FeedbackStore) -> None:
        store.add_questions(replace(make_question(n), overlap=2) for n in range(6))
        with ThreadPoolExecutor(8) as pool:
            given = list(pool.map(lambda n: taken(store, f"person {n}"), range(12)))
        assert sorted(given) == sorted([f"q{n}" for n in range(6)] * 2)
        assert taken(store, "late") == "finished"

    def test_an_overlap_that_is_raised_opens_a_question_to_others(self, store: FeedbackStore) -> None:
        store.add_questions(replace(make_question(n), overlap=1) for n in range(2))
        for n in range(2):
            store.add_ranking(f"q{n}", "ann", (1, 2, 3))
        before = store.last_event()
        assert taken(store, "bob") == "finished"
        store.work.set_overlaps({"q1": 2})
        assert taken(store, "ann") == "finished", "who answered it is not asked again"
        assert taken(store, "bob") == "q1"
        assert store.work.coverage().closed == 1
        assert len(store.answers(before)) == 2
        with pytest.raises(StoreError, match="below 1"):
            store.work.set_overlaps({"q1": 0})
        with pytest.raises(StoreError, match="no question 'q9'"):
            store.work.set_overlaps({"q9": 2})

    def test_overlap_of_the_project_opens_and_closes(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0), replace(make_question(1), overlap=3)])
        store.projects.change("default", ProjectSettings(overlap=1), "root")
        store.add_ranking("q0", "ann", [1, 2, 3])
        assert taken(store, "bob") == "q1"
        assert store.work.coverage().closed == 1
        store.projects.change("default", ProjectSettings(overlap=2), "root")
        store.work.release("bob")
        assert taken(store, "bob") == "q0"

    def test_budget_ends_the_work(self, store: FeedbackStore) -> None:
        store.add_questions(make_question(n) for n in range(3))
        store.projects.change("default", ProjectSettings(budget=2), "root")
        store.add_ranking("q0", "ann", [1, 2, 3])
        store.add_ranking("q1", "bob", [1, 2, 3])
        assert taken(store, "ann") == "budget"
        assert store.work.coverage() == Coverage(3, untouched=1, closed=0, answers=2, budget=2, budget_left=0)

    def test_queues_and_projects_part_the_work(self, store: FeedbackStore) -> None:
        store.add_questions(
            [
                replace(make_question(0), queue="medical"),
                replace(make_question(1), queue="law", project="other"),
                make_question(2),
            ]
        )
        assert taken(store, "ann", queues=("law",)) == "q2"
        assert taken(store, "bob", queues=("medical",)) == "q0"
        assert taken(store, "ann", "other", queues=("law",)) == "q1"
        assert taken(store, "ann", "nowhere") == "finished"
        assert store.projects.names() == ["default", "other"]

    def test_priorities_change_and_the_event_says_so(self, store: FeedbackStore) -> None:
        store.add_questions(make_question(n) for n in range(3))
        before = store.last_event()
        store.work.set_priorities({"q2": 1.0, "q1": 0.5})
        assert store.last_event() == before + 2
        assert taken(store, "ann") == "q2"
        assert store.question("q1").priority == 0.5
        assert store.add_questions([make_question(1)]) == 0, "a priority is not content"

    def test_gold_questions_qualify_and_come_in_between(self, store: FeedbackStore) -> None:
        store.add_questions(make_question(n) for n in range(9))
        for name in ("q6", "q7", "q8"):
            store.work.set_gold(name, Ranks((1, 2, 3)), "plain to see")
        store.projects.change("default", ProjectSettings(gold_every=3, qualification=1), "root")
        order: list[str] = []
        for _ in range(9):
            name = taken(store, "ann")
            order.append(name)
            store.add_ranking(name, "ann", [1, 2, 3], order=(0, 1, 2))
        assert order == ["q6", "q0", "q1", "q7", "q2", "q3", "q8", "q4", "q5"]
        assert store.work.gold_scores() == {"ann": (1.0, 3)}
        assert store.work.progress("ann").questions == 6
        store.add_ranking("q6", "bob", [1, 2, 3], order=(2, 1, 0))
        assert store.work.gold_scores("bob") == {"bob": (0.0, 1)}
        assert taken(store, "bob") == "qualification"

    def test_progress_follows_corrections_undoing_and_gold(self, store: FeedbackStore) -> None:
        def progress() -> tuple[int, int, int]:
            found = store.work.progress("ann")
            return found.answered, found.skipped, store.work.coverage().answers

        store.add_questions([make_question(n) for n in range(3)])
        first = store.add_answer(Answer("q0", "ann", Skipped("later")))
        store.add_answer(Answer("q1", "ann", Ranks((1, 2, 3))))
        store.add_answer(Answer("q1", "bob", Ranks((1, 2, 3))))
        assert progress() == (1, 1, 2)
        second = store.add_answer(Answer("q0", "ann", Ranks((1, 2, 3)), supersedes=first))
        assert progress() == (2, 0, 3)
        store.add_answer(Answer("q0", "ann", Ranks((1, 1, 1)), supersedes=second))
        assert progress() == (2, 0, 3), "a correction is not another answer"
        last = store.last_answer("ann")
        assert last is not None
        store.undo(last, "ann")
        assert progress() == (1, 0, 2)
        store.work.set_gold("q1", Ranks((1, 2, 3)))
        store.work.set_gold("q1", Ranks((3, 2, 1)))
        assert progress() == (0, 0, 0), "gold questions are not among them"
        store.projects.change("default", ProjectSettings(budget=1), "root")
        assert taken(store, "ann") == "q0"
        store.add_answer(Answer("q2", "bob", Ranks((1, 2, 3))))
        store.work.release("ann")
        assert taken(store, "ann") == "budget"

    def test_answering_gives_the_next_question(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(n) for n in range(3)])
        store.projects.change("default", ProjectSettings(overlap=1), "root")
        assert [taken(store, "ann"), taken(store, "bob")] == ["q0", "q1"]
        sent = Answer("q0", "ann", Ranks((1, 2, 3)), key="k")
        event, turn = store.answer_and_take(sent)
        assert event == store.last_answer("ann")
        assert not isinstance(turn, str)
        assert turn.question.id == taken(store, "ann") == "q2", "q1 is bob's"
        assert store.answer_and_take(sent) == (event, turn), "sent twice, it is one answer, and gives nothing new"
        assert store.answer_and_take(Answer("q1", "bob", Ranks((1, 2, 3))))[1] == "finished"

    def test_many_who_answer_at_once_fail_alone(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(n) for n in range(4)])
        store.projects.change("default", ProjectSettings(overlap=4), "root")

        def answer(number: int) -> object:
            name, ranks = f"ann{number % 8}", (1, 2, 3) if number % 4 else (1, 2)
            try:
                return store.answer_and_take(Answer(f"q{number % 4}", name, Ranks(ranks), key=f"{number % 16}"))
            except StoreError as error:
                return str(error)

        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(answer, range(32)))
        kept = {(answer.annotator, answer.question.id) for answer in store.answers()}
        assert kept == {(f"ann{n % 8}", f"q{n % 4}") for n in range(8) if n % 4}
        assert store.counts()["answers"] == 6
        for number, result in enumerate(found):
            if number % 4 == 0:
                assert "2 ranks for 3 answers" in str(result)
            else:
                assert isinstance(result, tuple) or "answered before" in str(result)
        assert all(store.work.progress(f"ann{n}").answered == (n % 4 > 0) for n in range(8))

    def test_streams_are_what_the_lists_are(self, store: FeedbackStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("assent.feedback.streaming.CHUNK", 3)
        store.add_questions(make_question(n) for n in range(8))
        store.add_questions([replace(make_question(8), project="other")])
        store.add_answers(
            Answer(f"q{n}", name, Ranks((1, 2, 3))) for n in range(9) for name in ("ann", "bob") if n or name == "ann"
        )
        store.undo(store.last_event(), "bob")
        assert list(store.stream_questions()) == store.questions()
        assert list(store.stream_questions("other")) == store.questions("other")
        assert list(store.stream_answers()) == store.answers()
        assert [answer.question.id for answer in store.stream_answers("other")] == ["q8"]
        said = list(store.stream_answered())
        assert [question for question, _ in said] == store.questions()
        assert sorted((a for _, answers in said for a in answers), key=lambda a: a.event) == store.answers()
        moment = store.stream_answered("other")
        assert next(moment)[0].id == "q8"
        store.add_questions([replace(make_question(9), project="other")])
        assert list(moment) == [], "a stream is of the moment it was begun"

    def test_one_transaction_reads_and_leaves_nothing_open(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0)])
        with store.one_transaction():
            assert questions_read(store) == 1
            with store.one_transaction():
                assert questions_read(store) == 1
            store.add_ranking("q0", "ann", [1, 2, 3])
        assert store.counts()["answers"] == 1
