import math

import pytest

from assent.evaluation.diversity import distinct_n, diversity, diversity_of_each, words


def test_words() -> None:
    assert words("It's GOOD, isn’t it?") == ["it's", "good", ",", "isn’t", "it", "?"]


def test_distinct_by_hand() -> None:
    texts = ["a b a b", "a b c"]
    assert distinct_n(texts, 1) == 3 / 7
    assert distinct_n(texts, 2) == 3 / 5  # ab ba ab | ab bc
    assert distinct_n(texts, 3) == 3 / 3  # aba bab | abc
    assert math.isnan(distinct_n(["a b"], 3))


def test_n_grams_stay_inside_a_text() -> None:
    assert distinct_n(["a b", "a b"], 2) == 0.5
    assert distinct_n(["a", "b"], 1) == 1.0
    assert math.isnan(distinct_n(["a", "b"], 2))


def test_a_collapsed_policy_shows() -> None:
    got = diversity(["the film is good .", "the film is good . ", "the film is good ."])
    assert got.distinct_2 == pytest.approx(4 / 12)
    assert got.duplicates == pytest.approx(2 / 3)
    assert got.words == 5
    assert got.n == 3


def test_equal_counts() -> None:
    each = diversity_of_each(
        {"few": ["a b e", "c d e"], "many": [f"w{i} x{i} y" for i in range(50)] + ["a b e"] * 50}, seed=3
    )
    assert each["few"].n == each["many"].n == 2
    assert each["few"] == diversity(["a b e", "c d e"])
    same = diversity_of_each({"one": ["a b c", "c d e"], "two": ["e f e", "g g g"]})
    assert same["two"] == diversity(["e f e", "g g g"])


def test_the_draw_is_seeded() -> None:
    texts = {"few": ["x y z"] * 5, "many": [f"w{i % 7} y{i % 3} z{i}" for i in range(100)]}
    assert diversity_of_each(texts, seed=1) == diversity_of_each(texts, seed=1)


def test_refuses_nonsense() -> None:
    with pytest.raises(ValueError):
        diversity([])
    with pytest.raises(ValueError):
        distinct_n(["a"], 0)
    assert diversity_of_each({}) == {}
