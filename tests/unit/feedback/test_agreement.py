"""Agreement figures, by hand."""

import pytest

from assent.feedback import agreement
from assent.types import Prompt, Ranking


def ranking(annotator, ranks, prompt="p", ids=None):
    ids = ids or tuple("abcdefghi"[: len(ranks)])
    return Ranking(f"{annotator}-{prompt}", Prompt(prompt, text="?"), ids, ids, tuple(ranks), annotator)


def test_same_order_is_perfect():
    assert agreement([ranking("ann", [1, 2, 3]), ranking("bob", [1, 2, 3])]) == {
        "krippendorff_alpha": 1.0,
        "pairwise_agreement": 1.0,
        "pairwise_agreement_without_ties": 1.0,
        "shared_questions": 1.0,
        "annotators": 2.0,
    }


def test_opposite_order_of_two():
    # Coincidences: o12 = o21 = 2, n1 = n2 = 2, n = 4.  Observed 4 d, expected 2 * 2 * 2 / 3 d = 8/3 d: 1 - 4 / (8/3).
    figures = agreement([ranking("ann", [1, 2]), ranking("bob", [2, 1])])
    assert figures["krippendorff_alpha"] == pytest.approx(-0.5)
    assert figures["pairwise_agreement"] == 0.0


def test_alpha_of_three_with_one_swap():
    # a: 1, 1; b: 2, 3; c: 3, 2.  Each place occurs twice (n = 6), so d12 = d23 = (2 + 2 - 2)^2 = 4 and
    # d13 = (2 + 2 + 2 - 2)^2 = 16.  Observed: o23 = o32 = 2, 2 * 2 * 4 = 16.
    # Expected: 2 * (2 * 2) * (4 + 4 + 16) / 5 = 38.4.  Alpha: 1 - 16 / 38.4.
    figures = agreement([ranking("ann", [1, 2, 3]), ranking("bob", [1, 3, 2])])
    assert figures["krippendorff_alpha"] == pytest.approx(1 - 16 / 38.4)
    assert figures["pairwise_agreement"] == pytest.approx(2 / 3)


def test_order_shown_does_not_matter():
    same = agreement([ranking("ann", [1, 2, 3]), ranking("bob", [3, 1, 2], ids=("c", "a", "b"))])
    assert same["krippendorff_alpha"] == 1.0


def test_ties_and_failures():
    # ann: a > b = c.  bob: a > b > c(failed).  Agree on ab and ac; on bc one says equal, the other not.
    figures = agreement([ranking("ann", [1, 2, 2]), ranking("bob", [1, 2, None])])
    assert figures["pairwise_agreement"] == pytest.approx(2 / 3)
    assert figures["pairwise_agreement_without_ties"] == 1.0


def test_failed_and_last_are_the_same_order():
    figures = agreement([ranking("ann", [1, 2, 3]), ranking("bob", [1, 2, None])])
    assert figures["krippendorff_alpha"] == 1.0


def test_three_annotators_count_every_pair_of_them():
    # On the one pair: ann and bob agree, cat differs from both: 1 of 3.
    figures = agreement([ranking("ann", [1, 2]), ranking("bob", [1, 2]), ranking("cat", [2, 1])])
    assert figures["pairwise_agreement"] == pytest.approx(1 / 3)
    assert figures["annotators"] == 3.0


def test_only_shared_questions_count():
    rows = [ranking("ann", [1, 2]), ranking("bob", [1, 2]), ranking("ann", [1, 2], "p2"), ranking("cat", [2, 1], "p3")]
    figures = agreement(rows)
    assert (figures["shared_questions"], figures["annotators"]) == (1.0, 2.0)
    assert figures["pairwise_agreement"] == 1.0


@pytest.mark.parametrize("rows", [[], [ranking("ann", [1, 2])], [ranking("ann", [1, 2]), ranking("ann", [2, 1])]])
def test_nothing_shared_is_none_not_nan(rows):
    figures = agreement(rows)
    assert figures["krippendorff_alpha"] is None
    assert figures["pairwise_agreement"] is None
    assert figures["pairwise_agreement_without_ties"] is None
    assert figures["shared_questions"] == 0.0


def test_all_tied_has_no_alpha():
    figures = agreement([ranking("ann", [1, 1]), ranking("bob", [None, None])])
    assert figures["krippendorff_alpha"] is None
    assert figures["pairwise_agreement"] == 1.0
    assert figures["pairwise_agreement_without_ties"] is None
