"""Judges against a real local server: verdicts, faults on the way, nonsense, cache, cost and budget."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assent.errors import DataError, ModelError
from assent.rewards.constitution import read_constitution
from assent.rewards.critique import Reviser, ReviserSettings
from assent.rewards.judge import JudgeReward, JudgeSettings
from assent.rewards.judge_server import BudgetSpent
from assent.rewards.judge_verdicts import Order, Preference, grade, read_verdict
from assent.rewards.source import problems, score_all
from assent.testing.reward_source import check_reward_source
from assent.types import Completion, Prompt
from tests.unit.rewards.judge_world import JudgeWorld, answers_in, by_length

TEXTS = {"p": ("one two three", "one", "one two"), "q": ("a b c d", "a b", "c d")}
PROMPTS = [Prompt(name, text=f"Say {name}.") for name, texts in TEXTS.items() for _ in texts]
COMPLETIONS = [Completion(f"{n}/{i}", n, text) for n, texts in TEXTS.items() for i, text in enumerate(texts)]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeWorld]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with JudgeWorld() as world:
        yield world


@pytest.fixture
def judge(world: JudgeWorld, tmp_path: Path) -> Any:
    def make(**settings: Any) -> JudgeReward:
        given = {"url": world.url, "served_name": "tiny", "cache": str(tmp_path / "cache.db"), **settings}
        return JudgeReward(JudgeSettings(**given))

    return make


@pytest.mark.parametrize("method", ["pointwise", "pairwise", "ranking"])
def test_each_method_passes_the_check(judge: Any, method: str):
    check_reward_source(judge(method=method), PROMPTS, COMPLETIONS)


def test_values_are_grades_or_shares_of_the_others_beaten(judge: Any):
    assert judge(method="pointwise").score(PROMPTS, COMPLETIONS).values == (3, 1, 2, 4, 2, 2)
    shares = (1.0, 0.0, 0.5, 1.0, 0.25, 0.25)
    assert judge(method="pairwise").score(PROMPTS, COMPLETIONS).values == shares
    assert judge(method="pairwise", swap=False).score(PROMPTS, COMPLETIONS).values == shares
    assert judge(method="ranking").score(PROMPTS, COMPLETIONS).values == shares


def test_a_judge_that_prefers_the_first_shown_is_evened_out(judge: Any, world: JudgeWorld):
    world.brain = lambda question, body: json.dumps({"better": "A", "ranking": [["A"], ["B"], ["C"]]})
    assert judge(method="pairwise").score(PROMPTS, COMPLETIONS).values == (0.5,) * 6
    assert judge(method="ranking").score(PROMPTS, COMPLETIONS).values == (0.5,) * 6
    judged = judge(method="pairwise", seed=1).judge.one(PROMPTS[0], TEXTS["p"])
    assert (judged.reversals, judged.pairs) == (3, 3)


def test_a_completion_alone_has_nothing_to_be_compared_with(judge: Any):
    scores = judge().score(PROMPTS[:1], COMPLETIONS[:1])
    assert math.isnan(scores.values[0])
    assert "no other completion" in scores.unscored[0]


@pytest.mark.parametrize("fault", ["silent", "429", "500", "503", "malformed", "half-closed"])
def test_what_may_pass_is_tried_again(judge: Any, world: JudgeWorld, fault: str):
    world.faults = [fault, fault, None]
    source = judge(method="pointwise", timeout=0.3, at_once=1)
    assert source.score(PROMPTS[:1], COMPLETIONS[:1]).values == (3.0,)
    assert len(world.asked) == 3
    assert source.judge.server.usage.requests == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("silent", "did not answer within 0.2 s, 2 times"),
        ("429", "answered 429: not now, 2 times"),
        ("malformed", "not JSON, 2 times"),
        ("half-closed", "cannot be reached .*, 2 times"),
        ("401", "answered 401: not now; check the address and the model's name"),
        ("no choices", r"answered without choices\[0\].message.content; is it a chat endpoint"),
    ],
)
def test_what_does_not_pass_stops_with_the_reason(judge: Any, world: JudgeWorld, fault: str, message: str):
    world.faults = [fault] * 10
    with pytest.raises(ModelError, match=message):
        judge(method="pointwise", timeout=0.2, attempts=2, at_once=1).score(PROMPTS[:1], COMPLETIONS[:1])


def test_a_server_that_knows_no_schemas_is_asked_in_words(judge: Any, world: JudgeWorld):
    world.faults = ["schema refused"]
    source = judge(method="pointwise", at_once=1)
    assert source.score(PROMPTS, COMPLETIONS).values[:3] == (3.0, 1.0, 2.0)
    assert ["response_format" in body for body in world.asked] == [True] + [False] * 6
    assert world.asked[1]["messages"][1]["content"].endswith('"score": a whole number from 1 to 10}')


def test_a_verdict_is_found_in_what_stands_around_it_and_slips_are_repaired():
    said = 'Well.\n```json\n{"reason": "it\'s \\"good\\"", "better": "Answer A",}\n```'
    assert read_verdict(said, Preference)[0] == Preference(reason='it\'s "good"', better="A")
    assert read_verdict("{'better': 'tie'", Preference)[0] == Preference(better="tie")
    found, _, clean = read_verdict('{"ranking": ["B", ["A", "C"]]}', Order, 3)
    assert found == Order(ranking=[["B"], ["A", "C"]])
    assert clean


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("I like both.", "no JSON object"),
        ("{}", "'better'"),
        ('{"better": "C"}', "'better'"),
        ("[1, 2]", "no JSON object"),
        ('{"better": null}', "'better'"),
    ],
)
def test_what_is_no_verdict_is_not_guessed(said: str, why: str):
    found, problem, _ = read_verdict(said, Preference)
    assert found is None
    assert why in problem


@pytest.mark.parametrize("score", ['"very good"', "11", "0", "NaN", "3.5", "null"])
def test_a_grade_outside_its_scale_is_no_grade(score: str):
    assert read_verdict(f'{{"score": {score}}}', grade(1, 10))[0] is None


@pytest.mark.parametrize("order", ['["A", "B"]', '["A", "A", "B", "C"]', '["A", "B", "D"]', '"A>B>C"'])
def test_a_ranking_must_name_each_answer_once(order: str):
    assert read_verdict(f'{{"ranking": {order}}}', Order, 3)[0] is None


def test_a_judge_that_answers_nonsense_is_told_and_asked_again(judge: Any, world: JudgeWorld):
    world.faults = ["says I would rather not.", 'says {"score": 77}']
    source = judge(method="pointwise", at_once=1)
    assert source.score(PROMPTS[:1], COMPLETIONS[:1]).values == (3.0,)
    last = world.asked[2]["messages"]
    assert [m["role"] for m in last] == ["system", *["user", "assistant"] * 2, "user"]
    assert last[4]["content"] == '{"score": 77}'
    assert "could not be read: 'score'" in last[5]["content"]
    assert source.judge.server.usage.repaired == 1


def test_a_judge_that_goes_on_with_nonsense_gives_no_score(judge: Any, world: JudgeWorld):
    world.brain = lambda question, body: "Meow." if "a b c d" in body["messages"][1]["content"] else by_length("", body)
    source = judge(method="pointwise")
    scores = source.score(PROMPTS, COMPLETIONS)
    assert scores.values[:3] == (3.0, 1.0, 2.0)
    assert list(problems(scores, COMPLETIONS)) == [3]
    with pytest.raises(DataError, match=r"completion 'q/0' has no score: the judge tiny gave no verdict .*'Meow.'"):
        score_all(source, PROMPTS, COMPLETIONS)
    assert source.judge.server.usage.unreadable == 2
    pairwise = judge(method="pairwise")
    world.brain = lambda question, body: (
        "Meow." if "a b c d" in body["messages"][1]["content"] else by_length(question, body)
    )
    scores = pairwise.score(PROMPTS, COMPLETIONS)
    assert scores.values[4:] == (0.5, 0.5)  # of the comparison that there is
    assert list(scores.unscored) == [3]


def test_what_was_answered_is_not_asked_again(judge: Any, world: JudgeWorld):
    first, second = judge(), judge()
    values = first.score(PROMPTS, COMPLETIONS).values
    asked = len(world.asked)
    assert asked == first.judge.server.usage.requests == 12
    assert second.score(PROMPTS, COMPLETIONS).values == values
    assert len(world.asked) == asked
    assert second.judge.server.usage.from_cache == asked
    judge(temperature=0.5).score(PROMPTS, COMPLETIONS)
    assert len(world.asked) == 2 * asked


def test_tokens_and_cost_are_counted_and_the_budget_stops(judge: Any, world: JudgeWorld):
    source = judge(method="pointwise", at_once=1, price_in=2.0, price_out=10.0, budget=0.0010)
    with pytest.raises(BudgetSpent, match=r"4 requests, 440 tokens, 0.0012 by the prices"):
        source.score(PROMPTS, COMPLETIONS)
    more = judge(method="pointwise", at_once=1, budget_tokens=220)
    assert more.score(PROMPTS, COMPLETIONS).values == (3, 1, 2, 4, 2, 2)
    used = more.judge.server.usage
    assert (used.from_cache, used.requests, used.tokens_in, used.tokens_out) == (4, 2, 200, 20)
    assert used.figures()["judge/cost"] == 0.0


def test_requests_at_once_are_limited_and_the_key_is_sent(
    judge: Any, world: JudgeWorld, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MY_KEY", "secret")
    judge(at_once=2, key_variable="MY_KEY").score(PROMPTS, COMPLETIONS)
    assert world.most_at_once <= 2
    assert set(world.keys) == {"Bearer secret"}


def test_principles_are_drawn_at_random_and_the_same_again(judge: Any, world: JudgeWorld, tmp_path: Path):
    names = [principle.name for principle in read_constitution()]
    assert names == ["helpful", "honest", "harmless", "considerate"]
    source = judge(constitution=True)
    questions = [(Prompt(str(i), text=f"Question {i}"), ("one", "one two")) for i in range(40)]
    drawn = [judged.principle for judged in source.judge.all(questions)]
    assert set(drawn) == set(names)
    assert [judged.principle for judged in source.judge.all(questions)] == drawn
    told = {name: principle.compare for name, principle in zip(names, read_constitution(), strict=True)}
    by_prompt = {f"Question {i}\n": told[name] for i, name in enumerate(drawn)}
    for body in world.asked:
        content = body["messages"][1]["content"]
        assert next(text for start, text in by_prompt.items() if start in content) in content
    (tmp_path / "mine.yaml").write_text("- {name: short, compare: 'Which is shorter?', critique: c, revise: r}\n")
    judge(principles=str(tmp_path / "mine.yaml")).score(PROMPTS, COMPLETIONS)
    assert "Which is shorter?" in world.asked[-1]["messages"][1]["content"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read as YAML"),
        ("helpful", "expected a list"),
        ("- {name: a}", "principle 1: expected the keys name, compare, critique, revise"),
        ("- {name: a, compare: '', critique: c, revise: r}", "principle 1: 'compare' is no text"),
    ],
)
def test_a_constitution_that_is_none_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_constitution(tmp_path / "c.yaml")


def test_critique_and_revision(world: JudgeWorld, tmp_path: Path):
    def brain(question: str, body: dict[str, Any]) -> str:
        if '"critique"' in question:
            return json.dumps({"critique": f"too short: {answers_in(question)[0]}"})
        return f"<answer>\n{answers_in(question)[0]} and more\n</answer>"

    world.brain = brain
    settings = ReviserSettings(url=world.url, served_name="m", cache=str(tmp_path / "c.db"), rounds=2)
    world.faults = ["says no critique"] * 3
    reviser = Reviser(settings.model_copy(update={"at_once": 1}))
    bad, good = reviser.all([(PROMPTS[0], "first"), (PROMPTS[3], "second")])
    assert isinstance(bad, str)
    assert "gave no verdict" in bad
    assert [r.text for r in good] == ["second and more", "second and more and more"]
    assert good[1].critique == "too short: second and more"
    assert good[0].principle != good[1].principle
