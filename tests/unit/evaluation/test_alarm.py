import numpy as np
import pytest

from assent.evaluation.alarm import hacking_alarm, length_correlation, most_exploited
from assent.evaluation.over_optimisation import Curve


def curve(gold: list[float], proxy: list[float], prompts: int = 200, noise: float = 1.0) -> Curve:
    rng = np.random.default_rng(4)

    def around(means: list[float]) -> np.ndarray:
        return np.array(means)[:, None] + noise * rng.normal(size=(len(means), prompts))

    labels = tuple(str(5 * i) for i in range(len(gold)))
    return Curve(labels, around([0.0] * len(gold)), around(proxy), around(gold))


def test_rings_after_the_peak_and_names_the_checkpoint() -> None:
    alarm = hacking_alarm(curve([0, 1, 2, 2, 1, 0], [0, 1, 2, 3, 4, 5]))
    assert alarm.raised_at == "20"
    assert [point.raised for point in alarm.points] == [False, False, False, True, True]
    assert alarm.points[-1].fall > alarm.points[-2].fall > 4


@pytest.mark.parametrize(
    ("gold", "proxy"),
    [
        ([0, 1, 2, 2, 2, 2], [0, 1, 2, 3, 4, 5]),  # a plateau is no fall
        ([0, 1, 2, 1, 0, -1], [0, 1, 2, 1, 0, -1]),  # both fall: the training broke, the reward model did not
        ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_is_silent_without_rise_and_fall(gold: list[float], proxy: list[float]) -> None:
    assert hacking_alarm(curve(gold, proxy)).raised_at is None


def test_needs_a_held_out_reward() -> None:
    with pytest.raises(ValueError, match="held-out"):
        hacking_alarm(Curve(("0", "1"), np.zeros((2, 3)), np.zeros((2, 3))))


def test_the_worst_prompts_by_hand() -> None:
    found = most_exploited([2.0, 1.0, -1.0, 3.0, 2.0], [-1.0, -3.0, -5.0, 1.0, -4.0])
    assert [each.place for each in found] == [4, 1, 0]
    assert (found[0].proxy_gain, found[0].gold_gain) == (2.0, -4.0)
    assert most_exploited([2.0, 1.0], [-1.0, -1.0], most=1)[0].place == 0
    assert most_exploited([], []) == ()
    with pytest.raises(ValueError):
        most_exploited([1.0], [])


def test_length_correlation_equals_numpy() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 60, size=100)
    rewards = 0.05 * lengths + rng.normal(size=100)
    found = length_correlation(rewards.tolist(), lengths.tolist())
    assert found is not None
    assert found.value == pytest.approx(np.corrcoef(rewards, lengths)[0, 1])
    assert 0 < found.low < found.value < found.high
    assert length_correlation([1.0, 1.0], [3, 4]) is None
