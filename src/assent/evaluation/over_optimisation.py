"""Reward against KL: the curve of a run's checkpoints, its published forms, and where it should have stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from assent.intervals import Estimate, bootstrap_estimate, clustered_standard_error

Form = Literal["best-of-n", "rl"]
Floats = NDArray[np.float64]
_UNBOUNDED = 1e6
"""In nats: a peak that far away is none."""


@dataclass(frozen=True)
class Curve:
    """One run's checkpoints, the start first, on the same G prompts; a cell is the mean over a prompt's samples."""

    labels: tuple[str, ...]
    """[P] of the checkpoints: their steps, or n."""
    kl: Floats
    """[P, G] k1 from the reference, nats per completion; its mean over prompts is the measured KL."""
    proxy: Floats
    """[P, G] reward that was optimised."""
    gold: Floats | None = None
    """[P, G] held-out reward; ``None`` where there is no judge."""

    def __post_init__(self) -> None:
        shapes = {self.kl.shape, self.proxy.shape, self.proxy.shape if self.gold is None else self.gold.shape}
        if len(shapes) > 1 or self.kl.ndim != 2 or len(self.kl) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels and {sorted(shapes)}: expected [checkpoints, prompts] of each")


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A checkpoint's means, with standard errors over prompts.  Rewards are gains over the curve's first point, pair
    by pair of the same prompt, so that its own are zero."""

    label: str
    kl: float
    kl_se: float
    proxy: float
    proxy_se: float
    gold: float | None
    gold_se: float | None


@dataclass(frozen=True, slots=True)
class OverOptimisation:
    """A published form fitted to gains over KL, ``d = sqrt(KL)``.  Intervals are of 95 %, by bootstrap over prompts:
    they say what other prompts would give at these checkpoints, not what another run would."""

    form: Form
    alpha: Estimate
    beta: Estimate
    peak_kl: float | None
    """KL of the largest gain in nats; ``None`` where the fit does not turn (beta <= 0)."""
    peak_kl_low: float | None
    peak_kl_high: float | None
    """``None`` where the bootstrap does not bound it."""
    peak_gain: float | None
    reached: bool
    """Whether checkpoints that have moved lie on both sides of the peak; else the form has it where none is."""
    rmse: float
    """Root mean square of what the form leaves over, in the reward's units."""


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """Which checkpoint to take: the one of the highest held-out reward."""

    label: str
    kl: float
    gain: float
    """Held-out reward over the start's."""
    loss: Estimate
    """Held-out reward that going on to the last checkpoint cost.  The best is chosen on one half of the prompts and
    measured on the other, both ways, so that choosing the luckiest of many does not look like a loss."""
    advised: bool
    """Whether the loss is real: its interval lies above zero."""


def curve_points(curve: Curve) -> tuple[CurvePoint, ...]:
    """Means and standard errors of each checkpoint."""
    out: list[CurvePoint] = []
    for i, label in enumerate(curve.labels):
        proxy = curve.proxy[i] - curve.proxy[0]
        gold = None if curve.gold is None else curve.gold[i] - curve.gold[0]
        out.append(
            CurvePoint(
                label=label,
                kl=float(curve.kl[i].mean()),
                kl_se=clustered_standard_error(curve.kl[i]),
                proxy=float(proxy.mean()),
                proxy_se=clustered_standard_error(proxy),
                gold=None if gold is None else float(gold.mean()),
                gold_se=None if gold is None else clustered_standard_error(gold),
            )
        )
    return tuple(out)


def fit_over_optimisation(kl: Floats, rewards: Floats, form: Form, resamples: int = 500) -> OverOptimisation:
    """Fit ``R = d (alpha - beta d)`` ("best-of-n") or ``R = d (alpha - beta log d)`` ("rl") by least squares.

    ``kl`` and ``rewards`` [P, G], the start first; R is the gain over it.  Both forms are linear in their coefficients.
    The peak lies at ``d = alpha / (2 beta)`` or ``d = exp(alpha / beta - 1)``.

    Raises ``ValueError`` for fewer than three checkpoints that have moved from the start.

    Source: Gao, Schulman & Hilton, "Scaling laws for reward model overoptimization", arXiv:2210.10760 (2022), eq. 1-2.
    """
    moved = int((kl.mean(1) > 0).sum())
    if moved < 3:
        raise ValueError(f"{moved} checkpoints have moved from the start; a fit of two coefficients needs three")
    gains = rewards - rewards[0]

    def fitted(counts: Floats) -> tuple[float, float] | None:
        share = counts / counts.sum()
        return _least_squares(_distance(kl @ share), gains @ share, form)

    def alpha(counts: Floats) -> float | None:
        found = fitted(counts)
        return None if found is None else found[0]

    def beta(counts: Floats) -> float | None:
        found = fitted(counts)
        return None if found is None else found[1]

    def peak(counts: Floats) -> float | None:
        found = fitted(counts)
        d = None if found is None else _peak(*found, form)
        return _UNBOUNDED if d is None else min(d * d, _UNBOUNDED)

    prompts = kl.shape[1]
    alphas, betas, peaks = (bootstrap_estimate(each, prompts, resamples) for each in (alpha, beta, peak))
    if alphas is None or betas is None or peaks is None:
        raise ValueError("the checkpoints lie too close together for a fit of two coefficients")
    d, mean_gain = _distance(kl.mean(1)), gains.mean(1)
    a, b = alphas.value, betas.value
    left = mean_gain - predicted(d, a, b, form)
    turned = _bounded(peaks.value)
    return OverOptimisation(
        form=form,
        alpha=alphas,
        beta=betas,
        peak_kl=turned,
        peak_kl_low=_bounded(peaks.low) if turned is not None else None,
        peak_kl_high=_bounded(peaks.high) if turned is not None else None,
        peak_gain=None if turned is None else float(predicted(np.array([math.sqrt(turned)]), a, b, form)[0]),
        reached=turned is not None and bool((d**2 > turned).any() and ((d > 0) & (d**2 < turned)).any()),
        rmse=float(np.sqrt(np.mean(left[d > 0] ** 2))),
    )


def predicted(d: Floats, alpha: float, beta: float, form: Form) -> Floats:
    """Gain that a form gives at the distances ``d = sqrt(KL)`` [P]."""
    return _features(d, form) @ np.array([alpha, beta])


def early_stopping(curve: Curve, confidence: float = 0.95) -> EarlyStopping:
    """The checkpoint with the highest held-out reward, and whether going on cost anything.

    Raises ``ValueError`` where the curve has no held-out reward.
    """
    if curve.gold is None:
        raise ValueError("early stopping is judged by a held-out reward, and the curve has none")
    means = curve.gold.mean(1)
    best = int(np.argmax(means))
    lost = crossfit_fall(curve.gold)
    value, half = float(lost.mean()), float(ndtri(0.5 + confidence / 2)) * clustered_standard_error(lost)
    return EarlyStopping(
        label=curve.labels[best],
        kl=float(curve.kl[best].mean()),
        gain=float(means[best] - means[0]),
        loss=Estimate(value, value - half, value + half),
        advised=value - half > 0,
    )


def crossfit_fall(rewards: Floats) -> Floats:
    """How far the last checkpoint lies below the best one, of each prompt [G]; negative where it lies above.

    The best of ``rewards`` [P, G] is chosen on the prompts of the other half.  The mean is free of the bias of having
    chosen a maximum; with the last one itself the best, it is zero.
    """
    fall = np.empty(rewards.shape[1])
    for half in (0, 1):
        chosen, measured = (np.arange(rewards.shape[1]) % 2 == side for side in (1 - half, half))
        best = int(np.argmax(rewards[:, chosen].mean(1)))
        fall[measured] = rewards[best, measured] - rewards[-1, measured]
    return fall


def _bounded(kl: float) -> float | None:
    return kl if kl < _UNBOUNDED else None


def _distance(kl: Floats) -> Floats:
    return np.sqrt(np.maximum(kl, 0.0))


def _features(d: Floats, form: Form) -> Floats:
    """[P, 2]: what alpha and beta are multiplied by."""
    if form == "best-of-n":
        return np.stack([d, -(d**2)], axis=1)
    safe = np.where(d > 0, d, 1.0)
    return np.stack([d, -d * np.log(safe)], axis=1)


def _least_squares(d: Floats, gains: Floats, form: Form) -> tuple[float, float] | None:
    found, _, rank, _ = np.linalg.lstsq(_features(d, form), gains, rcond=None)
    return (float(found[0]), float(found[1])) if rank == 2 else None


def _peak(alpha: float, beta: float, form: Form) -> float | None:
    """The distance of the largest gain; ``None`` where the form does not turn."""
    if beta <= 0 or (form == "best-of-n" and alpha <= 0):
        return None
    exponent = alpha / beta - 1
    if form == "rl" and exponent > 50:
        return None
    return alpha / (2 * beta) if form == "best-of-n" else math.exp(exponent)
