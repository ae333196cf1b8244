"""Intervals of 95 % over many simulated data sets: they hold the truth as often as they say."""

import numpy as np

from assent.evaluation.over_optimisation import fit_over_optimisation
from assent.feedback.competence import clearness
from assent.feedback.reliability import reliability
from assent.feedback.simulate import SimulatedAnnotator
from tests.unit.evaluation.test_over_optimisation import kl, noisy
from tests.unit.feedback.test_reliability import ranking


def test_known_competence_is_within_its_interval():
    """Simulated annotators of the model's own kind: 240 intervals of 95%, of which some 228 hold the truth."""
    reading = {"a": 0.95, "b": 0.8, "c": 0.6, "d": 0.3, "e": 0.0, "f": -0.5}
    truth = {name: share * clearness(2.0)[0] for name, share in reading.items()}
    held = 0
    for seed in range(40):
        found = reliability(simulated(reading, seed))
        held += sum(found[n].competence.low <= truth[n] <= found[n].competence.high for n in reading)
    assert 0.91 <= held / 240 <= 0.985


def simulated(reading, seed):
    """Two hundred questions of four answers, whose gaps spread by 2 logits, to three of six annotators each."""
    draw, names, out = np.random.default_rng(seed), list(reading), []
    for i in range(200):
        utilities = draw.normal(size=4) * np.sqrt(2.0)
        for name in draw.permutation(names)[:3]:
            share = reading[name]
            seen = utilities if draw.random() < abs(share) else draw.normal(size=4) * np.sqrt(2.0)
            ranks = SimulatedAnnotator(f"simulated:{name}", noise=1.0, tie_width=0.2).rank(
                f"q{i}", (seen if share >= 0 else -seen).tolist(), seed
            )
            out.append(ranking(str(name), ranks, f"p{i}"))
    return out


def test_the_fall_of_an_over_optimised_curve_is_within_its_interval() -> None:
    covered = []
    for seed in range(60):
        fit = fit_over_optimisation(kl(80), noisy("rl", 2.0, 1.0, prompts=80, seed=seed), "rl", resamples=200)
        assert fit.peak_kl_low is not None
        assert fit.peak_kl_high is not None
        covered.append(fit.beta.low <= 1.0 <= fit.beta.high)
    assert np.mean(covered) > 0.85
