"""Agreement: figures by hand, and equal to the packages that the field uses on published examples."""

import krippendorff
import numpy as np
import pytest
from statsmodels.stats import inter_rater

from assent.feedback.agreement import (
    agreement,
    cohen_kappa,
    division,
    fleiss_kappa,
    krippendorff_alpha,
    pairwise_agreement,
)
from assent.feedback.ratings import labels, pair_outcomes, ratings
from assent.feedback.votes import votes_from_rankings
from assent.types import Judgement, Prompt, Ranking


def ranking(annotator, ranks, prompt="p", ids=None):
    ids = ids or tuple("abcdefghi"[: len(ranks)])
    return Ranking(f"{annotator}-{prompt}", Prompt(prompt, text="?"), ids, ids, tuple(ranks), annotator)


def values(found):
    """Alpha, agreement, and agreement without ties."""
    return [None if each is None else each.value for each in (found.alpha, found.same, found.same_decided)]


# Krippendorff 2011, "Computing Krippendorff's alpha-reliability", example C: four observers, twelve units.
PUBLISHED = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


def table(text):
    rows = [line.split() for line in text.strip().splitlines()]
    units = {
        f"u{u:02d}": {f"a{a}": float(rows[a][u]) for a in range(len(rows)) if rows[a][u] != "."}
        for u in range(len(rows[0]))
    }
    return ratings(units, {unit: unit for unit in units})


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level, published):
    found = krippendorff_alpha(table(PUBLISHED), level)
    assert found.value == pytest.approx(published, abs=5e-4)
    matrix = [[np.nan if v == "." else float(v) for v in line.split()] for line in PUBLISHED.strip().splitlines()]
    reference = krippendorff.alpha(reliability_data=matrix, level_of_measurement=level)
    assert found.value == pytest.approx(reference, abs=1e-12)
    assert found.low < found.value <= found.high


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_equals_the_package_on_random_values_and_so_do_its_resamples(level):
    draw = np.random.default_rng(0)
    for _ in range(20):
        matrix = draw.integers(0, 5, (4, 15)).astype(float) * 1.5
        matrix[draw.random(matrix.shape) < 0.4] = np.nan
        units = {
            f"u{u:02d}": {f"a{a}": matrix[a, u] for a in range(4) if not np.isnan(matrix[a, u])} for u in range(15)
        }
        reference = krippendorff.alpha(reliability_data=matrix, level_of_measurement=level)
        found = krippendorff_alpha(ratings(units, {unit: unit for unit in units}), level, resamples=0)
        assert found.value == pytest.approx(reference, abs=1e-12)
        twice = {f"{unit}{copy}": given for unit, given in units.items() for copy in "xy"}
        doubled = krippendorff.alpha(reliability_data=np.tile(matrix, 2), level_of_measurement=level)
        found = krippendorff_alpha(ratings(twice, {unit: unit[:3] for unit in twice}), level, resamples=0)
        assert found.value == pytest.approx(doubled, abs=1e-12)


# Fleiss 1971, table 1: thirty patients, six psychiatrists each, five diagnoses; kappa 0.430.
FLEISS = """
0 0 0 6 0|0 3 0 0 3|0 1 4 0 1|0 0 0 0 6|0 3 0 3 0|2 0 4 0 0|0 0 4 0 2|2 0 3 1 0|2 0 0 4 0|0 0 0 0 6
1 0 0 5 0|1 1 0 4 0|0 3 3 0 0|1 0 0 5 0|0 2 0 3 1|0 0 5 0 1|3 0 0 1 2|5 1 0 0 0|0 2 0 4 0|1 0 2 0 3
0 0 0 0 6|0 1 0 5 0|0 2 0 1 3|2 0 0 4 0|1 0 0 4 1|0 5 0 1 0|4 0 0 0 2|0 2 0 4 0|1 0 5 0 0|0 0 0 0 6
"""


def test_fleiss_kappa_of_the_published_example():
    rows = [[int(n) for n in row.split()] for row in "|".join(FLEISS.strip().splitlines()).split("|")]
    units = {}
    for u, row in enumerate(rows):
        given = [value for value, count in enumerate(row) for _ in range(count)]
        units[f"u{u:02d}"] = {f"a{a}": float(value) for a, value in enumerate(given)}
    found = fleiss_kappa(ratings(units, {unit: unit for unit in units}))
    assert found.value == pytest.approx(0.430, abs=5e-4)
    assert found.value == pytest.approx(inter_rater.fleiss_kappa(np.array(rows)), abs=1e-12)
    assert found.low < 0.430 < found.high


def test_cohen_kappa_equals_statsmodels():
    draw = np.random.default_rng(0)
    one = draw.integers(0, 3, 200)
    other = np.where(draw.random(200) < 0.6, one, draw.integers(0, 3, 200))
    square, _ = inter_rater.to_table(np.stack([one, other], 1))
    assert cohen_kappa(one, other) == pytest.approx(inter_rater.cohens_kappa(square).kappa, abs=1e-12)
    assert cohen_kappa(np.ones(3), np.ones(3)) is None


def test_two_annotators_by_hand():
    # On three pairs ann and bob say the same of two; ann and cat share one, and differ.
    rows = [
        ranking("ann", [1, 2, 3]),
        ranking("bob", [1, 3, 2]),
        ranking("ann", [1, 2], "q"),
        ranking("cat", [2, 1], "q"),
    ]
    found = pairwise_agreement(pair_outcomes(votes_from_rankings(rows)))
    assert [(m.one, m.other, m.same.value, m.units) for m in found] == [
        ("ann", "bob", pytest.approx(2 / 3), 3),
        ("ann", "cat", 0.0, 1),
    ]


def test_labels_are_compared_within_their_criterion():
    def judgement(who, label, criterion, text="t"):
        return Judgement("j", Prompt("p", text="?"), text, label, criterion, who)

    rows = [judgement(who, 1.0, "kind", text) for who in ("ann", "bob") for text in ("t", "u")]
    rows += [judgement("ann", 1.0, "true"), judgement("bob", 0.0, "true"), judgement("ann", 0.0, "kind", "alone")]
    assert [(m.same.value, m.units) for m in pairwise_agreement(labels(rows))] == [(pytest.approx(2 / 3), 3)]
    assert [(m.same.value, m.units) for m in pairwise_agreement(labels(rows, "true"))] == [(0.0, 1)]


def test_intervals_cover_agreement_that_is_known():
    """Two annotators who agree on a pair with probability 0.8, pairs independent: the interval of 95% holds it in
    some 95 of 100 draws."""
    draw, held = np.random.default_rng(0), 0
    for _ in range(100):
        agrees = draw.random(60) < 0.8
        rows = [ranking("ann", [1, 2], f"p{i}") for i in range(60)]
        rows += [ranking("bob", [1, 2] if yes else [2, 1], f"p{i}") for i, yes in enumerate(agrees)]
        found = pairwise_agreement(pair_outcomes(votes_from_rankings(rows)))[0].same
        held += found.low <= 0.8 <= found.high
    assert 88 <= held <= 99


def test_questions_are_drawn_whole():
    """Ten copies of each answer within a question are no more evidence: the interval stays as wide."""
    draw = np.random.default_rng(1)
    once, often = [], []
    for i in range(40):
        other = [1, 2] if draw.random() < 0.7 else [2, 1]
        once += [ranking("ann", [1, 2], f"p{i}"), ranking("bob", other, f"p{i}")]
        for copy in range(10):
            ids = (f"a{copy}", f"b{copy}")
            often += [ranking("ann", [1, 2], f"p{i}", ids), ranking("bob", other, f"p{i}", ids)]
    one, many = agreement(once).same, agreement(often).same
    assert (many.low, many.high) == pytest.approx((one.low, one.high))


def test_groups_that_see_it_differently_are_seen():
    """Two of each field; within a field all agree, across fields on half of the questions."""
    rows = []
    for i in range(40):
        rows += [ranking(name, [1, 2], f"p{i}") for name in ("law1", "law2")]
        rows += [ranking(name, [1, 2] if i % 2 else [2, 1], f"p{i}") for name in ("art1", "art2")]
    found = division(votes_from_rankings(rows), {name: name[:3] for name in ("law1", "law2", "art1", "art2")})
    assert {(g.one, g.other): (g.same.value, g.meetings) for g in found.groups} == {
        ("art", "art"): (1.0, 40),
        ("art", "law"): (0.5, 160),
        ("law", "law"): (1.0, 40),
    }
    assert found.gap.value == pytest.approx(0.5)
    assert found.gap.low > 0.3
    assert division(votes_from_rankings(rows), {"law1": "law", "law2": "law"}).gap is None


def test_the_order_of_rankings_and_the_names_of_annotators_are_of_no_account():
    draw = np.random.default_rng(0)
    rows = [ranking(who, draw.permutation(4) + 1, f"p{i}") for who in ("ann", "bob", "cat") for i in range(12)]
    turned = {"ann": "zoe", "bob": "ann", "cat": "bob"}
    renamed = [ranking(turned[r.annotator], r.ranks, r.prompt.id) for r in rows]
    for other in (rows[::-1], renamed):
        assert values(agreement(other)) == pytest.approx(values(agreement(rows)), abs=1e-12)


def test_same_order_is_perfect():
    found = agreement([ranking("ann", [1, 2, 3]), ranking("bob", [1, 2, 3])])
    assert values(found) == [1.0, 1.0, 1.0]
    assert (found.questions, found.annotators) == (1, 2)


def test_opposite_order_of_two():
    # Coincidences: o12 = o21 = 2, n1 = n2 = 2, n = 4.  Observed 4 d, expected 2 * 2 * 2 / 3 d = 8/3 d: 1 - 4 / (8/3).
    figures = agreement([ranking("ann", [1, 2]), ranking("bob", [2, 1])])
    assert figures.alpha.value == pytest.approx(-0.5)
    assert figures.same.value == 0.0


def test_alpha_of_three_with_one_swap():
    # a: 1, 1; b: 2, 3; c: 3, 2.  Each place occurs twice (n = 6), so d12 = d23 = (2 + 2 - 2)^2 = 4 and
    # d13 = (2 + 2 + 2 - 2)^2 = 16.  Observed: o23 = o32 = 2, 2 * 2 * 4 = 16.
    # Expected: 2 * (2 * 2) * (4 + 4 + 16) / 5 = 38.4.  Alpha: 1 - 16 / 38.4.
    figures = agreement([ranking("ann", [1, 2, 3]), ranking("bob", [1, 3, 2])])
    assert figures.alpha.value == pytest.approx(1 - 16 / 38.4)
    assert figures.same.value == pytest.approx(2 / 3)


def test_order_shown_does_not_matter():
    same = agreement([ranking("ann", [1, 2, 3]), ranking("bob", [3, 1, 2], ids=("c", "a", "b"))])
    assert same.alpha.value == 1.0


def test_ties_and_failures():
    # ann: a > b = c.  bob: a > b > c(failed).  Agree on ab and ac; on bc one says equal, the other not.
    figures = agreement([ranking("ann", [1, 2, 2]), ranking("bob", [1, 2, None])])
    assert figures.same.value == pytest.approx(2 / 3)
    assert figures.same_decided.value == 1.0


def test_failed_and_last_are_the_same_order():
    figures = agreement([ranking("ann", [1, 2, 3]), ranking("bob", [1, 2, None])])
    assert figures.alpha.value == 1.0


def test_three_annotators_count_every_pair_of_them():
    # On the one pair: ann and bob agree, cat differs from both: 1 of 3.
    figures = agreement([ranking("ann", [1, 2]), ranking("bob", [1, 2]), ranking("cat", [2, 1])])
    assert figures.same.value == pytest.approx(1 / 3)
    assert figures.annotators == 3.0


def test_only_shared_questions_count():
    rows = [ranking("ann", [1, 2]), ranking("bob", [1, 2]), ranking("ann", [1, 2], "p2"), ranking("cat", [2, 1], "p3")]
    figures = agreement(rows)
    assert (figures.questions, figures.annotators) == (1.0, 2.0)
    assert figures.same.value == 1.0


@pytest.mark.parametrize("rows", [[], [ranking("ann", [1, 2])], [ranking("ann", [1, 2]), ranking("ann", [2, 1])]])
def test_nothing_shared_is_none_not_nan(rows):
    figures = agreement(rows)
    assert figures.alpha is None
    assert figures.same is None
    assert figures.same_decided is None
    assert figures.questions == 0.0


def test_all_tied_has_no_alpha():
    figures = agreement([ranking("ann", [1, 1]), ranking("bob", [None, None])])
    assert figures.alpha is None
    assert figures.same.value == 1.0
    assert figures.same_decided is None
