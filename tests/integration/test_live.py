"""``assent live`` on tiny models: answers through the app over HTTP; kills of the trainer and of the app."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from assent.cli import main
from assent.data.readers import read_rankings
from assent.feedback.questions import Question
from assent.feedback.store import FeedbackStore
from assent.models.load import load_policy, load_reward_model
from assent.runs.manifest import read_manifest
from benchmarks.rounds.annotators import JSON, Annotator, join
from benchmarks.rounds.live import app_of

ANSWERS = 24
PATIENCE = 300.0
SETTINGS = [
    *("--model", "policy", "--reward", "reward", "--data", "prompts.jsonl", "--store", "feedback.db", "--out", "out"),
    *("--questions", "12", "--n", "3", "--max-new-tokens", "6", "--learning-rate", "1e-3"),
    *("--refresh-answers", "6", "--refresh-steps", "3", "--policy", "batch_size=8", "--policy", "save_steps=1"),
]


def shorter(question: Question, order: tuple[int, ...]) -> int:
    """Prefers the shorter text."""
    first, second = (len(question.texts[place]) for place in order)
    return -1 if first < second else 1


class Command:
    """``assent live``, given as often as it takes."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.base = f"http://127.0.0.1:{self.port}"
        self.given: list[subprocess.Popen[str]] = []

    def give(self, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "assent", "live", *SETTINGS, "--port", str(self.port), *more]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with open("log.txt", "a") as log:
            process = subprocess.Popen(
                command, env=environment, text=True, stdout=log, stderr=log, start_new_session=True
            )
        self.given.append(process)
        return process

    def until(self, true: Callable[[], object]) -> None:
        until = time.monotonic() + PATIENCE
        while not true():
            assert self.given[-1].poll() is None, Path("log.txt").read_text()
            assert time.monotonic() < until, Path("log.txt").read_text()
            time.sleep(0.02)

    def end(self) -> None:
        for process in self.given:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def command(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    monkeypatch.chdir(tmp_path)
    for file in workshop.iterdir():
        Path(file.name).symlink_to(file)
    made = Command()
    yield made
    made.end()


def test_no_answer_is_lost_whatever_is_killed(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    ann = Annotator(command.base, "feedback.db", "ann", shorter, think=0.3, most=ANSWERS)
    trainer = command.give()
    ann.start()
    stages = Path("out.partial/stages")

    # the trainer, in the middle of the first refresh
    command.until(lambda: list(stages.glob("policy-0001.partial/checkpoints/step-*")))
    trainer.kill()
    trainer.wait()
    assert httpx.get(f"{command.base}/healthz").status_code == 200, "the app goes on without the trainer"
    before = len(ann.acknowledged)
    trainer = command.give()
    with httpx.Client(base_url=command.base, follow_redirects=True) as client:
        join(client, "feedback.db", "val", "viewer")
        command.until(lambda: client.get("/live", headers=JSON).json()["policy"] == 1)
        assert client.get("/live", headers=JSON).json()["learned"] >= before
        assert "What is learned" in client.get("/live").text

    # the app, which the first trainer had started: the second one says so, and ends
    os.kill(app_of("feedback.db"), signal.SIGKILL)
    assert trainer.wait(PATIENCE) == 2
    assert "the labelling app at port" in Path("log.txt").read_text()
    assert command.give("--answers", str(ANSWERS)).wait(PATIENCE) == 0, Path("log.txt").read_text()
    ann.join()

    with FeedbackStore.open("feedback.db") as store:
        stored = [ranking.id for ranking in store.rankings()]
        priorities = {question.id: question.priority for question in store.questions()}
    assert len(stored) == len(ann.acknowledged)
    assert [ranking.id for ranking in read_rankings("out/reward/rankings.jsonl")] == stored
    assert read_manifest("out").metrics["answers"] == len(stored)
    updates = [json.loads(line) for line in Path("out/updates.jsonl").read_text().splitlines()]
    assert [f"{row['answer']}" for row in updates] == [name.partition(":")[2] for name in stored]

    # questions about older policies come behind those about the newest
    asked = [json.loads(line) for line in Path("out/asked.jsonl").read_text().splitlines()]
    answered = {name.partition(":")[0] for name in stored}
    newest = max(row["policy"] for row in asked)
    for row in asked:
        for name, worth in zip(row["questions"], row["worth"], strict=True):
            if name not in answered:
                assert priorities[name] == pytest.approx(worth - (newest - row["policy"]))

    load_policy("out/policy")
    load_reward_model("out/reward")
    assert main(["lineage", "out/policy"]) == 0
    assert f"ann: {len(stored)} rows of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--policy", "learning_rat=1"), "unknown setting 'learning_rat'"),
        (("--reward", "policy"), "the reward head is missing"),
        (("--lr-scheduler-type", "linear"), "lr_scheduler_type"),
    ],
)
def test_mistakes_are_told_at_once(
    command: Command, more: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["live", *SETTINGS, *more]) == 2
    assert message in capsys.readouterr().err
    assert not Path("out.partial").exists() or not any(Path("out.partial").iterdir())
