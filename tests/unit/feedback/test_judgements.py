"""Several annotators' labels to one, and ratings to orders."""

import pytest

from assent.feedback.judgements import adjudicate_labels, fit_labels, rankings_from_judgements
from assent.types import Judgement, Prompt, from_json, to_json


def judgement(who, label, answer="a", prompt="p", criterion="kind", created=0.0):
    name = f"{who}-{prompt}-{answer}-{criterion}-{created:g}"
    return Judgement(
        name, Prompt(prompt, text="?"), f"text {answer}", label, criterion, who, created, f"{prompt}{answer}"
    )


def test_majority_by_hand():
    rows = [judgement("ann", 1.0), judgement("bob", 1.0), judgement("cat", 4.0)]
    rows += [judgement("ann", 2.0, "b"), judgement("bob", 5.0, "b"), judgement("ann", 3.0, "a", criterion="true")]
    found = {(j.response, j.criterion): j for j in adjudicate_labels(rows, "majority")}
    assert {key: j.label for key, j in found.items()} == {
        ("text a", "kind"): 1.0,
        ("text b", "kind"): 3.5,
        ("text a", "true"): 3.0,
    }
    both = found["text a", "kind"]
    assert both.sources == ("ann-p-a-kind-0", "bob-p-a-kind-0", "cat-p-a-kind-0")
    assert (both.annotator, both.completion_id) == ("", "pa")
    assert from_json(Judgement, to_json(both)) == both
    assert adjudicate_labels(rows, "all") == rows


def test_the_later_label_of_one_person_counts():
    rows = [judgement("ann", 0.0, created=2.0), judgement("ann", 1.0, created=1.0)]
    assert [j.label for j in adjudicate_labels(rows, "majority")] == [0.0]


def test_the_model_hears_the_reliable_more_and_criteria_apart():
    """Ann, bob and dan agree on kindness while eve says any label; of truth, eve alone is asked with ann."""
    rows = []
    for i in range(60):
        for who in ("ann", "bob", "dan"):
            rows.append(judgement(who, float(i % 2), prompt=f"p{i}"))
        rows.append(judgement("eve", float(i // 2 % 2), prompt=f"p{i}"))
    fits = fit_labels(rows)
    assert fits["kind"].right()["ann"] > 0.95
    assert fits["kind"].right()["eve"] == pytest.approx(0.5, abs=0.1)
    new = [judgement("ann", 1.0, prompt="new"), judgement("eve", 0.0, prompt="new")]
    assert adjudicate_labels(new, "model", fits)[0].label > 0.95
    assert adjudicate_labels(new, "majority")[0].label == 0.5
    stranger = [judgement("zoe", 1.0, prompt="new")]
    assert adjudicate_labels(stranger, "model", fits)[0].label == 1.0
    other = [judgement("ann", 0.0, prompt="new", criterion="true")]
    assert adjudicate_labels(other, "model", fits)[0].label == 0.0


def test_the_model_of_ratings_is_their_mean_by_probability():
    rows = [judgement(who, float(1 + i % 5), prompt=f"p{i}") for i in range(50) for who in ("ann", "bob", "cat")]
    rows += [
        judgement("ann", 2.0, prompt="new"),
        judgement("bob", 2.0, prompt="new"),
        judgement("cat", 3.0, prompt="new"),
    ]
    found = {j.prompt.id: j.label for j in adjudicate_labels(rows, "model")}
    assert 2.0 <= found["new"] < 2.2
    assert found["p4"] == pytest.approx(5.0, abs=0.01)


def test_ratings_make_an_order_with_ties_and_failures():
    rows = [judgement("ann", label, answer) for answer, label in (("a", 2.0), ("b", 5.0), ("c", 2.0))]
    rows += [
        judgement("ann", 1.0, "d", criterion="failed"),
        judgement("bob", 1.0, "a"),
        judgement("ann", 3.0, "a", "q"),
    ]
    (found,) = rankings_from_judgements(rows)
    assert (found.annotator, found.criterion) == ("ann", "kind")
    assert dict(zip(found.completion_ids, found.ranks, strict=True)) == {"pa": 2, "pb": 1, "pc": 2, "pd": None}
    assert found.texts == ("text a", "text b", "text c", "text d")


def test_where_all_failed_it_is_an_order_of_failures():
    rows = [judgement("ann", 1.0, answer, criterion="failed") for answer in ("a", "b")]
    assert [(r.criterion, r.ranks) for r in rankings_from_judgements(rows)] == [("overall", (None, None))]
