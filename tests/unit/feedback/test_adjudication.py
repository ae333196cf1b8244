"""From what several say of a pair to one comparison of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assent.feedback.adjudication import adjudicate
from assent.feedback.comparisons import comparisons_from_rankings
from assent.feedback.competence import fit_competence
from assent.feedback.votes import votes_from_rankings
from assent.types import Comparison, Prompt, Ranking, from_json, to_json


def ranking(annotator, ranks, prompt="p", ids=None):
    ids = ids or tuple("abcdefghi"[: len(ranks)])
    texts = tuple(f"text {i}" for i in ids)
    return Ranking(
        f"{annotator}-{prompt}-{''.join(ids)}", Prompt(prompt, text="?"), ids, texts, tuple(ranks), annotator
    )


def drawn(seed, people=5, prompts=30, answers=3, adversary=None):
    """Everybody sees the same order with some noise; the adversary says the opposite."""
    draw, rows = np.random.default_rng(seed), []
    for i in range(prompts):
        utilities = draw.normal(size=answers) * 3
        for a in range(people):
            seen = utilities + draw.gumbel(size=answers)
            seen = -seen if a == adversary else seen
            ranks = (np.argsort(np.argsort(-seen)) + 1).tolist()
            rows.append(ranking(f"n{a}", ranks, f"p{i}"))
    return rows


def test_all_keeps_every_rankings_own_pairs():
    rows = drawn(0, prompts=4)
    assert adjudicate(rows, "all") == comparisons_from_rankings(rows)


def test_the_majority_by_hand():
    # ab: two for a, one tie: a.  ac: one for a, one for c, one tie: tie.  bc: ann b, bob c, cat c: c.
    rows = [ranking("ann", (1, 2, 3)), ranking("bob", (2, 2, 1)), ranking("cat", (1, 2, 1))]
    found = {(c.chosen[-1], c.rejected[-1]): c for c in adjudicate(rows, "majority")}
    assert set(found) == {("a", "b"), ("a", "c"), ("c", "b")}
    assert [found[k].tie for k in (("a", "b"), ("a", "c"), ("c", "b"))] == [False, True, False]
    # steps: ab 1, 0, 1; cb -1, 1, 1
    assert found["a", "b"].margin == pytest.approx(2 / 3)
    assert found["c", "b"].margin == pytest.approx(1 / 3)
    assert found["a", "c"].margin == 0.0
    for pair in found.values():
        assert pair.weight == pytest.approx(1 / 3)
        assert pair.confidence == 1.0
        assert pair.sources == ("ann-p-abc", "bob-p-abc", "cat-p-abc")
        assert from_json(Comparison, to_json(pair)) == pair
    assert len({pair.group for pair in found.values()}) == 1


def test_failures_stand_below_all_else_and_two_failures_are_a_tie():
    rows = [ranking(name, (1, None, None)) for name in ("ann", "bob")]
    for how in ("majority", "model"):
        found = {frozenset((c.chosen[-1], c.rejected[-1])): c for c in adjudicate(rows, how)}
        assert found[frozenset("ab")].chosen == found[frozenset("ac")].chosen == "text a"
        assert found[frozenset("bc")].tie


def test_a_pair_that_is_in_two_questions_belongs_to_the_larger():
    rows = [ranking("ann", (1, 2, 3)), ranking("bob", (1, 2), ids=("a", "b")), ranking("bob", (1, 2), ids=("d", "e"))]
    found = {(c.chosen[-1], c.rejected[-1]): c for c in adjudicate(rows, "majority")}
    assert found["a", "b"].sources == ("ann-p-abc", "bob-p-ab")
    assert found["a", "b"].group == found["b", "c"].group != found["d", "e"].group
    assert (found["a", "b"].weight, found["d", "e"].weight) == (pytest.approx(1 / 3), 1.0)


def test_the_best_of_several_and_strengths_of_preference():
    ids = ("a", "b", "c")
    best = [replace(ranking(name, (1, 2, 2)), kind="best") for name in ("ann", "bob")]
    for how in ("majority", "model"):
        found = adjudicate(best, how)
        assert {(c.chosen[-1], c.rejected[-1], c.weight <= 0.5) for c in found} == {("a", "b", True), ("a", "c", True)}
    assert [c.weight for c in adjudicate(best, "majority")] == [0.5, 0.5]
    strong = [
        replace(ranking(name, (1, 2), ids=ids[:2]), kind="pairwise", strength=by)
        for name, by in (("x", 3.0), ("y", 1.0))
    ]
    assert adjudicate(strong, "majority")[0].margin == 2.0


def test_the_model_hears_an_adversary_the_other_way_round():
    rows = drawn(1, people=5, prompts=80, adversary=4)
    fit = fit_competence(votes_from_rankings(rows))
    assert fit.competence("n4") < -0.5
    weighted = adjudicate(rows, "weighted")
    assert {c.annotator for c in weighted} == {"n0", "n1", "n2", "n3"}
    alone = adjudicate([ranking("n4", (1, 2), "new")], "model", fit)[0]
    assert (alone.chosen, alone.rejected) == ("text b", "text a")
    assert alone.confidence > 0.75


def test_weighted_pairs_weigh_by_competence():
    rows = drawn(2)
    fit = fit_competence(votes_from_rankings(rows))
    plain = {c.id: c for c in adjudicate(rows, "all")}
    for pair in adjudicate(rows, "weighted", fit):
        assert pair.weight == pytest.approx(plain[pair.id].weight * fit.competence(pair.annotator))
        assert (pair.chosen, pair.tie) == (plain[pair.id].chosen, plain[pair.id].tie)


def test_more_and_better_votes_are_surer_and_weigh_more():
    rows = drawn(3, people=6, prompts=80)
    fit = fit_competence(votes_from_rankings(rows))

    def of(*votes):
        return adjudicate([ranking(name, ranks, "new") for name, ranks in votes], "model", fit)[0]

    one, two = of(("n0", (1, 2))), of(("n0", (1, 2)), ("n1", (1, 2)))
    split = of(("n0", (1, 2)), ("n1", (2, 1)), ("n2", (1, 2)))
    stranger = of(("nobody", (1, 2)))
    assert 0.5 < stranger.confidence < one.confidence < two.confidence < 1.0
    assert split.confidence < two.confidence
    assert 0.0 < stranger.weight < one.weight < two.weight < 1.0
    assert one.margin < two.margin


def test_perfect_annotators_give_confidence_near_one():
    rows = [ranking(f"n{a}", (1, 2, 3), f"p{i}") for a in range(6) for i in range(50)]
    assert min(c.confidence for c in adjudicate(rows, "model")) > 0.999


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), how=st.sampled_from(["majority", "model", "weighted", "all"]))
def test_the_order_of_rows_changes_nothing(seed, how):
    rows = drawn(seed, people=3, prompts=6, adversary=seed % 3)
    shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
    one = {c.id: c for c in adjudicate(rows, how)}
    assert one == {c.id: c for c in adjudicate(shuffled, how)}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_what_is_chosen_does_not_hang_on_the_names_of_answers(seed):
    """The two answers of a pair exchanged in name: the same texts win with the same confidence."""
    rows = drawn(seed, people=3, prompts=8)
    other = {"a": "c", "b": "b", "c": "a"}
    named = [
        Ranking(r.id, r.prompt, tuple(other[i] for i in r.completion_ids), r.texts, r.ranks, r.annotator) for r in rows
    ]
    one = {frozenset((c.prompt.id, c.chosen, c.rejected)): c for c in adjudicate(rows, "model")}
    for pair in adjudicate(named, "model"):
        same = one[frozenset((pair.prompt.id, pair.chosen, pair.rejected))]
        assert pair.confidence == pytest.approx(same.confidence, abs=1e-3)
        assert pair.tie or same.confidence < 0.501 or pair.chosen == same.chosen
