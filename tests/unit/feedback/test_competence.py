"""The model of competence: its derivatives, its limits, and what it says of a pair."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from assent.feedback import competence as module
from assent.feedback.competence import Competence, clearness, fit_competence, nodes, solve_thetas
from assent.feedback.votes import votes_from_rankings
from assent.types import Prompt, Ranking


def ranking(annotator, ranks, prompt="p"):
    ids = tuple("abcdefghi"[: len(ranks)])
    return Ranking(f"{annotator}-{prompt}", Prompt(prompt, text="?"), ids, ids, tuple(ranks), annotator)


def some_rankings(seed=0, people=4, prompts=30):
    draw = np.random.default_rng(seed)
    return [ranking(f"n{a}", draw.integers(1, 4, size=3), f"p{i}") for a in range(people) for i in range(prompts)]


def test_derivatives_are_those_of_the_likelihood():
    votes = votes_from_rankings(some_rankings()).shared()
    shares = np.full(4, 0.3)
    data = module._Data.of(votes, votes.annotator, shares)
    x, thetas = np.array([0.9, 0.4, -0.1, -0.7, 0.8]), np.array([0.2, 0.3, 0.4, 0.5])
    for of in (lambda x: module._scores(x, thetas, data)[0], lambda x: np.array([module._log_prior(x)[0]])):
        exact = module._scores(x, thetas, data)[1] if of(x).size > 1 else module._log_prior(x)[1][None]
        for k in range(len(x)):
            step = np.zeros(len(x))
            step[k] = 1e-5
            assert (of(x + step) - of(x - step)) / 2e-5 == pytest.approx(exact[:, k], abs=1e-6)


def test_what_an_annotator_says_is_a_distribution():
    table = module._outcomes(np.array([0.9, -0.5]), np.array([0.2, 0.4]), np.array([0.3, 0.6]), nodes(2.0))
    assert table.sum(axis=1) == pytest.approx(np.ones((2, module.NODES)))
    assert (table > 0).all()
    assert table[0, 2, -1] > 0.9  # far ahead: the reader says first
    assert table[1, 2, -1] < table[1, 0, -1]  # who turns it around says second


def test_without_ties_it_is_the_model_of_chen_et_al():
    """P(first) = eta sigmoid(d) + (1 - eta) sigmoid(-d), eta = (1 + a) / 2; for any a, the sign included."""
    gaps = nodes(3.0)
    for a in (-0.6, 0.0, 0.8):
        table = module._outcomes(np.array([a]), np.array([1e-9]), np.array([0.0]), gaps)[0]
        eta = 0.5 * (1 + a)
        assert table[2] == pytest.approx(eta * expit(gaps) + (1 - eta) * expit(-gaps), abs=1e-8)


def test_theta_gives_the_share_of_ties():
    gaps, shares = nodes(2.0), np.array([0.05, 0.3, 0.8])
    thetas = solve_thetas(shares, gaps)
    ties = 1 - 2 * expit(gaps[None] - thetas[:, None]).mean(axis=1)
    assert ties == pytest.approx(shares, abs=1e-9)


def test_clearness_is_the_root_mean_square():
    gaps = np.linspace(-40, 40, 200001)
    exact = np.sqrt(np.sum(np.tanh(gaps / 2) ** 2 * norm.pdf(gaps, scale=2.0)) * (gaps[1] - gaps[0]))
    assert clearness(2.0)[0] == pytest.approx(exact, abs=0.01)
    slope = (clearness(2.0 * np.exp(1e-5))[0] - clearness(2.0 * np.exp(-1e-5))[0]) / 2e-5
    assert clearness(2.0)[1] == pytest.approx(slope, abs=1e-6)


def fixed(reading, spread=4.0):
    """A fit of given competence, without ties."""
    count = len(reading)
    return Competence(
        annotators=tuple(sorted(reading)),
        reading=np.array([reading[name] for name in sorted(reading)]),
        tie_shares=np.full(count, 1e-6),
        thetas=np.zeros(count),
        spread=spread,
        covariance=np.zeros((count + 1, count + 1)),
        pairs=(0,) * count,
        prompts=0,
    )


def test_the_posterior_of_a_pair_is_bayes_rule():
    """Two say first, one second: the integral over the gap, done finely."""
    reading = {"ann": 0.9, "bob": 0.5, "eve": -0.4}
    votes = votes_from_rankings([ranking("ann", (1, 2)), ranking("bob", (2, 1)), ranking("eve", (2, 1))])
    held = fixed(reading).posterior(votes)[0]
    gaps = np.linspace(-30, 30, 60001)
    eta = {name: 0.5 * (1 + a) for name, a in reading.items()}

    def first(name):
        return eta[name] * expit(gaps) + (1 - eta[name]) * expit(-gaps)

    density = norm.pdf(gaps, scale=4.0) * first("ann") * (1 - first("bob")) * (1 - first("eve"))
    assert held[nodes(4.0) > 0].sum() == pytest.approx(density[gaps > 0].sum() / density.sum(), abs=0.01)


def test_perfect_annotators_leave_no_doubt():
    """Many who always agree: of any pair the order is all but certain, and more so with more of them."""
    sure = []
    for people in (2, 4, 8):
        rows = [ranking(f"n{a}", (1, 2, 3), f"p{i}") for a in range(people) for i in range(60)]
        votes = votes_from_rankings(rows)
        fit = fit_competence(votes)
        sure.append(float(fit.posterior(votes)[:, nodes(fit.spread) > 0].sum(axis=1).min()))
    assert sure == sorted(sure)
    assert sure[-1] > 0.9999


def test_a_guess_moves_nothing_and_an_unknown_name_is_middling():
    votes = votes_from_rankings([ranking("ann", (1, 2)), ranking("eve", (1, 2))])
    above = nodes(4.0) > 0
    alone = fixed({"ann": 0.8}).posterior(votes_from_rankings([ranking("ann", (1, 2))]))[0, above].sum()
    with_guess = fixed({"ann": 0.8, "eve": 0.0}).posterior(votes)[0, above].sum()
    assert with_guess == pytest.approx(alone, abs=1e-3)
    with_stranger = fixed({"ann": 0.8}).posterior(votes)[0, above].sum()
    assert alone < with_stranger
    assert fixed({"ann": 0.8}).competence("nobody") == pytest.approx(0.6 * clearness(4.0)[0])


def test_nothing_shared_is_nothing_known():
    fit = fit_competence(votes_from_rankings([ranking("ann", (1, 2))]))
    assert fit.annotators == ()
    assert fit_competence(votes_from_rankings([])).annotators == ()
