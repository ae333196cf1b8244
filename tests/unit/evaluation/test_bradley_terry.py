import numpy as np
import pytest
import statsmodels.api as sm

from assent.evaluation.bradley_terry import ELO, Game, bradley_terry
from assent.evaluation.logistic import fit_logistic

STRENGTHS = {"base": 0.0, "sft": 0.8, "dpo": 1.4, "ppo": 2.0}


def tournament(prompts: int, seed: int, ties: float = 0.0) -> list[Game]:
    """Every pair of policies once a prompt, each prompt with a lean of its own towards one side."""
    rng = np.random.Generator(np.random.Philox(seed))
    names = list(STRENGTHS)
    games = []
    for prompt in range(prompts):
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                won = rng.random() < 1 / (1 + np.exp(STRENGTHS[second] - STRENGTHS[first]))
                games.append(Game(first, second, 0.5 if rng.random() < ties else float(won), prompt))
    return games


def test_equals_the_logistic_regression_of_statsmodels() -> None:
    games = tournament(60, seed=3)
    found = {rating.policy: rating for rating in bradley_terry(games, "base")}
    others = ["dpo", "ppo", "sft"]
    x = np.array([[(g.first == name) - (g.second == name) for name in others] for g in games], dtype=float)
    groups = np.array([g.prompt for g in games])
    theirs = sm.GLM([g.outcome for g in games], x, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    scale = np.sqrt(60 / 59)  # ours counts G / (G - 1)
    for place, name in enumerate(others):
        assert found[name].elo == pytest.approx(ELO * theirs.params[place], abs=1e-6)
        half = (found[name].high - found[name].low) / 2
        assert half == pytest.approx(ELO * 2.0010 * theirs.bse[place] * scale, rel=1e-4)  # t of 59 degrees
    assert found["base"].elo == found["base"].low == 0.0


def test_two_policies_are_their_win_rate() -> None:
    games = [Game("a", "b", outcome, i) for i, outcome in enumerate([1.0] * 7 + [0.5] * 2 + [0.0] * 3)]
    best, anchor = bradley_terry(games, "b")
    assert (best.policy, anchor.policy, best.games) == ("a", "b", 12)
    assert best.elo == pytest.approx(400 * np.log10(8 / 4))
    assert best.low < best.elo < best.high


def test_turning_every_game_round_changes_nothing() -> None:
    games = tournament(30, seed=1, ties=0.2)
    turned = [Game(g.second, g.first, 1 - g.outcome, g.prompt) for g in games]
    for one, two in zip(bradley_terry(games, "sft"), bradley_terry(turned, "sft"), strict=True):
        assert (one.policy, one.games) == (two.policy, two.games)
        assert one.elo == pytest.approx(two.elo)


def test_coverage() -> None:
    covered = []
    for seed in range(200):
        for rating in bradley_terry(tournament(50, seed), "base"):
            if rating.policy != "base":
                covered.append(rating.low <= ELO * STRENGTHS[rating.policy] <= rating.high)
    assert 0.92 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize(
    ("games", "anchor", "said"),
    [
        ([Game("a", "b", 1.0, i) for i in range(5)], "a", "no bound"),
        ([Game("a", "b", 0.5, 0), Game("c", "d", 0.5, 1)], "a", "never met"),
        ([Game("a", "b", 0.5, 0)], "c", "no comparison"),
        ([Game("a", "a", 0.5, 0)], "a", "itself"),
        ([Game("a", "b", 1.0, 0), Game("a", "b", 0.0, 0)], "a", "two prompts"),
    ],
)
def test_refuses_what_has_no_answer(games: list[Game], anchor: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bradley_terry(games, anchor)


def test_a_logistic_fit_refuses_separation_and_collinear_features() -> None:
    x, y = np.array([[1.0, -1.0], [1.0, 1.0], [1.0, 2.0]]), np.array([0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="always wins"):
        fit_logistic(x, y, [0, 1, 2])
    with pytest.raises(ValueError, match="apart"):
        fit_logistic(np.ones((4, 2)), np.array([0.0, 1.0, 1.0, 0.0]), [0, 1, 2, 3])
