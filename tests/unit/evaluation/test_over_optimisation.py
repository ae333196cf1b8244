import math

import numpy as np
import pytest

from assent.evaluation.over_optimisation import (
    Curve,
    Form,
    crossfit_fall,
    curve_points,
    early_stopping,
    fit_over_optimisation,
    predicted,
)

KL = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 25.0])


def noisy(form: Form, alpha: float, beta: float, noise: float = 1.0, prompts: int = 200, seed: int = 0) -> np.ndarray:
    """[P, G] rewards of the form, each prompt with its own level and noise."""
    rng = np.random.default_rng(seed)
    means = predicted(np.sqrt(KL), alpha, beta, form)
    return 5 + means[:, None] + rng.normal(size=prompts) + noise * rng.normal(size=(len(KL), prompts))


def kl(prompts: int = 200) -> np.ndarray:
    return np.repeat(KL[:, None], prompts, axis=1)


@pytest.mark.parametrize(("form", "peak"), [("best-of-n", (2.0 / 0.8) ** 2), ("rl", math.exp(2.0 / 1.0 - 1) ** 2)])
def test_recovers_what_made_the_curve(form: Form, peak: float) -> None:
    alpha, beta = (2.0, 0.4) if form == "best-of-n" else (2.0, 1.0)
    fit = fit_over_optimisation(kl(), noisy(form, alpha, beta, noise=0.0), form)
    assert (fit.alpha.value, fit.beta.value) == pytest.approx((alpha, beta))
    assert fit.peak_kl == pytest.approx(peak)
    assert fit.peak_gain == pytest.approx(float(predicted(np.array([math.sqrt(peak)]), alpha, beta, form)[0]))
    assert fit.rmse == pytest.approx(0.0, abs=1e-9)
    assert fit.reached


@pytest.mark.parametrize("measured", [slice(0, 5), slice(5, None)])
def test_a_peak_with_checkpoints_on_one_side_alone_is_not_reached(measured: slice) -> None:
    places = np.array([0, *np.linspace(0.5, 3.5, 4), *np.linspace(8, 14, 4)])[np.r_[0, np.arange(9)[measured]]]
    gains = predicted(np.sqrt(places), 2.0, 0.4, "best-of-n")  # its peak is at 6.25
    each = [np.repeat(row[:, None], 50, axis=1) for row in (places, gains)]
    fit = fit_over_optimisation(each[0], each[1], "best-of-n")
    assert fit.peak_kl == pytest.approx(6.25)
    assert not fit.reached


def test_a_curve_that_does_not_turn_has_no_peak() -> None:
    fit = fit_over_optimisation(kl(), noisy("best-of-n", 1.0, -0.1), "best-of-n")
    assert fit.peak_kl is fit.peak_gain is None
    assert not fit.reached
    far = fit_over_optimisation(kl(), noisy("rl", 9.0, 0.1, noise=0.0), "rl")
    assert far.peak_kl is None


def test_too_few_checkpoints_are_refused() -> None:
    with pytest.raises(ValueError, match="needs three"):
        fit_over_optimisation(kl()[:3], noisy("rl", 1.0, 0.1)[:3], "rl")


def test_points_are_paired_with_the_start() -> None:
    proxy = np.array([[0.0, 10.0], [1.0, 12.0]])
    curve = Curve(("0", "5"), np.array([[0.0, 0.0], [0.4, 0.6]]), proxy, None)
    start, moved = curve_points(curve)
    assert (start.proxy, start.proxy_se, start.kl) == (0.0, 0.0, 0.0)
    assert (moved.kl, moved.proxy, moved.gold) == (0.5, 1.5, None)
    assert moved.proxy_se == pytest.approx(0.5)  # not the spread between prompts


def test_early_stopping_is_advised_where_going_on_cost_something() -> None:
    curve = Curve(tuple(map(str, KL)), kl(), noisy("rl", 3.0, 0.0), noisy("rl", 2.0, 1.2))
    found = early_stopping(curve)
    assert found.advised
    assert found.loss.low > 0
    assert 1.0 <= found.kl <= 4.0
    rising = early_stopping(Curve(tuple(map(str, KL)), kl(), noisy("rl", 3.0, 0.0), noisy("rl", 3.0, 0.0)))
    assert not rising.advised
    with pytest.raises(ValueError, match="held-out"):
        early_stopping(Curve(("0",), kl()[:1], kl()[:1]))


def test_choosing_the_luckiest_of_many_does_not_look_like_a_fall() -> None:
    """Checkpoints that are all alike: the naive fall is large, the cross-fitted one averages to nothing."""
    rng = np.random.default_rng(0)
    falls, naive = [], []
    for _ in range(400):
        rewards = rng.normal(size=(20, 60))
        falls.append(crossfit_fall(rewards).mean())
        naive.append(rewards.mean(1).max() - rewards[-1].mean())
    assert abs(np.mean(falls)) < 0.03
    assert np.mean(naive) > 0.2


def test_a_curve_of_uneven_shapes_is_refused() -> None:
    with pytest.raises(ValueError, match="prompts"):
        Curve(("0", "1"), np.zeros((2, 3)), np.zeros((2, 4)))
