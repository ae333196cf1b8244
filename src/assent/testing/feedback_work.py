"""The second half of the contract of a feedback store: tasks of every kind, work, projects and people."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from assent.errors import StoreError
from assent.feedback.answers import Answer
from assent.feedback.people import About
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
from assent.feedback.tables import metadata
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

    def test_overlap_is_kept_when_many_ask_at_once(self, store: FeedbackStore) -> None:
        store.add_questions(replace(make_question(n), overlap=2) for n in range(6))
        with ThreadPoolExecutor(8) as pool:
            given = list(pool.map(lambda n: taken(store, f"person {n}"), range(12)))
        assert sorted(given) == sorted([f"q{n}" for n in range(6)] * 2)
        assert taken(store, "late") == "finished"

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

    # Projects and people

    def test_instructions_have_versions(self, store: FeedbackStore) -> None:
        assert store.projects.instructions("default") is None
        assert store.projects.write_instructions("default", "One.", "root") == 1
        assert store.projects.write_instructions("default", "One.", "root") == 1
        assert store.projects.write_instructions("default", "Two.", "root") == 2
        newest, first = store.projects.instructions("default"), store.projects.instructions("default", 1)
        assert newest is not None
        assert first is not None
        assert (newest.version, newest.text, first.text, first.author) == (2, "Two.", "One.", "root")
        assert [version.version for version in store.projects.versions("default")] == [2, 1]

    def test_people_come_in_by_secret_and_invitation(self, store: FeedbackStore) -> None:
        people = store.people
        people.add("Root", "admin", "correct horse")
        token = people.invite("annotator", "Root", hours=1, queues=("law",))
        ann = people.accept(token, "Ann", "battery staple", About(languages="de, en", group="nurses"))
        assert (ann.role, ann.queues, ann.about.group) == ("annotator", ("law",), "nurses")
        for again in (token, "made up"):
            with pytest.raises(StoreError, match="used, withdrawn or has expired"):
                people.accept(again, "Bob", "battery staple")
        with pytest.raises(StoreError, match="taken"):
            people.add("ann", "annotator", "something else")
        with pytest.raises(StoreError, match="8 to 200"):
            people.add("Bob", "annotator", "short")
        assert people.check_secret("Ann", "battery staple") == ann
        assert people.check_secret("Ann", "wrong") is None
        assert people.check_secret("Nobody", "battery staple") is None
        session = people.open_session("Ann")
        assert people.session(session) == ann
        assert people.session("made up") is None
        people.change("Ann", "annotator", active=False, queues=(), by="Root")
        assert people.session(session) is None
        assert people.check_secret("Ann", "battery staple") is None
        with pytest.raises(StoreError, match="only administrator"):
            people.change("Root", "viewer", active=True, queues=(), by="Root")
        assert [entry.action for entry in people.audit()] == ["change", "sign in", "accept", "add", "invite", "add"]

    def test_invitation_for_a_name_lets_that_person_in(self, store: FeedbackStore) -> None:
        people = store.people
        people.add("Ann", "annotator", None)
        token = people.invite("viewer", "Root", annotator="Ann")
        with pytest.raises(StoreError, match="for 'Ann'"):
            people.accept(token, "Bob", None)
        assert people.accept(token, "Ann", "a new secret").role == "viewer"
        assert people.check_secret("Ann", "a new secret") is not None
        expired = people.invite("viewer", "Root", hours=1e-9)
        withdrawn = people.invite("viewer", "Root")
        people.withdraw(people.invitations()[0].digest, "Root")
        assert people.invitation(expired) is None
        assert people.invitation(withdrawn) is None

    def test_secrets_and_tokens_are_not_kept(self, store: FeedbackStore) -> None:
        store.people.add("Ann", "admin", "correct horse")
        token = store.people.invite("annotator", "Ann")
        session = store.people.open_session("Ann")
        with store._database.reading() as connection:  # pyright: ignore[reportPrivateUsage]
            kept = str([connection.execute(table.select()).all() for table in metadata.sorted_tables])
        assert "$argon2id$" in kept
        for secret in ("correct horse", token, session):
            assert secret not in kept

    def test_erasing_takes_the_person_out_of_every_table(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0)])
        store.people.accept(store.people.invite("annotator", "Root", annotator="Zebedee"), "Zebedee", "correct horse")
        session = store.people.open_session("Zebedee")
        store.work.take("Zebedee")
        store.add_ranking("q0", "Zebedee", [1, 2, 3], key="k")
        store.erase_annotator("Zebedee")
        with store._database.reading() as connection:  # pyright: ignore[reportPrivateUsage]
            kept = str([connection.execute(table.select()).all() for table in metadata.sorted_tables])
        assert "Zebedee" not in kept
        assert store.people.session(session) is None
        assert store.counts()["answers"] == 0
