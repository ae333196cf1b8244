"""What every feedback store must keep to, as tests: inherit :class:`FeedbackStoreTests` and supply ``store_factory``.

.. code-block:: python

    class TestMyStore(FeedbackStoreTests):
        @pytest.fixture
        def store_factory(self, tmp_path):
            return lambda: FeedbackStore.open(tmp_path / "feedback.sqlite")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import pytest

from assent.errors import StoreError, UserError
from assent.feedback.answers import Answer
from assent.feedback.lessons import Lesson
from assent.feedback.questions import display_order
from assent.feedback.responses import Ranks
from assent.feedback.store import FeedbackStore
from assent.feedback.work import Progress
from assent.testing.feedback_people import StorePeopleTests
from assent.testing.feedback_work import StoreWorkTests, make_question
from assent.types import Prompt

StoreFactory = Callable[[], FeedbackStore]


class FeedbackStoreTests(StoreWorkTests, StorePeopleTests):
    """The contract of :class:`assent.feedback.store.FeedbackStore`, over any database."""

    @pytest.fixture
    def store_factory(self) -> StoreFactory:
        """Opens the same, at first empty, store at every call."""
        raise NotImplementedError("supply store_factory in your subclass")

    @pytest.fixture
    def store(self, store_factory: StoreFactory) -> Iterator[FeedbackStore]:
        with store_factory() as opened:
            yield opened

    # Questions

    def test_new_store_is_empty(self, store: FeedbackStore) -> None:
        assert store.last_event() == 0
        assert store.questions() == []
        assert store.rankings() == []
        assert store.work.take("ann") == "finished"
        assert store.counts() == dict.fromkeys(("questions", "answered", "answers", "skips", "annotators", "events"), 0)

    def test_questions_come_back_as_they_went_in(self, store: FeedbackStore) -> None:
        asked = [make_question(0), make_question(1, answers=9, priority=2.5)]
        assert store.add_questions(asked) == 2
        assert store.questions() == asked
        assert store.question("q1") == asked[1]

    def test_text_of_any_kind_survives(self, store: FeedbackStore) -> None:
        odd = ("", "nul \x00 byte", "lone \ud800 surrogate", "שלום 👋🏽 <b>&amp;", "a\r\n\tb")
        question = replace(make_question(answers=5), texts=odd, prompt=Prompt(id="p", text="\x00 %s {x} :name ?"))
        store.add_questions([question])
        assert store.question("q0") == question

    def test_adding_a_question_twice_adds_it_once(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0)])
        assert store.add_questions([make_question(0), make_question(1), make_question(1)]) == 1
        assert [q.id for q in store.questions()] == ["q0", "q1"]

    def test_a_question_never_changes(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0)])
        changed = replace(make_question(0), texts=("other", "words", "here"))
        with pytest.raises(StoreError, match=r"q0.*other content"):
            store.add_questions([make_question(1), changed])
        assert store.questions() == [make_question(0)], "all or none"

    def test_unknown_question_is_named(self, store: FeedbackStore) -> None:
        with pytest.raises(StoreError, match="no question 'nowhere'"):
            store.question("nowhere")
        with pytest.raises(StoreError, match="no question 'nowhere'"):
            store.add_ranking("nowhere", "ann", [1, 2, 3])

    # Whose turn

    def test_priority_then_age_decides_who_is_next(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0), make_question(1, priority=1.0), make_question(2)])
        order: list[str] = []
        while not isinstance(turn := store.work.take("ann"), str):
            order.append(turn.question.id)
            store.add_ranking(turn.question.id, "ann", [1, 2, 3])
        assert order == ["q1", "q0", "q2"]
        assert store.work.progress("ann") == Progress(answered=3, skipped=0, questions=3, last_hour=3)
        assert store.work.progress("bob") == Progress(answered=0, skipped=0, questions=3, last_hour=0)
        following = store.work.take("bob")
        assert not isinstance(following, str)
        assert following.question.id == "q1", "one person's answers do not close a question for another"

    # Answers

    def test_ranking_is_kept_in_the_order_shown(self, store: FeedbackStore) -> None:
        question = make_question(0, answers=4)
        store.add_questions([question])
        event = store.add_ranking("q0", "ann", [2, None, 2, 7], seconds=12.5, note="hm ✓", order=[2, 0, 3, 1])
        (ranking,) = store.rankings()
        assert ranking.completion_ids == ("q0c2", "q0c0", "q0c3", "q0c1")
        assert ranking.texts == ("answer 2 to 0", "answer 0 to 0", "answer 3 to 0", "answer 1 to 0")
        assert ranking.ranks == (1, None, 1, 2), "dense, ties and failures kept"
        assert ranking.prompt == question.prompt
        assert (ranking.annotator, ranking.seconds, ranking.note) == ("ann", 12.5, "hm ✓")
        assert ranking.created > 1.6e9
        assert event == store.last_event()

    def test_shuffle_and_instructions_seen_are_remembered(self, store: FeedbackStore) -> None:
        question = make_question(0)
        store.add_questions([question])
        mine = store.answer(store.add_ranking("q0", "ann", [1, 2, 3]))
        theirs = store.answer(store.add_ranking("q0", "bob", [1, 2, 3], instructions="Other words."))
        assert mine is not None
        assert theirs is not None
        assert mine.order == display_order(question, "ann")
        assert store.instructions_text(mine.instructions_id) == "Best first."
        assert store.instructions_text(theirs.instructions_id) == "Other words."

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"response": Ranks((1, 2))}, "2 ranks for 3 answers"),
            ({"response": Ranks((0, 1, 2))}, "rank 0"),
            ({"response": Ranks((1, True, 2))}, "rank True"),
            ({"response": Ranks((1, 1.5, 2))}, "rank 1.5"),  # pyright: ignore[reportArgumentType]
            ({"order": (0, 0, 1)}, "order"),
            ({"order": (0, 1)}, "order"),
            ({"seconds": float("nan")}, "seconds"),
            ({"seconds": -1.0}, "seconds"),
            ({"annotator": ""}, "annotator"),
            ({"annotator": "a\nb"}, "annotator"),
            ({"annotator": "erased:4"}, "erased"),
            ({"note": "x" * 20_000}, "note"),
            ({"supersedes": 1}, "event 1"),
        ],
    )
    def test_answers_that_do_not_fit_are_refused(
        self, store: FeedbackStore, change: dict[str, object], message: str
    ) -> None:
        store.add_questions([make_question(0)])
        good = Answer("q0", "ann", Ranks((1, 2, 3)))
        with pytest.raises(UserError, match=message):
            store.add_answers([replace(good, **change)])  # pyright: ignore[reportArgumentType]
        assert store.rankings() == []

    def test_bulk_is_all_or_none(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0), make_question(1)])
        good = [
            Answer("q0", "ann", Ranks((1, 2, 3))),
            Answer("q1", "ann", Ranks((1, 1, None))),
            Answer("q0", "bob", Ranks((3, 2, 1))),
        ]
        with pytest.raises(StoreError):
            store.add_answers([*good, Answer("q1", "ann", Ranks((1, 2, 3)))])
        assert store.rankings() == []
        numbers = store.add_answers(good)
        assert all(a < b for a, b in pairwise(numbers))
        assert [(r.annotator, r.prompt.id) for r in store.rankings()] == [("ann", "p0"), ("ann", "p1"), ("bob", "p0")]
        assert store.add_answers([]) == []

    # Corrections

    def test_nobody_answers_twice(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0)])
        first = store.add_ranking("q0", "ann", [1, 2, 3])
        with pytest.raises(StoreError, match=f"supersedes={first}"):
            store.add_ranking("q0", "ann", [3, 2, 1])

    def test_correction_supersedes_and_the_past_stays(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0)])
        first = store.add_ranking("q0", "ann", [1, 2, 3])
        second = store.add_ranking("q0", "ann", [3, 2, 1], supersedes=first)
        assert [r.ranks for r in store.rankings()] == [(3, 2, 1)]
        assert [r.ranks for r in store.rankings(upto=first)] == [(1, 2, 3)]
        assert [r.ranks for r in store.rankings(upto=second)] == [(3, 2, 1)]
        old = store.answer(first)
        assert old is not None
        assert not old.standing
        with pytest.raises(StoreError, match=f"event {first}"):
            store.add_ranking("q0", "ann", [1, 1, 1], supersedes=first)

    def test_undo_opens_the_question_again(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0)])
        first = store.add_ranking("q0", "ann", [1, 2, 3])
        assert store.last_answer("ann") == first
        undone = store.undo(first, "ann")
        assert undone > first
        assert store.rankings() == []
        assert len(store.rankings(upto=first)) == 1
        assert store.last_answer("ann") is None
        turn = store.work.take("ann")
        assert not isinstance(turn, str)
        assert turn.question == make_question(0)
        store.add_ranking("q0", "ann", [2, 1, 3])
        assert [r.ranks for r in store.rankings()] == [(2, 1, 3)]

    def test_only_ones_own_standing_answer_can_be_undone(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0)])
        first = store.add_ranking("q0", "ann", [1, 2, 3])
        for event, who in ((first, "bob"), (first + 50, "ann"), (1, "ann")):
            with pytest.raises(StoreError, match="no standing answer"):
                store.undo(event, who)
        store.undo(first, "ann")
        with pytest.raises(StoreError, match="no standing answer"):
            store.undo(first, "ann")

    def test_last_answer_of_one_question(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0), make_question(1)])
        ranks = Ranks((1, 2, 3))
        first, second = store.add_answers([Answer("q0", "ann", ranks), Answer("q1", "ann", ranks)])
        assert store.last_answer("ann") == second
        assert store.last_answer("ann", "q0") == first
        assert store.last_answer("bob") is None

    # Snapshots, erasure, secrets

    def test_snapshot_stays_as_it_was(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0), make_question(1)])
        moment = store.add_ranking("q0", "ann", [1, 2, 3])
        assert store.last_event() == moment
        before = store.rankings(upto=moment)
        store.add_ranking("q1", "ann", [1, 2, 3])
        store.add_ranking("q0", "bob", [1, 2, 3])
        store.undo(moment, "ann")
        assert store.rankings(upto=moment) == before
        assert store.rankings(upto=0) == []

    def test_erasing_a_person_leaves_tombstones_only(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0), make_question(1)])
        first = store.add_ranking("q0", "ann", [1, 2, 3], note="my secret")
        store.add_ranking("q0", "ann", [3, 2, 1], supersedes=first)
        store.add_ranking("q0", "bob", [1, 2, 3])
        moment = store.last_event()
        assert store.erase_annotator("ann") == 2
        assert store.last_event() > moment, "the erasure is an event too"
        assert [r.annotator for r in store.rankings()] == ["bob"]
        assert [r.annotator for r in store.rankings(upto=first)] == []
        assert store.answer(first) is None
        assert store.counts()["annotators"] == 1
        assert store.counts()["events"] == 6
        with pytest.raises(StoreError, match="no annotator 'ann'"):
            store.erase_annotator("ann")

    def test_what_is_new_behind_an_event(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(n) for n in range(4)])
        first, second, third = (store.add_ranking(f"q{n}", "ann", [1, 2, 3]) for n in range(3))
        fourth = store.add_ranking("q3", "bob", [1, 2, 3])
        assert [answer.event for answer in store.answers(after=second)] == [third, fourth]
        assert [answer.event for answer in store.answers(third, after=first)] == [second, third]
        moment = store.last_event()
        corrected = store.add_ranking("q0", "ann", [3, 2, 1], supersedes=first)
        store.undo(second, "ann")
        store.erase_annotator("bob")
        assert store.withdrawn(0, moment) == set()
        assert store.withdrawn(moment, corrected) == {first}
        assert store.withdrawn(corrected, store.last_event()) == {second, fourth}
        assert [answer.event for answer in store.answers(after=moment)] == [corrected]

    def test_what_a_run_learned_is_noted_once(self, store: FeedbackStore) -> None:
        assert not store.lessons.exist()
        assert store.lessons.newest() is None
        store.add_questions([make_question(n) for n in range(3)])
        given = [store.add_ranking(f"q{n}", "ann", [1, 2, 3]) for n in range(3)]
        learned = [Lesson(given[0], 0.5, 0), Lesson(given[1], None, 0), Lesson(given[2], 1.0, 1)]
        store.lessons.add_policy("older", 0)
        store.lessons.add("older", learned)
        for _ in range(2):  # told again after a kill
            for policy in range(2):
                store.lessons.add_policy("newer", policy)
            store.lessons.add("newer", learned[:2])
            store.lessons.add("newer", learned)
        assert store.lessons.exist()
        found = store.lessons.newest()
        assert found is not None
        assert (found.learned, found.policy, found.recent) == (3, 1, tuple(learned))
        last = store.lessons.newest(most=1)
        assert last is not None
        assert (last.learned, last.recent) == (3, (learned[2],))

    def test_secret_is_kept(self, store: FeedbackStore, store_factory: StoreFactory) -> None:
        first = store.secret()
        with store_factory() as again:
            assert again.secret() == first
            assert again.secret("other") != first

    def test_counts(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0), make_question(1)])
        store.add_answers([Answer("q0", "ann", Ranks((1, 2, 3))), Answer("q0", "bob", Ranks((1, 2, 3)))])
        store.undo(store.last_event(), "bob")
        assert store.counts() == {
            "questions": 2,
            "answered": 1,
            "answers": 1,
            "skips": 0,
            "annotators": 1,
            "events": 5,
        }

    # Several at once

    def test_what_one_connection_wrote_another_reads(self, store: FeedbackStore, store_factory: StoreFactory) -> None:
        store.add_questions([make_question(0)])
        store.add_ranking("q0", "ann", [1, 2, 3])
        with store_factory() as other:
            assert other.rankings() == store.rankings()

    def test_a_race_for_one_question_has_one_winner(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(n) for n in range(5)])

        def answer(attempt: int) -> bool:
            try:
                store.add_ranking(f"q{attempt % 5}", "ann", [1, 2, 3])
            except StoreError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(answer, range(40))) == 5
        assert len(store.rankings()) == 5

    def test_events_never_appear_behind_a_reader(self, store: FeedbackStore, store_factory: StoreFactory) -> None:
        store.add_questions([make_question(n) for n in range(8)])
        first = store.last_event()

        def write(name: str) -> None:
            with store_factory() as mine:
                for n in range(8):
                    mine.add_ranking(f"q{n}", name, [1, 2, 3])

        seen: list[tuple[int, int]] = []
        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(write, f"writer {i}") for i in range(4)]
            while not all(task.done() for task in running):
                moment = store.last_event()
                seen.append((moment, len(store.rankings(upto=moment))))
            for task in running:
                task.result()
        assert store.counts()["answers"] == 32
        assert store.last_event() >= first + 32
        assert all(len(store.rankings(upto=moment)) == count for moment, count in seen)

    def test_opening_at_the_same_time_makes_one_store(self, store_factory: StoreFactory) -> None:
        with ThreadPoolExecutor(4) as pool:
            opened = list(pool.map(lambda _: store_factory(), range(4)))
        assert len({store.secret() for store in opened}) == 1
        for store in opened:
            store.close()
