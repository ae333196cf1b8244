"""The parts of ``assent live`` in one process: what is learned of a store, and which questions come first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from assent.data.readers import read_rankings
from assent.errors import DataError, RecipeError
from assent.feedback.answers import Answer
from assent.feedback.questions import Question
from assent.feedback.responses import Preference, Skipped
from assent.feedback.store import FeedbackStore
from assent.pipeline.live.asking import Asking
from assent.pipeline.live.beside import Beside, Work
from assent.pipeline.live.learner import Learner
from assent.pipeline.live.loop import Loop
from assent.pipeline.live.settings import LiveSettings
from assent.pipeline.stage import Context, NoProgress
from assent.runs.manifest import read_manifest
from assent.testing.tiny import tiny_causal, tiny_reward
from assent.types import Prompt, to_json


def saved(model: Any, folder: Path) -> str:
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return str(folder)


def question(n: int, **more: Any) -> Question:
    prompt = Prompt(f"p{n}", text=f"The film {n} is")
    return Question(f"q{n}", prompt, ("a", "b"), (f" good {n}", f" bad {n}"), task="pairwise", **more)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "prompts.jsonl").write_text("".join(f'{{"prompt": "The film {n}"}}\n' for n in range(6)))
    return {
        "model": saved(tiny_causal(), folder / "policy"),
        "reward": saved(tiny_reward(), folder / "reward"),
        "data": str(folder / "prompts.jsonl"),
    }


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeedbackStore]:
    with FeedbackStore.open(tmp_path / "feedback.db") as opened:
        opened.add_questions(question(n) for n in range(8))
        yield opened


def learner(store: FeedbackStore, models: dict[str, str], out: Path, **given: Any) -> Learner:
    out.mkdir(exist_ok=True)
    context = Context(out, 0, NoProgress(), lambda text: None, out)
    return Learner(store, LiveSettings(**models, learning_rate=1e-3, **given), context)


def answer(store: FeedbackStore, number: int, who: str = "eve") -> int:
    return store.add_answer(Answer(f"q{number}", who, Preference(-1), order=(0, 1)))


def learned(out: Path) -> list[str]:
    return [ranking.id for ranking in read_rankings(str(out / "rankings.jsonl"))]


def test_a_kill_and_what_came_meanwhile_change_no_bit(
    store: FeedbackStore, models: dict[str, str], tmp_path: Path
) -> None:
    first = learner(store, models, tmp_path / "parts")
    answer(store, 0)
    answer(store, 1)
    first.learn(9, policy=0)
    first.save()
    answer(store, 2)
    first.learn(9, policy=0)  # and is killed before that is saved
    assert len(learned(tmp_path / "parts")) == 3
    answer(store, 3)
    second = learner(store, models, tmp_path / "parts")
    assert second.learned == 2
    second.learn(9, policy=0)
    whole = learner(store, models, tmp_path / "whole")
    whole.learn(9, policy=0)
    for each, name in ((second, "parts"), (whole, "whole")):
        each.publish(tmp_path / name / "reward")
        assert learned(tmp_path / name) == [f"q{n}:{n + 9}" for n in range(4)]
    one, two = (read_manifest(tmp_path / name / "reward").outputs for name in ("parts", "whole"))
    assert one == two
    assert (tmp_path / "parts/updates.jsonl").read_text() == (tmp_path / "whole/updates.jsonl").read_text()
    noted = store.lessons.newest()
    assert noted is not None
    assert noted.learned == 4


def test_whose_answers_are_learned(store: FeedbackStore, models: dict[str, str], tmp_path: Path) -> None:
    store.add_questions([question(8, project="other"), question(9, criterion="short")])
    answer(store, 0)
    known = store.rankings()
    (tmp_path / "known.jsonl").write_text("".join(json.dumps(to_json(ranking)) + "\n" for ranking in known))
    for number, who in ((1, "eve"), (2, "simulated:x"), (3, "left out"), (8, "eve"), (9, "eve")):
        answer(store, number, who)
    store.undo(answer(store, 4), "eve")
    store.add_answer(Answer("q5", "eve", Skipped("no")))
    last = answer(store, 6)
    given = {"without": ["left out"], "replay": [str(tmp_path / "known.jsonl")], "answers": 3}
    live = learner(store, models, tmp_path / "out", **given)
    assert len(live.learn(9, policy=0)) == 8
    assert [name.partition(":")[0] for name in learned(tmp_path / "out")] == ["q1", "q6"]
    assert live.done, "two were learned, and one left out on purpose"
    assert live.online.place.upto == last
    answer(store, 7)
    assert live.learn(9, policy=0) == [], "the budget is spent"


def test_what_was_taken_back_is_not_replayed(store: FeedbackStore, models: dict[str, str], tmp_path: Path) -> None:
    live = learner(store, models, tmp_path / "out")
    first, second = answer(store, 0), answer(store, 1)
    live.learn(9, policy=0)
    store.undo(first, "eve")
    third = answer(store, 2)
    live.learn(9, policy=1)
    rows = [json.loads(line) for line in (tmp_path / "out/updates.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in rows] == [first, second, third]
    assert set(rows[2]["replayed"]) == {second}
    assert [row["policy"] for row in rows] == [0, 0, 1]


def test_a_published_reward_model_knows_its_people(
    store: FeedbackStore, models: dict[str, str], tmp_path: Path
) -> None:
    live = learner(store, models, tmp_path / "out")
    answer(store, 0)
    live.learn(9, policy=0)
    before = live.online.model.offsets
    live.publish(tmp_path / "out/reward")
    assert live.online.model.offsets == before
    config = json.loads((tmp_path / "out/reward/config.json").read_text())
    assert config["assent_reward_offset"] != 0.0
    manifest = read_manifest(tmp_path / "out/reward")
    assert (manifest.kind, manifest.metrics["answers"]) == ("live", 1)
    (ranking,) = read_rankings(str(tmp_path / "out/reward/rankings.jsonl"))
    assert ranking.annotator == "eve"


def test_questions_about_older_policies_come_later(
    store: FeedbackStore, models: dict[str, str], tmp_path: Path
) -> None:
    settings = LiveSettings(**models, questions=2)
    asking = Asking(store, settings, tmp_path / "stages", seed=0)
    for number, policy in ((1, 0), (2, 2)):
        _made(asking, [(f"{number}.{place}", 0.5 + place / 10) for place in range(2)])
        assert asking.ask(policy) == 2
        assert asking.batches == number
    assert asking.waiting(0) == asking.waiting(2) == 2
    again = Asking(store, settings, tmp_path / "stages", seed=0)
    assert (again.batches, again.waiting(2)) == (2, 2), "it goes on from what it wrote down"
    turns: list[str] = []
    for _ in range(4):
        turn = store.work.take("eve")
        assert not isinstance(turn, str)
        turns.append(turn.question.prompt.id)
        store.add_answer(Answer(turn.question.id, "eve", Preference(0)))
    assert turns[:2] == ["2.1", "2.0"], "those about the newest policy, the one worth most first"
    assert turns[2:] != ["1.1", "1.0"], "what others asked comes before what is two policies old"


def _made(asking: Asking, prompts: list[tuple[str, float]]) -> None:
    folder = asking.made("select")
    folder.mkdir(parents=True)
    rows = [
        {"id": f"{name}/{i}", "prompt_id": name, "prompt": {"id": name, "text": "Ask"}, "text": f"{name} {i}"}
        for name, _ in prompts
        for i in range(2)
    ]
    (folder / "completions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    worth = [{"prompt_id": name, "completion_ids": [], "worth": value} for name, value in prompts]
    (folder / "selection.jsonl").write_text("".join(json.dumps(row) + "\n" for row in worth))


class FakeBeside:
    """Stands for the process beside: a test says what became of its jobs."""

    def __init__(self) -> None:
        self.jobs: list[list[Work]] = []
        self.busy = self.ended = False
        self.error: Exception | None = None

    def begin(self, job: list[Work]) -> None:
        self.jobs.append(job)
        self.busy = True

    def hear(self) -> None:
        self.busy = self.ended = False
        error, self.error = self.error, None
        if error is not None:
            raise error


def looped(live: Learner) -> tuple[Loop, FakeBeside]:
    beside = FakeBeside()
    return Loop(live.store, live, cast(Beside, beside), live.settings, live.context), beside


def whole(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text("{}")


def test_a_refresh_and_the_questions_after_it(store: FeedbackStore, models: dict[str, str], tmp_path: Path) -> None:
    out, stages = tmp_path / "out", tmp_path / "out/stages"
    live = learner(store, models, out, refresh_answers=2, questions=2, policy={"batch_size": 4}, refresh_steps=3)
    loop, beside = looped(live)
    answer(store, 0)
    loop.once()
    assert [work.kind for work in beside.jobs[-1]] == ["sample", "select"], "one answer is not enough to refresh"
    whole(beside.jobs[-1][0].out)
    beside.ended, beside.error = True, DataError("no two answers that differ")
    loop.once()
    loop.once()
    assert len(beside.jobs) == 1, "what brought no question is not tried again at once"
    answer(store, 1)
    loop.once()
    assert [work.out.name for work in beside.jobs[-1]] == ["sample-0002", "select-0002"], "a refresh is due, but later"
    _made(loop.asking, [("w", 0.2)])
    whole(beside.jobs[-1][1].out)
    beside.ended = True
    loop.once()
    policy, sample, select = beside.jobs[-1]
    assert policy.kind == "rloo"
    assert policy.settings["model"] == policy.settings["reference"] == models["model"]
    assert policy.settings["reward"] == select.settings["reward"] == str(stages / "reward-0001")
    assert (policy.settings["max_steps"], policy.settings["batch_size"]) == (3, 4)
    assert sample.settings["model"] == str(policy.out) == str(stages / "policy-0001")
    assert sample.out.name == "sample-0003"
    assert select.settings["asked"] == [str(stages / "reward-0001/rankings.jsonl")]

    # killed here, the refresh goes on, though no answer came since
    again, beside = looped(live)
    again.once()
    assert beside.jobs[-1] == [policy, sample, select], "one of the two questions waits: enough"
    whole(policy.out)
    again.once()
    noted = store.lessons.newest()
    assert noted is not None
    assert (again.version, noted.policy) == (1, 1), "told before its questions are made"
    assert (out / "policy").resolve() == policy.out.resolve()
    _made(again.asking, [("a", 0.2), ("b", 0.1)])
    whole(select.out)
    beside.ended = True
    again.once()
    assert again.asking.waiting(1) == 2
    assert len(beside.jobs) == 1, "there is enough to answer"


def refresh_of(loop: Loop, beside: FakeBeside) -> Work:
    """The next refresh that is begun; batches of questions that come before it are made at once."""
    loop.once()
    while beside.jobs[-1][0].kind == "sample":
        _made(loop.asking, [(f"{loop.asking.batches}", 0.2)])
        whole(beside.jobs[-1][1].out)
        beside.ended = True
        loop.once()
    return beside.jobs[-1][0]


@pytest.mark.parametrize("held_to", ["first", "previous"])
def test_what_every_refresh_is_held_to(
    store: FeedbackStore, models: dict[str, str], tmp_path: Path, held_to: str
) -> None:
    live = learner(store, models, tmp_path / "out", refresh_answers=1, questions=2, held_to=held_to)
    for number in range(3):
        answer(store, number)
        refresh = refresh_of(*looped(live))
        before = str(tmp_path / f"out/stages/policy-{number:04d}") if number else models["model"]
        assert refresh.settings["model"] == before
        assert refresh.settings.get("reference") == (models["model"] if held_to == "first" else None)
        assert refresh_of(*looped(live)) == refresh, "the same after a kill"
        whole(refresh.out)


def test_a_failed_refresh_is_told(store: FeedbackStore, models: dict[str, str], tmp_path: Path) -> None:
    live = learner(store, models, tmp_path / "out", refresh_answers=1)
    loop, beside = looped(live)
    answer(store, 0)
    loop.once()
    beside.ended, beside.error = True, DataError("a completion without a score")
    with pytest.raises(DataError, match="without a score"):
        loop.once()


def test_a_reward_model_that_cannot_learn_live(store: FeedbackStore, models: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    (tmp_path / "many/ensemble.json").write_text('{"members": ["member-1"]}')
    with pytest.raises(RecipeError, match="is an ensemble of models; one model learns live"):
        learner(store, {**models, "reward": str(tmp_path / "many")}, tmp_path / "out")
