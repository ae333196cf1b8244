"""The live mode under scripted annotators: how soon an answer is learned, and whether one is lost.

Two annotators answer through the web app while the policy is refreshed again and again.  In the middle the trainer is
killed (SIGKILL), later the app; each time the same command is given again.  ``live_seconds`` is the worst time from the
acknowledgement of an answer to the moment at which the app tells that a reward model which holds it is saved, the
kills and what it takes to come back apart: those answers are in ``answers_lost`` alone, which counts acknowledged
answers that the last reward model does not hold exactly once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median

import httpx

from assent.data.movie_world import utility
from assent.data.readers import read_rankings
from assent.feedback.questions import Question
from assent.feedback.store import FeedbackStore
from benchmarks.rounds.annotators import JSON, Annotator, join
from benchmarks.rounds.selection import ANNOTATORS, REWARD
from benchmarks.rounds.shared import RUN, stage

HOME = RUN / "live"
LOG = HOME / "run/log.txt"
ANSWERS = 120
THINK = 1.0
"""Seconds between two answers of one annotator."""
KILLS = ((0.35, "trainer"), (0.7, "app"))
"""After which share of the answers what is killed."""
SETTINGS = [
    *("--questions", "16", "--max-new-tokens", "64", "--learning-rate", "1e-4"),
    *("--refresh-answers", "25", "--refresh-steps", "3"),
    *("--policy", "batch_size=32", "--policy", "learning_rate=4e-4", "--policy", "save_steps=1"),
]


def live() -> dict[str, float]:
    """``live_seconds`` and ``answers_lost``."""
    reward = _begun()
    shutil.rmtree(LOG.parent, ignore_errors=True)
    LOG.parent.mkdir()
    out, store = LOG.parent / "out", str(LOG.parent / "feedback.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inputs = {"model": RUN / "sft", "reward": reward, "data": RUN / "world/train_prompts.jsonl"}
    inputs |= {"replay": HOME / "comparisons/train.jsonl", "store": store, "out": out, "port": port}
    given = [word for name, value in inputs.items() for word in (f"--{name}", str(value))]
    run = Run([sys.executable, "-m", "assent", "live", *given, *SETTINGS], f"http://127.0.0.1:{port}", store)
    try:
        acknowledged = run.through()
        run.finish(len(acknowledged))
    finally:
        run.end()
    learned = run.watching.moments
    undisturbed = [
        seen - moment
        for moment, seen in zip(acknowledged, learned, strict=False)
        if not any(begun <= seen and moment <= over for begun, over in run.troubles)
    ]
    lost = _lost(out / "reward", store, len(acknowledged))
    print(
        f"{len(acknowledged)} answers, {len(KILLS)} kills, {run.watching.policy} policies meanwhile; of "
        f"{len(undisturbed)} answers that no kill delayed the slowest was learned after {max(undisturbed):.1f} s, the "
        f"median after {median(undisturbed):.1f} s; {lost} answers lost",
        flush=True,
    )
    return {"live_seconds": round(max(undisturbed), 2), "answers_lost": lost}


class Watching(threading.Thread):
    """Looks at what the app tells of the learning, several times a second."""

    def __init__(self, base: str, store: str) -> None:
        super().__init__(daemon=True)
        self.base, self.address = base, store
        self.learned = self.policy = 0
        self.moments: list[float] = []
        """By answers learned, less one: when so many were first told to be learned."""
        self.stop = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self.base, timeout=30.0, follow_redirects=True) as client:
            join(client, self.address, "watching", "viewer")
            while not self.stop.wait(0.2):
                with contextlib.suppress(httpx.TransportError):
                    told = client.get("/live", headers=JSON).raise_for_status().json()
                    self.moments += [time.monotonic()] * (told["learned"] - len(self.moments))
                    self.learned, self.policy = told["learned"], told["policy"]


class Run:
    """The command, killed and given again on the way; nothing that it started outlives :meth:`end`."""

    def __init__(self, command: list[str], base: str, store: str) -> None:
        self.command, self.base, self.store = command, base, store
        self.people = [Annotator(base, store, name, _prefer, THINK) for name in ("ann", "bo")]
        self.watching = Watching(base, store)
        self.started: list[subprocess.Popen[bytes]] = []
        self.troubles: list[tuple[float, float]] = []
        """From a kill until its answers were learned."""

    def start(self, *more: str) -> None:
        with open(LOG, "ab") as log:
            process = subprocess.Popen([*self.command, *more], stdout=log, stderr=log, start_new_session=True)
        self.started.append(process)

    def through(self) -> list[float]:
        """Until all answers are learned; the moments at which they were acknowledged."""
        self.start()
        for thread in (*self.people, self.watching):
            thread.start()
        for share, what in KILLS:
            self._until(lambda share=share: self._acknowledged() >= share * ANSWERS)
            begun = time.monotonic()
            self._kill(what)
            self._until(self._is_back)
            self.troubles.append((begun, time.monotonic()))
            print(f"killed the {what}: all was learned again {self.troubles[-1][1] - begun:.0f} s later", flush=True)
        self._until(lambda: self._acknowledged() >= ANSWERS)
        for person in self.people:
            person.stop.set()
            person.join()
        self._until(lambda: self.watching.learned >= self._acknowledged())
        return sorted(moment for person in self.people for moment in person.acknowledged)

    def finish(self, answers: int) -> None:
        """Stop it, and give the same command with the number of answers as its budget: it ends by itself."""
        self.started[-1].send_signal(signal.SIGINT)
        self.started[-1].wait(60)
        self.start("--answers", str(answers))
        if self.started[-1].wait(600):
            raise SystemExit(f"the run could not be ended; see {LOG}")

    def end(self) -> None:
        """Stop all that is left of it."""
        for thread in (*self.people, self.watching):
            thread.stop.set()
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _acknowledged(self) -> int:
        return sum(len(person.acknowledged) for person in self.people)

    def _is_back(self) -> bool:
        """Whether the newest process looks for answers, and has learned what came without it."""
        ready = LOG.read_text(encoding="utf-8", errors="replace").count("answer at http")
        return ready == len(self.started) and self.watching.learned >= self._acknowledged() - len(self.people)

    def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            if self.started[-1].poll() is not None:
                raise SystemExit(f"the run ended (status {self.started[-1].returncode}); see {LOG}")
            time.sleep(0.05)

    def _kill(self, what: str) -> None:
        """The trainer, or the app, without which the trainer stops; and the same command again."""
        process = self.started[-1]
        os.kill(process.pid if what == "trainer" else app_of(self.store), signal.SIGKILL)
        process.wait(60)
        self.start()


def app_of(store: str) -> int:
    """The process that serves the app over this store."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = place.read_bytes().decode(errors="replace").split("\0")
            if words[2:6] == ["assent", "label", "serve", store]:
                return int(place.parent.name)
    raise SystemExit(f"nothing serves {store}")


def _prefer(question: Question, order: tuple[int, ...]) -> int:
    """The better of two by the world's true preference."""
    first, second = (utility(question.prompt, question.texts[place]) for place in order)
    return 0 if first == second else -2 if first > second else 2


def _begun() -> Path:
    """A reward model of sixty simulated rankings, made once."""
    sample = {"model": str(RUN / "sft"), "data": str(RUN / "world/feedback_prompts.jsonl"), "n": 4, "max_prompts": 60}
    drawn = stage("sample", sample, HOME / "sample", 0) / "completions.jsonl"
    asked = {"data": str(drawn), "truth": "assent.data.movie_world:utility", "annotators": ANNOTATORS}
    given = stage("collect", asked, HOME / "collect", 0) / "rankings.jsonl"
    pairs = stage("comparisons", {"data": str(given), "held_out": 0.0}, HOME / "comparisons", 0) / "train.jsonl"
    return stage("reward", {"model": str(RUN / "sft"), "data": str(pairs), **REWARD}, HOME / "reward", 0)


def _lost(reward: Path, store: str, acknowledged: int) -> int:
    """Acknowledged answers that the reward model does not hold exactly once."""
    held = Counter(ranking.id for ranking in read_rankings(str(reward / "rankings.jsonl")))
    with FeedbackStore.open(store) as opened:
        stored = [ranking.id for ranking in opened.rankings()]
    return max(0, acknowledged - len(stored)) + sum(held[name] != 1 for name in stored)
