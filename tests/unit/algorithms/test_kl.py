"""KL estimators by enumeration: the expectation over a categorical is a finite sum."""

import math

import pytest
import torch

from assent.algorithms.kl import adapt_coefficient, k1, k2, k3

THETA = torch.tensor([0.3, -1.2, 0.9, 0.1, 2.0], dtype=torch.float64)
REF = torch.log_softmax(torch.tensor([1.0, 0.2, -0.4, 0.5, 0.6], dtype=torch.float64), -1)


def policy() -> tuple[torch.Tensor, torch.Tensor]:
    theta = THETA.clone().requires_grad_()
    return theta, torch.log_softmax(theta, -1)


def gradient_of_expectation(estimator) -> torch.Tensor:
    """E_p[grad estimator]: samples are drawn first, then the estimator is differentiated as a loss."""
    theta, log_p = policy()
    (log_p.detach().exp() * estimator(log_p, REF)).sum().backward()
    assert theta.grad is not None
    return theta.grad


def gradient_of_kl(reverse: bool = False) -> torch.Tensor:
    theta, log_p = policy()
    kl = (REF.exp() * (REF - log_p)).sum() if reverse else (log_p.exp() * (log_p - REF)).sum()
    kl.backward()
    assert theta.grad is not None
    return theta.grad


def test_k1_and_k3_are_unbiased_and_k2_is_not():
    log_p = policy()[1].detach()
    kl = float((log_p.exp() * (log_p - REF)).sum())
    assert kl > 0.1
    assert float((log_p.exp() * k1(log_p, REF)).sum()) == pytest.approx(kl, abs=1e-12)
    assert float((log_p.exp() * k3(log_p, REF)).sum()) == pytest.approx(kl, abs=1e-12)
    assert abs(float((log_p.exp() * k2(log_p, REF)).sum()) - kl) > 1e-3
    assert bool((k3(log_p, REF) >= 0).all())
    assert bool((k1(log_p, REF) < 0).any())


def test_the_gradient_of_k2_as_a_loss_is_that_of_the_kl():
    assert gradient_of_kl().abs().max() > 0.05
    torch.testing.assert_close(gradient_of_expectation(k2), gradient_of_kl(), rtol=0, atol=1e-12)


def test_the_gradient_of_k1_is_nothing_and_that_of_k3_belongs_to_the_reversed_kl():
    assert gradient_of_expectation(k1).abs().max() < 1e-12
    torch.testing.assert_close(gradient_of_expectation(k3), gradient_of_kl(reverse=True), rtol=0, atol=1e-12)


def test_k3_by_hand_and_finite_far_away():
    got = k3(torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -1.0]))
    want = [math.exp(-0.5) - 1 + 0.5, math.e - 1 - 1]
    assert got.tolist() == pytest.approx(want, abs=1e-6)
    assert float(k3(torch.tensor(-500.0), torch.tensor(0.0))) == pytest.approx(math.exp(20) - 21, rel=1e-5)
    assert float(k3(torch.tensor(0.0), torch.tensor(-500.0))) == pytest.approx(19.0, abs=1e-4)


def test_the_controller_by_hand():
    assert adapt_coefficient(0.1, 6.6, 6.0, 100.0, 10) == pytest.approx(0.1 * (1 + 0.1 * 10 / 100))
    assert adapt_coefficient(0.1, 60.0, 6.0, 100.0, 10) == pytest.approx(0.1 * 1.02)  # clipped at +0.2
    assert adapt_coefficient(0.1, 0.0, 6.0, 100.0, 10) == pytest.approx(0.1 * 0.98)  # clipped at -0.2
