"""Dawid and Skene's model: the paper's own data, a closed form, and errors that were planted."""

import numpy as np
import pytest

from assent.feedback.dawid_skene import dawid_skene

# Table 1 of the paper: 45 patients, by the first observer three times and by four others once.
TABLE = [
    "111 1 1 1 1", "333 4 3 3 4", "112 2 1 2 2", "222 3 1 2 1", "222 3 2 2 2", "222 3 3 2 2",
    "122 2 1 1 1", "333 3 4 3 3", "222 2 2 2 3", "232 2 2 2 3", "444 4 4 4 4", "222 3 3 4 3",
    "111 1 1 1 1", "222 3 2 1 2", "121 1 1 1 1", "111 2 1 1 1", "111 1 1 1 1", "111 1 1 1 1",
    "222 2 2 2 1", "222 1 3 2 2", "222 2 2 2 2", "222 2 2 2 1", "222 3 2 2 2", "221 2 2 2 2",
    "111 1 1 1 1", "111 1 1 1 1", "232 2 2 2 2", "111 1 1 1 1", "111 1 1 1 1", "112 1 1 2 1",
    "111 1 1 1 1", "333 3 2 3 3", "111 1 1 1 1", "222 2 2 2 2", "222 3 2 3 2", "433 4 3 4 3",
    "221 2 2 3 2", "232 3 2 3 3", "333 3 4 3 2", "111 1 1 1 1", "111 1 1 1 1", "121 2 1 1 1",
    "232 2 2 2 2", "121 1 1 1 1", "222 2 2 2 2",
]  # fmt: skip


def published():
    counts = np.zeros((45, 5, 4))
    for u, row in enumerate(TABLE):
        for a, given in enumerate(row.split()):
            for label in given:
                counts[u, a, int(label) - 1] += 1
    return counts


def test_the_papers_estimates():
    """Table 2 of the paper: prevalence, and the first observer's error rates."""
    found = dawid_skene(published(), smoothing=0.0)
    assert found.prevalence == pytest.approx([0.40, 0.42, 0.11, 0.07], abs=0.006)
    assert found.confusion[0] == pytest.approx(
        np.array([[0.89, 0.11, 0.0, 0.0], [0.07, 0.88, 0.05, 0.0], [0.0, 0.34, 0.66, 0.0], [0.0, 0.0, 0.56, 0.44]]),
        abs=0.006,
    )
    # patient 3 is of class 2 though two of three said otherwise of the first observer
    assert found.posterior(published())[2].argmax() == 1


def test_the_likelihood_is_at_its_top():
    """No small move of one annotator's errors raises it."""
    counts = published()
    found = dawid_skene(counts, smoothing=0.0)

    def value(confusion):
        each = np.einsum("ual,ajl->uj", counts, np.log(np.maximum(confusion, 1e-300)))
        return float(np.log((found.prevalence * np.exp(each)).sum(1)).sum())

    assert value(found.confusion) == pytest.approx(found.log_likelihood, abs=1e-6)
    for a, j in ((0, 1), (2, 1), (4, 1)):
        for step in (-0.02, 0.02):
            moved = found.confusion.copy()
            moved[a, j, 1] += step
            moved[a, j] /= moved[a, j].sum()
            assert value(moved) < found.log_likelihood - 1e-4


def test_planted_errors_are_recovered_and_an_adversary_is_turned_around():
    draw = np.random.default_rng(0)
    truth = draw.random(600) < 0.3
    rates = [0.95, 0.8, 0.7, 0.1]
    counts = np.zeros((600, 4, 2))
    for a, rate in enumerate(rates):
        said = np.where(draw.random(600) < rate, truth, ~truth)
        counts[np.arange(600), a, said.astype(int)] = 1
    found = dawid_skene(counts)
    assert found.prevalence[1] == pytest.approx(0.3, abs=0.04)
    for a, rate in enumerate(rates):
        assert [found.confusion[a, 0, 0], found.confusion[a, 1, 1]] == pytest.approx([rate, rate], abs=0.06)
    alone = np.zeros((1, 4, 2))
    alone[0, 3, 0] = 1  # the adversary alone says 0
    assert found.posterior(alone)[0, 1] > 0.7


def test_the_order_of_units_and_annotators_is_of_no_account():
    counts, draw = published(), np.random.default_rng(0)
    units, people = draw.permutation(45), draw.permutation(5)
    one, other = dawid_skene(counts), dawid_skene(counts[units][:, people])
    assert other.prevalence == pytest.approx(one.prevalence, abs=1e-6)
    assert other.confusion == pytest.approx(one.confusion[people], abs=1e-6)


def test_perfect_annotators_leave_no_doubt():
    counts = np.zeros((40, 5, 2))
    counts[np.arange(40), :, np.arange(40) % 2] = 1
    found = dawid_skene(counts)
    assert found.posterior(counts).max(axis=1).min() > 0.9999
