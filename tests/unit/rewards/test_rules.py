"""Rules: regular expression, length, JSON, the known answer."""

from __future__ import annotations

import math
from typing import Any

import pytest

from assent.errors import DataError, RecipeError
from assent.rewards.answer import AnswerReward, AnswerSettings
from assent.rewards.json_validity import JSONReward, JSONSettings
from assent.rewards.length import LengthReward, LengthSettings
from assent.rewards.pattern import PatternReward, PatternSettings
from assent.rewards.source import RewardSource, problems
from assent.types import Completion, Prompt


def scores(source: RewardSource, *texts: str, **metadata: Any) -> list[float]:
    prompt = Prompt("p", text="?", metadata=metadata)
    completions = [Completion(f"p/{i}", "p", text) for i, text in enumerate(texts)]
    return list(source.score([prompt] * len(texts), completions).values)


def test_a_pattern_is_found_or_not():
    please = PatternReward(PatternSettings(pattern=r"(?i)\bplease\b", missing=-1.0))
    assert scores(please, "Please go", "pleased", "", "now, please!") == [1.0, -1.0, -1.0, 1.0]
    whole = PatternReward(PatternSettings(pattern="yes|no", whole=True, ignore_case=True))
    assert scores(whole, "YES", "yes!", "no") == [1.0, 0.0, 1.0]


def test_a_pattern_that_backtracks_for_ever_gives_no_score():
    source = PatternReward(PatternSettings(pattern=r"(a|aa)+\1$", seconds=0.05))
    completions = [Completion("slow", "p", "a" * 60 + "b"), Completion("quick", "p", "aaa")]
    found = source.score([Prompt("p", text="?")] * 2, completions)
    assert math.isnan(found.values[0])
    assert found.values[1] == 1.0
    assert "'slow'" in problems(found, completions)[0]
    assert "took longer" in problems(found, completions)[0]


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(RecipeError, match="no regular expression"):
        PatternReward(PatternSettings(pattern="(a"))


def test_a_length_within_its_range_costs_nothing():
    words = LengthReward(LengthSettings(least=2, most=3, slope=0.5))
    assert scores(words, "a b", "a b c", "a", "", "a b c d e") == [0.0, 0.0, -0.5, -1.0, -1.0]
    assert scores(LengthReward(LengthSettings(unit="characters", least=3)), "ab", "abcd") == [-1.0, 0.0]


@pytest.mark.parametrize("given", [{}, {"least": 3, "most": 2}])
def test_a_length_that_says_nothing_is_refused(given):
    with pytest.raises(ValueError, match="least"):
        LengthSettings(**given)


def test_json_is_valid_or_not():
    plain = JSONReward(JSONSettings())
    assert scores(plain, '{"a": 1}', "[1,]", "3", "", "NaN", "[" * 100_000) == [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    wanted = JSONReward(JSONSettings(kind="object", keys=["a", "b"]))
    assert scores(wanted, '{"a": 1, "b": 2, "c": 3}', '{"a": 1}', '["a", "b"]') == [1.0, 0.0, 0.0]
    assert scores(wanted, 'Here:\n```json\n{"a": 1, "b": 2}\n```\nDone.') == [1.0]
    assert scores(JSONReward(JSONSettings(fences=False)), "```\n1\n```") == [0.0]


def test_answers_are_compared_as_numbers_or_texts():
    gsm = AnswerReward(AnswerSettings(pattern=r"####\s*(.+)"))
    known = {"answer": "3 + 4 = 7\n#### 1,007"}
    assert scores(gsm, "so\n#### 1007", "#### 1007.0", "#### 17", "1007", "#### 5\n#### $1,007.", **known) == [
        1.0,
        1.0,
        0.0,
        0.0,
        1.0,
    ]
    plain = AnswerReward(AnswerSettings())
    assert scores(plain, " paris. ", "London", r"so \boxed{Paris}", **{"answer": ["Paris", "PARIS, France"]}) == [
        1,
        0,
        1,
    ]
    assert scores(plain, r"\boxed{\frac{1}{2}}", r"\boxed{\frac{1}{3}}", answer=r"\frac{1}{2}") == [1.0, 0.0]
    assert scores(plain, "0", "1e-9", answer=0) == [1.0, 0.0]


def test_a_prompt_without_an_answer_stops():
    with pytest.raises(DataError, match=r"prompt 'p' has no column 'answer'.*its columns are solution"):
        scores(AnswerReward(AnswerSettings()), "x", solution="y")
    with pytest.raises(RecipeError, match="has no group"):
        AnswerReward(AnswerSettings(pattern="####"))
