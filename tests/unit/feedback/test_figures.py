"""The figures of the dashboards, by hand."""

import pytest

from assent.feedback.figures import (
    agreement_over_time,
    annotator_figures,
    coverage,
    disagreements,
    group_disagreement,
    label_budget,
    learning_curve,
)
from assent.feedback.lessons import Lesson
from assent.feedback.questions import Question
from assent.types import Prompt, Ranking

DAY = 86_400.0


def ranking(annotator, ranks, prompt="p", created=0.0, seconds=None, criterion="overall"):
    ids = tuple(f"{prompt}{i}" for i in range(len(ranks)))
    return Ranking(
        f"{annotator}-{prompt}",
        Prompt(prompt, text="?"),
        ids,
        ids,
        tuple(ranks),
        annotator,
        criterion,
        seconds,
        created,
    )


def question(prompt, criterion="overall", count=2):
    ids = tuple(f"{prompt}{i}" for i in range(count))
    return Question(f"q-{prompt}-{criterion}", Prompt(prompt, text="?"), ids, ids, criterion)


def test_agreement_over_time_falls_where_people_part():
    rows = []
    for i in range(20):
        late = i >= 10
        rows.append(ranking("ann", (1, 2), f"p{i:02d}", created=float(i)))
        rows.append(ranking("bob", (2, 1) if late else (1, 2), f"p{i:02d}", created=i + 0.5))
    rows.append(ranking("ann", (1, 2), "alone", created=100.0))
    found = agreement_over_time(rows[::-1], points=4)
    assert [(p.start, p.end) for p in found] == [(0.5, 4.5), (5.5, 9.5), (10.5, 14.5), (15.5, 19.5)]
    assert [p.agreement.same.value for p in found] == [1.0, 1.0, 0.0, 0.0]
    assert [p.agreement.questions for p in found] == [5, 5, 5, 5]
    assert len(agreement_over_time(rows[:4], points=10)) == 2
    assert agreement_over_time([]) == []


def test_annotators_one_by_one():
    rows = [ranking(name, (1, 2, None), f"p{i}", seconds=2.0 + i) for name in ("ann", "bob") for i in range(3)]
    rows.append(ranking("cat", (1, 1), "alone"))
    ann, bob, cat = annotator_figures(rows)
    assert [who.name for who in (ann, bob, cat)] == ["ann", "bob", "cat"]
    assert (ann.answers, ann.failed_share, ann.ties_share, ann.median_seconds) == (3, pytest.approx(1 / 3), 0.0, 3.0)
    assert ann.reliability.pairs == 9
    assert ann.reliability.competence.value > 0.5
    assert ann.bias.first_shown.value == 1.0
    assert (cat.answers, cat.reliability, cat.ties_share, cat.median_seconds) == (1, None, 1.0, None)
    assert annotator_figures([]) == []


def test_the_widest_splits_between_the_competent_come_first():
    rows = [ranking(name, (1, 2), f"p{i:02d}") for name in ("ann", "bob", "cat") for i in range(30)]
    rows += [ranking("eve", (1, 2) if i % 2 else (2, 1), f"p{i:02d}") for i in range(30)]  # eve guesses
    rows += [ranking("ann", (1, 2), "open"), ranking("bob", (2, 1), "open"), ranking("cat", (1, 1), "open")]
    found = disagreements(rows, limit=3)
    assert found[0].prompt_id == "open"
    assert [r.annotator for r in found[0].rankings] == ["ann", "bob", "cat"]
    assert found[0].split > 2 * found[1].split
    assert len(found) == 3
    assert disagreements([ranking("ann", (1, 2)), ranking("bob", (1, 2))]) == []


def test_coverage_counts_people_not_answers():
    questions = [question("a"), question("b"), question("c", "kind")]
    rows = [ranking("ann", (1, 2), "a"), ranking("ann", (2, 1), "a"), ranking("bob", (1, 2), "a")]
    rows += [ranking("ann", (1, 2), "c")]  # of another criterion than the question's
    found = coverage(questions, rows)
    assert (found.questions, dict(found.by_answers)) == (3, {0: 2, 2: 1})
    assert dict(found.by_criterion) == {"kind": (0, 1), "overall": (1, 2)}


def test_the_budget_counts_what_is_still_wanted():
    questions, now = [question("a"), question("b")], 100 * DAY
    rows = [ranking(name, (1, 2), "a", created=now - days * DAY) for name, days in (("x", 1), ("y", 2), ("z", 20))]
    found = label_budget(questions, rows, overlap=2, now=now)
    assert (found.wanted, found.given, found.left) == (4, 2, 2)
    assert found.per_day == pytest.approx(2 / 7)
    assert found.days_left == pytest.approx(7.0)
    few = label_budget(questions, rows, overlap=2, now=now, total=2)
    assert (few.wanted, few.left, few.days_left) == (2, 0, 0.0)
    assert label_budget(questions, [], overlap=1, now=now).days_left is None


def test_groups_are_compared_field_by_field():
    rows = []
    for i in range(20):
        rows += [ranking(name, (1, 2), f"p{i}") for name in ("ann", "bob")]
        rows += [ranking(name, (2, 1), f"p{i}") for name in ("cat", "dan")]
    people = {
        "ann": {"language": "de", "field": "law"},
        "bob": {"language": "de", "field": "art"},
        "cat": {"language": "fr", "field": "law"},
        "dan": {"language": "fr"},
        "eve": {"language": "pl", "group": "x"},
    }
    found = group_disagreement(rows, people)
    assert set(found) == {"language", "field"}
    assert found["language"].gap.value == 1.0
    # law and art: ann and bob agree, cat and bob do not; within law ann and cat do not
    assert found["field"].gap.value == pytest.approx(-0.5)
    assert group_disagreement(rows, {}) == {}


def test_the_learning_curve_is_of_decided_answers_in_their_order():
    lessons = [Lesson(10 + n, None if n == 2 else float(n > 3), n // 4) for n in range(9)]
    first, second = learning_curve(lessons, learned=109, points=9, least=4)
    assert (first.first, first.last, first.accuracy.value, first.policy) == (101, 105, 0.25, 1)
    assert (second.first, second.last, second.accuracy.value, second.policy) == (106, 109, 1.0, 2)
    assert first.accuracy.low < 0.25 < first.accuracy.high
    (few,) = learning_curve(lessons[:2], learned=2)
    assert (few.first, few.last, few.accuracy.value) == (1, 2, 0.0)
    assert learning_curve([Lesson(1, None, 0)], learned=1) == []
