"""Rankings to pairs, by hand."""

import pytest

from assent.feedback import comparisons_from_rankings
from assent.types import Prompt, Ranking


def ranking(*ranks, id="r"):
    names = "abcdefghi"[: len(ranks)]
    return Ranking(
        id=id,
        prompt=Prompt("p", text="Ask?"),
        completion_ids=tuple(f"id-{n}" for n in names),
        texts=tuple(names),
        ranks=ranks,
        annotator="ann",
        criterion="helpful",
    )


def verdicts(*ranks):
    return [
        (c.chosen + ("=" if c.tie else ">") + c.rejected, c.margin)
        for c in comparisons_from_rankings([ranking(*ranks)])
    ]


def test_strict_order():
    assert verdicts(2, 1, 3) == [("b>a", 1.0), ("a>c", 1.0), ("b>c", 2.0)]


def test_tie_is_kept():
    assert verdicts(1, 2, 1) == [("a>b", 1.0), ("a=c", 0.0), ("c>b", 1.0)]


def test_failed_is_below_everything():
    assert verdicts(2, None, 1) == [("a>b", 1.0), ("c>a", 1.0), ("c>b", 2.0)]


def test_two_failed_tie():
    assert verdicts(None, 1, None) == [("b>a", 1.0), ("a=c", 0.0), ("b>c", 1.0)]


def test_all_failed_or_all_equal_say_no_order():
    assert verdicts(None, None) == [("a=b", 0.0)]
    assert verdicts(1, 1) == [("a=b", 0.0)]


@pytest.mark.parametrize(("k", "pairs"), [(2, 1), (4, 6), (9, 36)])
def test_each_ranking_weighs_one(k, pairs):
    made = comparisons_from_rankings([ranking(*range(1, k + 1))])
    assert [c.weight for c in made] == [1 / pairs] * pairs


def test_pairs_lead_back_to_their_ranking():
    made = comparisons_from_rankings([ranking(1, 2, id="r1"), ranking(2, 1, 3, id="r2")])
    assert [c.group for c in made] == ["r1", "r2", "r2", "r2"]
    assert [c.ranking for c in made] == [c.group for c in made]
    assert len({c.id for c in made}) == 4
    assert {(c.annotator, c.criterion, c.prompt.id) for c in made} == {("ann", "helpful", "p")}


def test_single_answer_makes_no_pair():
    assert comparisons_from_rankings([ranking(1)]) == []
