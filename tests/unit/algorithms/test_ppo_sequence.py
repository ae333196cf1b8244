"""The critic-free sequence form of PPO by hand: -min(r R, clip(r, 0.8, 1.2) R), R = 0.8 reward - 0.2 KL."""

import math

import pytest
from small_rollouts import rollouts, update

from assent.algorithms.ppo_sequence import ALGORITHM

OLD = [[-1.0, -2.0], [-0.5], [-1.0, -1.0, -1.0]]
REF = [[-1.5, -1.0], [-1.5], [-1.0, -1.0, -1.0]]


def made(moved=None, scores=(1.0, 2.0, -6.0), **given):
    return update(ALGORITHM, rollouts(scores, [0, 1, 1], OLD, REF, ended=[1.0, 1.0, 0.0]), moved, **given)


def test_the_defaults_are_the_named_form():
    # KL: -0.5, 1.0, 0
    found = made()
    assert found.advantages == pytest.approx([0.8 + 0.1, 1.6 - 0.2, -4.8])
    assert found.loss == pytest.approx(-(0.9 + 1.4 - 4.8) / 3)
    assert found.figures["return_mean"] == pytest.approx(-2.5 / 3)
    assert found.figures["baseline"] == 0.0


def test_the_ratio_is_that_of_the_completion_and_is_clipped_on_the_side_of_the_gain():
    # log-ratios 0.3 (r 1.35, R 0.9: clipped at 1.2), 0.1 (r 1.105, R 1.4), -0.3 (r 0.74, R -4.8: clipped at 0.8)
    found = made([[0.2, 0.1], [0.1], [-0.1, -0.1, -0.1]])
    assert found.loss == pytest.approx(-(1.2 * 0.9 + math.exp(0.1) * 1.4 + 0.8 * -4.8) / 3)
    rows = found.rows()
    assert rows[0] == [0.0, 0.0]
    assert rows[1] == pytest.approx([-1.4 * math.exp(0.1) / 3])
    assert rows[2] == [0.0] * 3
    # the other way round: lost ground is never clipped
    back = made([[-0.2, -0.1], [0.1], [0.1, 0.1, 0.1]])
    assert back.rows()[0] == pytest.approx([-0.9 * math.exp(-0.3) / 3] * 2)
    assert back.rows()[2] == pytest.approx([4.8 * math.exp(0.3) / 3] * 3)
    assert back.figures["ratio_clipped"] == 0.0


def test_weights_and_clips_are_settings():
    found = made([[0.2, 0.1], [0.1], [-0.1, -0.1, -0.1]], reward_weight=1.0, kl_weight=0.5, clip_low=0.3, clip_high=0.5)
    assert found.advantages == pytest.approx([1 + 0.25, 2 - 0.5, -6.0])
    want = -(math.exp(0.3) * 1.25 + math.exp(0.1) * 1.5 + math.exp(-0.3) * -6.0) / 3
    assert found.loss == pytest.approx(want)


@pytest.mark.parametrize(
    ("baseline", "taken"), [("batch", [-2.5 / 3] * 3), ("leave-one-out", [0.0, -4.8, 1.4])], ids=["batch", "others"]
)
def test_a_baseline_is_taken_from_r(baseline: str, taken: list[float]):
    found = made(baseline=baseline)
    assert found.advantages == pytest.approx([r - b for r, b in zip((0.9, 1.4, -4.8), taken, strict=True)])
    assert found.figures["baseline"] == pytest.approx(sum(taken) / 3)


def test_a_completion_that_was_cut_off_loses_the_penalty():
    assert made(missing_eos_penalty=1.0, reward_clip=6.5).advantages == pytest.approx([0.9, 1.4, -0.8 * 6.5])
