"""``assent judge`` and ``revise`` against a local server, beside people in the same store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assent.cli import main
from assent.data.readers import read_comparisons, read_demonstrations, read_judgements, read_rankings
from assent.errors import StoreError
from assent.feedback import Answer, FeedbackStore
from assent.feedback.people import About
from assent.feedback.projects import ProjectSettings
from assent.feedback.questions import display_order
from assent.feedback.responses import Ranks
from tests.integration.conftest import write_rows
from tests.unit.rewards.judge_world import JudgeWorld, answers_in, by_length


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    rows = [{"prompt": f"p{i}", "completion": "w " * (k + 1) + str(i)} for i in range(6) for k in range(3)]
    write_rows(tmp_path / "d.jsonl", rows)
    with JudgeWorld() as world:
        yield world


def judge(world: JudgeWorld, *more: str, status: int = 0, verb: str = "judge", out: str = "j") -> None:
    line = [verb, "--data", "d.jsonl", "--url", world.url, "--served-name", "org/tiny", "--out", out, *more]
    assert main(line) == status


def metrics(out: str = "j") -> dict[str, Any]:
    return json.loads(Path(out, "manifest.json").read_text())["metrics"]


def person(store: str, order: int) -> None:
    """Someone who ranks by length, the longest or the shortest first."""
    with FeedbackStore.open(store) as opened:
        for question in opened.questions():
            shown = [question.texts[i] for i in display_order(question, f"ann{order}")]
            ranks = [sorted(shown, key=lambda t: order * len(t)).index(text) + 1 for text in shown]
            opened.add_answer(Answer(question.id, f"ann{order}", Ranks(tuple(ranks))))


def test_a_judge_answers_as_an_annotator_marked_as_such_and_is_compared_with_people(world: JudgeWorld):
    judge(world, "--store", "f.db", "--method", "ranking", "--price-in", "1", "--price-out", "2")
    found = read_rankings("j/rankings.jsonl")
    assert {r.annotator for r in found} == {"judge:tiny"}
    for ranking in found:
        assert [sorted(map(len, ranking.texts))[-rank] for rank in ranking.ranks if rank] == list(
            map(len, ranking.texts)
        )
    assert metrics()["judge/requests"] == 12
    assert metrics()["judge/cost"] == pytest.approx(12 * (100 + 20) / 1e6)
    assert metrics()["order_changed_share"] == 0.0
    assert json.loads(Path("j/agreement.json").read_text())["people"] is None
    person("f.db", -1)
    person("f.db", 1)
    with FeedbackStore.open("f.db") as store:
        assert len(store.rankings()) == 18
        assert store.work.take("someone") == "finished", "its questions are a project of their own"
        with pytest.raises(StoreError, match="names that begin with 'judge:' are not for people"):
            store.people.add("Judge:me", "annotator", None, About())
    asked = len(world.asked)
    judge(world, "--store", "f.db", "--method", "ranking", out="again")
    assert len(world.asked) == asked  # its answers stand in the store
    agreement = json.loads(Path("again/agreement.json").read_text())
    assert agreement["people"]["value"] == pytest.approx(0.5)  # always with the one, never with the other
    assert agreement["pairs"] == 36
    assert agreement["kappa"] == pytest.approx(0.0)
    assert agreement["people_among_themselves"]["value"] == 0.0
    assert {(m["one"], m["other"], m["same"]["value"]) for m in agreement["by_annotator"]} == {
        ("ann-1", "judge:tiny", 1.0),
        ("ann1", "judge:tiny", 0.0),
    }


def test_a_judges_answers_fill_no_place_that_is_a_persons(world: JudgeWorld):
    with FeedbackStore.open("f.db") as store:
        store.projects.change("default", ProjectSettings(overlap=1), by="ann")
    judge(world, "--store", "f.db", "--method", "ranking", "--project", "default")
    with FeedbackStore.open("f.db") as store:
        assert store.work.coverage().closed == 0
        (first, *_) = store.answers()
        store.undo(first.event, "judge:tiny")
        assert store.work.coverage().closed == 0
        assert not isinstance(store.work.take("ann"), str)
    person("f.db", 1)
    with FeedbackStore.open("f.db") as store:
        assert store.work.coverage().closed == 6


def test_grades_are_ratings_and_pairs_preferences(world: JudgeWorld):
    judge(world, "--method", "pointwise", "--criterion", "length")
    grades = read_judgements("j/judgements.jsonl")
    assert {(g.criterion, g.annotator) for g in grades} == {("length", "judge:tiny")}
    assert [g.label for g in grades[:3]] == [2.0, 3.0, 4.0]
    two = [{"prompt": "q", "completion": "a b"}, {"prompt": "q", "completion": "a b c"}]
    write_rows(Path("d.jsonl"), two)
    judge(world, "--constitution", out="two")
    (ranking,) = read_rankings("two/rankings.jsonl")
    assert (ranking.kind, ranking.ranks, ranking.strength) == ("pairwise", (2, 1), 2.0)
    assert ranking.note.startswith("principle: ")
    assert ranking.note.endswith("; margin 1.000")
    assert main(["comparisons", "--data", "two/rankings.jsonl", "--held-out", "0", "--out", "c"]) == 0
    assert [(c.chosen, c.rejected) for c in read_comparisons("c/train.jsonl")] == [("a b c", "a b")]


def test_nonsense_and_a_spent_budget_stop_and_what_was_said_is_kept(
    world: JudgeWorld, capsys: pytest.CaptureFixture[str]
):
    world.brain = lambda question, body: "Meow."
    judge(world, "--method", "ranking", "--repairs", "0", status=2)
    said = capsys.readouterr()
    assert "is left out with its question: the judge org/tiny gave no verdict" in said.out
    assert "the judge gave no verdict on 6 of 6 questions" in said.err
    world.brain = by_length
    judge(world, "--method", "pairwise", "--budget-tokens", "1100", "--at-once", "1", status=2, out="p")
    assert "the judge's budget is spent: 10 requests, 1100 tokens" in capsys.readouterr().err
    asked = len(world.asked)
    judge(world, "--method", "pairwise", out="p")
    assert len(world.asked) - asked == 36 - 10


def test_revisions_are_demonstrations(world: JudgeWorld):
    def brain(question: str, body: dict[str, Any]) -> str:
        if '"critique"' in question:
            return json.dumps({"critique": "too short"})
        return answers_in(question)[0] + " and more"

    world.brain = brain
    judge(world, verb="revise", out="r")
    made = read_demonstrations("r/demonstrations.jsonl")
    assert len(made) == 18
    assert made[0].response == "w 0 and more"
    assert made[0].author == "judge:tiny"
    assert made[0].rewrite_of
    rows = [json.loads(line) for line in Path("r/revisions.jsonl").read_text().splitlines()]
    assert {row["critique"] for row in rows} == {"too short"}


def test_a_judge_scores_a_file_and_trains_a_policy_and_its_cost_is_logged(world: JudgeWorld, workshop: Path):
    line = f"judge-reward --url {world.url} --served-name m --price-in 1 --budget 1 --method"
    assert main(f"{line} pointwise --out grades".split()) == 0
    assert main("score --data d.jsonl --reward grades --out s".split()) == 0
    assert metrics("s")["judge/requests"] == 18
    assert metrics("s")["judge/cost"] == pytest.approx(18 * 100 / 1e6)
    assert main(f"{line} pairwise --out pairs".split()) == 0
    policy = f"rloo --model {workshop}/policy --data {workshop}/prompts.jsonl --max-new-tokens 4 --batch-size 8"
    assert main(f"{policy} --samples-per-prompt 2 --reward pairs --max-steps 2 --out r".split()) == 0
    rows = [json.loads(text) for text in Path("r/metrics.jsonl").read_text().splitlines()]
    assert rows[1]["judge/tokens_in"] > rows[0]["judge/tokens_in"] > 0
    assert metrics("r")["reward_mean"] == pytest.approx(0.5)  # shares of one another
    assert main(f"evaluate --model r --against {workshop}/policy --judge pairs --data {workshop}/prompts.jsonl "
                "--max-new-tokens 4 --out e".split()) == 0  # fmt: skip
    (rate,) = json.loads(Path("e/evaluation.json").read_text())["win_rates"]
    assert rate["wins"] + rate["ties"] + rate["losses"] == 16
