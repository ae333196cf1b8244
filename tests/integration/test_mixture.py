"""A judge first and people where it is unsure: two rounds of a recipe with programs, and people in a store."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from whole_runs import run_beside

from assent.cli import main
from assent.data.readers import read_comparisons, read_rankings
from assent.feedback.answers import Answer
from assent.feedback.questions import display_order
from assent.feedback.responses import Preference
from assent.feedback.store import FeedbackStore
from assent.runs.manifest import read_manifest
from assent.types import Prompt, Ranking, to_json
from tests.integration.conftest import write_rows
from tests.unit.rewards.judge_world import JudgeWorld

ROUNDS = """
name: r
stages:
  round:
    rounds: 2
    stages:
      sample: {model: $previous.policy or policy, data: prompts.jsonl, n: 3, max_new_tokens: 6}
      judge:
        {data: $sample/completions.jsonl, method: ranking, truth: rules.py:words,
         simulated: {name: jo, noise: 0.2, tie_width: 0, position_bias: 0.5, fail_below: -99}}
      collect:
        {data: $sample/completions.jsonl, judged: $judge/rankings.jsonl, overlap_share: 0.6, unsure_below: 0.5,
         least_agreement: 0.3, truth: rules.py:words,
         annotators: [{name: ann, noise: 1.5, fail_below: -99}, {name: bo, noise: 3, fail_below: -99}]}
      comparisons:
        {data: $collect/rankings.jsonl, competence_from: [$earlier.collect/rankings.jsonl], adjudication: weighted,
         held_out: 0.25}
      answers: {uses: join, data: [$all.comparisons/train.jsonl]}
      reward: {model: policy, data: $answers/rows.jsonl, max_steps: 2}
      policy:
        {uses: rloo, model: $previous.policy or policy, reference: policy, reward: $reward, data: prompts.jsonl,
         max_steps: 2, batch_size: 8, max_new_tokens: 6}
"""
PEOPLE = """
name: p
stages:
  judge: {data: answers.jsonl, truth: truth.py:length, simulated: {name: jo, noise: 0, tie_width: 0.5}}
  collect: {data: answers.jsonl, task: pairwise, judged: $judge/rankings.jsonl, people: true, overlap_share: 0.5}
"""

ELSEWHERE = Ranking(
    *("r", Prompt("p9", text="Ask"), ("a", "b"), ("x", "y"), (1, 2), "judge:x"),
    note="margin 1.000",
)


@pytest.fixture(scope="module")
def ran(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixture")
    return run_beside(workshop, folder, ROUNDS)


@pytest.fixture
def rounds(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder where both rounds have run."""
    monkeypatch.chdir(ran)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with two answers to each of six prompts, of one length to the first two."""
    monkeypatch.chdir(tmp_path)
    Path("truth.py").write_text("def length(prompt, text):\n    return float(len(text))\n")
    rows = [{"prompt": f"p{i}", "completion": "x" * (5 + k * (i > 1)) + f" {k}"} for i in range(6) for k in range(2)]
    write_rows(Path("answers.jsonl"), rows)
    Path("p.yaml").write_text(PEOPLE)


in_rounds, with_people = pytest.mark.usefixtures("rounds"), pytest.mark.usefixtures("asked")


def metrics(folder: str) -> dict[str, Any]:
    return dict(read_manifest(Path(folder)).metrics)


def routes(folder: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "routes.jsonl").read_text().splitlines()]


@in_rounds
@pytest.mark.parametrize("number", [1, 2])
def test_every_answer_leads_back_to_who_gave_it(number: int) -> None:
    found, rows = metrics(f"runs/r/round{number}.collect"), routes(f"runs/r/round{number}.collect")
    given = {ranking.id: ranking for ranking in read_rankings(f"runs/r/round{number}.collect/rankings.jsonl")}
    judged = {ranking.id: ranking for ranking in read_rankings(f"runs/r/round{number}.judge/rankings.jsonl")}
    stands = {row["judge"] for row in rows if row["why"] in ("judge", "overlap", "contradicted", "distrusted")}
    people = [name for row in rows for name in row["people"]]
    assert set(given) == {*stands, *people}
    assert all(given[name] == judged[name] for name in stands)
    assert {given[name].annotator for name in stands} == {"judge:simulated:jo"}
    assert {given[name].annotator for name in people} == {"simulated:ann", "simulated:bo"}
    with FeedbackStore.open("runs/r/feedback.db") as store:
        stored = {ranking.id: ranking.annotator for ranking in store.rankings()}
    assert all(stored[name] == ranking.annotator for name, ranking in given.items())
    assert [row["people"] for row in rows if row["why"] == "judge"] == [[]] * found["judge_alone"]
    assert all(row["margin"] < 0.5 for row in rows if row["why"] == "unsure")
    assert all(row["margin"] >= 0.5 for row in rows if row["why"] != "unsure")
    sizes = {"overlap": 1, "contradicted": 2, "distrusted": 1, "unsure": 1, "judge": 0}
    assert all(len(row["people"]) == sizes[row["why"]] for row in rows)


@in_rounds
@pytest.mark.parametrize("number", [1, 2])
def test_a_round_says_how_much_was_asked_of_whom_and_how_far_they_agree(number: int) -> None:
    found, rows = metrics(f"runs/r/round{number}.collect"), routes(f"runs/r/round{number}.collect")
    why = Counter(row["why"] for row in rows)
    assert found["questions"] == found["answered"] == found["judge_asked"] == len(rows) == 16
    assert found["people_asked"] == 16 - why["judge"]
    assert found["people_answers"] == sum(len(row["people"]) for row in rows)
    assert found["rankings"] == found["people_answers"] + 16 - why["unsure"]
    assert found["annotators"] == 3
    assert why["unsure"] > 0
    assert found["overlap"] == why["overlap"] + why["contradicted"] == round(0.6 * (16 - why["unsure"]))
    assert why["contradicted"] > 0
    given = {r.id: r for r in read_rankings(f"runs/r/round{number}.collect/rankings.jsonl")}
    same = [
        (judge[one] < judge[two]) == (person[one] < person[two])
        for row in rows
        if row["why"] in ("overlap", "contradicted")
        for judge, person in [[_places(given[row["judge"]]), _places(given[row["people"][0]])]]
        for one, two in combinations(sorted(judge), 2)
        if judge[one] != judge[two] and person[one] != person[two]
    ]
    assert found["agreement"] == pytest.approx(sum(same) / len(same))
    assert 0 < found["agreement_low"] < found["agreement"] < found["agreement_high"] < 1


def _places(ranking: Ranking) -> dict[str, int]:
    return {name: rank for name, rank in zip(ranking.completion_ids, ranking.ranks, strict=True) if rank is not None}


@in_rounds
def test_the_weight_of_the_judge_is_learned_from_the_overlap_and_reaches_the_reward_model() -> None:
    for number in (1, 2):
        found = metrics(f"runs/r/round{number}.comparisons")
        weight = found["competence/judge:simulated:jo"]
        assert found["competence_low/judge:simulated:jo"] < weight < found["competence_high/judge:simulated:jo"]
        made = read_comparisons(f"runs/r/round{number}.comparisons/train.jsonl")
        assert {c.annotator for c in made} >= {"judge:simulated:jo", "simulated:ann"}
        for comparison in made:
            assert comparison.weight == pytest.approx(found[f"competence/{comparison.annotator}"] / 3)
    inputs = {item.name: item.source for item in read_manifest(Path("runs/r/round2.comparisons")).inputs}
    assert inputs["competence_from[0]"] == "$round1.collect/rankings.jsonl"
    learned = read_comparisons("runs/r/round2.answers/rows.jsonl")
    assert {c.weight for c in learned} > {c.weight for c in made}
    assert {item.name: item.source for item in read_manifest(Path("runs/r/round2.reward")).inputs}["data"] == (
        "$round2.answers/rows.jsonl"
    )


@in_rounds
def test_the_same_again_is_done_and_the_same_elsewhere_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "r.yaml"]) == 0
    assert "round2.collect: done before" in capsys.readouterr().out
    Path("c.yaml").write_text(ROUNDS.replace("name: r", "name: c").replace("rounds: 2", "rounds: 1"))
    assert main(["run", "c.yaml"]) == 0
    one, two = (Path(f"runs/{name}/round1.collect") for name in "rc")
    for file in ("rankings.jsonl", "routes.jsonl"):
        assert (one / file).read_text() == (two / file).read_text()


def answer(name: str, longer: bool) -> list[str]:
    """Someone answers all that the app gives them; the ids of the questions."""
    done: list[str] = []
    with FeedbackStore.open("runs/p/feedback.db") as store:
        while not isinstance(turn := store.work.take(name), str):
            question = turn.question
            first, second = (len(question.texts[i]) for i in display_order(question, name))
            says = -1 if (first > second) == longer else 1
            store.add_answer(Answer(question.id, name, Preference(says)))
            done.append(question.id)
    return done


@with_people
def test_people_are_asked_in_turns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "p.yaml"]) == 3
    assert "0 of 4 answers are in" in "".join(capsys.readouterr())
    assert len(answer("eve", longer=False)) == 4, "two that the judge calls equal, and half of the others"
    assert main(["run", "p.yaml"]) == 3
    # she turns both of the overlap around: another person is asked of them, and both are asked of the other two
    assert "4 of 8 answers are in" in "".join(capsys.readouterr())
    more = answer("eve", longer=False)
    assert len(more) == 2
    assert main(["run", "p.yaml"]) == 3
    assert "6 of 8 answers are in" in "".join(capsys.readouterr())
    again = answer("val", longer=True)
    assert len(again) == 2
    assert not set(again) & set(more)
    assert main(["run", "p.yaml"]) == 0
    found, rows = metrics("runs/p/collect"), routes("runs/p/collect")
    assert Counter(row["why"] for row in rows) == {"unsure": 2, "contradicted": 2, "distrusted": 2}
    assert (found["agreement"], found["people_answers"], found["judge_alone"]) == (0.0, 8, 0)
    by = Counter(ranking.annotator for ranking in read_rankings("runs/p/collect/rankings.jsonl"))
    assert by == {"judge:simulated:jo": 4, "eve": 6, "val": 2}
    assert main(["lineage", "runs/p/collect"]) == 0
    said = capsys.readouterr().out
    assert "judge:simulated:jo: 4 rows of" in said
    assert "eve: 6 rows of" in said


@with_people
def test_without_the_judge_people_are_asked_what_it_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "p.yaml", "--set", "collect.without=[judge:simulated:jo]"]) == 3
    assert "0 of 6 answers are in" in "".join(capsys.readouterr())


@with_people
def test_a_budget_is_the_most_that_people_are_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "p.yaml", "--set", "collect.answers=3"]) == 3
    assert "0 of 3 answers are in" in "".join(capsys.readouterr())


@with_people
def test_a_served_judge_says_how_sure_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with JudgeWorld() as world:
        world.brain = lambda question, body: json.dumps({"reason": "", "better": "A"})  # whatever is shown first
        judge = ["judge", "--data", "answers.jsonl", "--url", world.url, "--served-name", "m", "--out", "served"]
        assert main(judge) == 0
    assert {ranking.note for ranking in read_rankings("served/rankings.jsonl")} == {"margin 0.000"}
    collect = ["collect", "--data", "answers.jsonl", "--judged", "served/rankings.jsonl", "--people", "--out", "s"]
    assert main([*collect, "--store", "s.db"]) == 3
    with FeedbackStore.open("s.db") as store:
        assert len(store.questions()) == 6


@with_people
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"collect.task": "rating"}, "judged are rankings, which stand beside people's, and the task is rating"),
        ({"collect.people": "false"}, "simulated annotators need `annotators` and `truth`"),
        ({"collect.annotators": "[{name: ann}]"}, "second_opinion asks another annotator than the 1 of a question"),
        ({"collect.answers": "1", "collect.annotators_per_question": "2"}, "answers 1 is less than"),
        ({"collect.judged": "null", "collect.overlap_share": "0.5"}, "overlap_share is of what a judge answered first"),
        ({"collect.overlap_share": "1.5"}, "overlap_share"),
        ({"collect.with": "label-studio", "collect.url": "http://x"}, "Label Studio cannot be told to ask another"),
        ({"collect.judged": "eves.jsonl"}, "does not say how sure it is"),
        ({"collect.judged": "other.jsonl"}, "its judge ranked none of these answers"),
        ({"judge.truth": "null"}, "a simulated judge is simulated: {name: ...} and truth"),
        ({"judge.served_name": "m"}, "a simulated judge has its name in simulated"),
        ({"judge.simulated": "null", "judge.truth": "null"}, "a judge is url and served_name of a server"),
        ({"judge.method": "pointwise"}, "a simulated judge compares answers by its truth"),
    ],
)
def test_settings_that_cannot_be(more: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = dict(more)
    if "collect.annotators" in given:
        given |= {"collect.people": "false", "collect.truth": "truth.py:length"}
    write_rows(Path("other.jsonl"), [to_json(ELSEWHERE)])
    write_rows(Path("eves.jsonl"), [to_json(replace(ELSEWHERE, note=""))])
    sets = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    assert main(["run", "p.yaml", *sets]) == 2
    assert message in capsys.readouterr().err


@in_rounds
def test_competence_from_more_needs_a_model_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    data = "runs/r/round1.collect/rankings.jsonl"
    assert main(["comparisons", "--data", data, "--competence-from", data, "--out", "none"]) == 2
    assert "competence_from is for adjudication weighted or model, and it is all" in capsys.readouterr().err
