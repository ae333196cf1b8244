"""People as a source of reward: what is asked, what waits, what their answers are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from assent.feedback import Answer, FeedbackStore
from assent.feedback.questions import Question, display_order
from assent.feedback.responses import Best, Labels, Ratings, Response, Skipped
from assent.rewards.human import HumanReward, HumanSettings
from assent.rewards.rule import FunctionReward
from assent.rewards.source import Pending
from assent.testing.reward_source import check_reward_source
from assent.types import Completion, Prompt

PROMPTS = [Prompt(name, text=f"Say {name}.") for name in "ppqq"]
COMPLETIONS = [
    Completion(f"{p.id}/{i}", p.id, text)
    for i, (p, text) in enumerate(zip(PROMPTS, ("good", "bad", "good", ""), strict=True))
]


def source(store: Path, base: Any = None, **settings: Any) -> HumanReward:
    return HumanReward(HumanSettings(store=str(store), **settings), base)


def answer(store: Path, response: Any, who: str = "ann") -> int:
    """Answer all open questions; ``response``: from a question and the texts as shown."""
    count = 0
    with FeedbackStore.open(store) as opened:
        done = {(a.question.id, a.annotator) for a in opened.answers()}
        for question in opened.questions():
            if (question.id, who) not in done:
                shown = [question.texts[i] for i in display_order(question, who)]
                opened.add_answer(Answer(question.id, who, response(question, shown)))
                count += 1
    return count


def thumbs(question: Question, shown: Sequence[str]) -> Response:
    return Labels(tuple(int(text == "good") if text else None for text in shown))


def test_thumbs_wait_for_people_and_are_one_or_minus_one(tmp_path: Path):
    store = tmp_path / "f.db"
    people = source(store, port=9999)
    with pytest.raises(Pending, match=r"(?s)0 of 4 questions.*assent label serve .*f.db --port 9999") as waiting:
        people.score(PROMPTS, COMPLETIONS)
    assert len(waiting.value.question_ids) == 4
    answer(store, lambda q, s: Labels((0,)), who="simulated:sam")
    answer(store, lambda q, s: Labels((0,)), who="judge:gpt")
    with pytest.raises(Pending, match="0 of 4"):  # programs are no people
        people.score(PROMPTS, COMPLETIONS)
    assert answer(store, thumbs) == 4
    assert people.score(PROMPTS, COMPLETIONS).values == (1.0, -1.0, 1.0, -1.0)
    answer(store, lambda q, s: Labels((0,)), who="bob")
    assert people.score(PROMPTS, COMPLETIONS).values == (0.0, -1.0, 0.0, -1.0)


def test_it_passes_the_check_once_all_is_answered(tmp_path: Path):
    store = tmp_path / "f.db"
    for settings in ({"ask": "label"}, {"ask": "best"}):
        people = source(store, **settings)
        for _ in range(3):  # the check asks about an empty completion too
            try:
                check_reward_source(people, PROMPTS, COMPLETIONS)
                break
            except Pending:
                answer(store, lambda q, s: thumbs(q, s) if q.task == "label" else Best(s.index("good")))
        else:
            pytest.fail("it went on asking")


def test_ratings_go_from_minus_one_to_one(tmp_path: Path):
    store = tmp_path / "f.db"
    people = source(store, ask="rating", scale=5, criterion="kind", weight=2.0)
    with pytest.raises(Pending):
        people.score(PROMPTS, COMPLETIONS)
    answer(store, lambda q, s: Ratings(tuple({"kind": 4 if text == "good" else 1} for text in s)))
    assert people.score(PROMPTS, COMPLETIONS).values == (1.0, -2.0, 1.0, -2.0)


def test_a_pick_scores_one_and_no_pick_is_no_score(tmp_path: Path):
    store = tmp_path / "f.db"
    people = source(store, ask="best")
    with pytest.raises(Pending) as waiting:
        people.score(PROMPTS, COMPLETIONS)
    assert len(waiting.value.question_ids) == 2
    answer(store, lambda q, s: Best(None) if "" in s else Best(s.index("bad")))
    scores = people.score(PROMPTS, COMPLETIONS)
    assert scores.values[:2] == (0.0, 1.0)
    assert list(scores.unscored) == [2, 3]
    same = people.score(PROMPTS[:2], [COMPLETIONS[0], COMPLETIONS[0]])
    assert "all the same" in same.unscored[1]


def test_thumbs_are_added_to_a_models_reward_for_a_share_of_the_completions(tmp_path: Path):
    store = tmp_path / "f.db"
    base = FunctionReward(lambda prompt, text: float(len(text)))
    people = source(store, base, weight=0.5, share=0.5, add_to="reward")
    prompts = [Prompt(str(i), text=f"Say {i}.") for i in range(40)]
    completions = [Completion(f"{i}/0", str(i), "good") for i in range(40)]
    with pytest.raises(Pending) as waiting:
        people.score(prompts, completions)
    asked = len(waiting.value.question_ids)
    assert 10 < asked < 30
    answer(store, thumbs)
    scores = people.score(prompts, completions)
    assert sorted(set(scores.values)) == [4.0, 4.5]
    assert scores.values.count(4.5) == asked
    assert scores.parts["model"] == (4.0,) * 40
    assert sum(scores.parts["person"]) == 0.5 * asked


def test_what_everybody_skips_has_no_score(tmp_path: Path):
    store = tmp_path / "f.db"
    people = source(store)
    with pytest.raises(Pending):
        people.score(PROMPTS[:1], COMPLETIONS[:1])
    answer(store, lambda q, s: Skipped("I cannot judge this"))
    assert "was passed over" in people.score(PROMPTS[:1], COMPLETIONS[:1]).unscored[0]
    shaped = source(store, FunctionReward(lambda prompt, text: 3.0), add_to="reward")
    assert shaped.score(PROMPTS[:1], COMPLETIONS[:1]).values == (3.0,)


@pytest.mark.parametrize("settings", [{"share": 0.5}, {"ask": "best", "add_to": "reward"}])
def test_settings_that_leave_completions_without_a_score_are_refused(settings: dict[str, Any]):
    with pytest.raises(ValueError, match="add_to"):
        HumanSettings(store="f.db", **settings)


def test_the_other_source_reads_the_policys_own_tokens(tmp_path: Path):
    class Reading(FunctionReward):
        def for_tokenizer(self, tokenizer: Any) -> FunctionReward:
            return FunctionReward(lambda prompt, text: float(tokenizer))

    shaped = source(tmp_path / "f.db", Reading(lambda prompt, text: 0.0), add_to="reward", share=1e-9)
    assert shaped.for_tokenizer(7).score(PROMPTS, COMPLETIONS).values == (7.0,) * 4
    assert not shaped.comparative
