"""The questions of a live run: about the newest policy's completions, those of older ones behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from assent.data.jsonl import write_jsonl
from assent.data.readers import read_completions, read_prompts
from assent.data.rows import read_rows
from assent.feedback.questions import Question, questions_from_completions
from assent.feedback.store import FeedbackStore
from assent.pipeline.live.beside import Work
from assent.pipeline.live.settings import LiveSettings
from assent.rollout.settings import SamplingOptions
from assent.runs.folder import append_jsonl, read_jsonl
from assent.training.sources import stream_places
from assent.types import short_id

ASKED = "asked.jsonl"
"""A row for each batch of questions: its number, the policy they are about, their ids, what each was worth."""


class Asking:
    """Batches of questions, numbered from 1; ``asked.jsonl`` says which policy each is about."""

    def __init__(self, store: FeedbackStore, settings: LiveSettings, home: Path, seed: int) -> None:
        """``home`` is where the stages of each batch lie."""
        self.store, self.settings, self.home, self.seed = store, settings, home, seed
        self.prompts = read_prompts(settings.data)
        path = settings.instructions
        self.instructions = Path(path).read_text(encoding="utf-8") if path else ""
        self.batches = 0
        self._open: dict[str, tuple[int, float]] = {}
        """Questions without an answer: the policy each is about, and what it was worth."""
        for row in read_jsonl(home.parent / ASKED):
            self._note(row)

    def answered(self, questions: Iterable[str]) -> None:
        """They need not wait any longer."""
        for question in questions:
            self._open.pop(question, None)

    def waiting(self, policy: int) -> int:
        """How many questions about this policy have no answer."""
        return sum(about == policy for about, _ in self._open.values())

    def work(self, model: str, reward: str, learned: Sequence[str]) -> list[Work]:
        """The stages that make the next batch: sample, and select what is worth asking.

        ``learned``: files of the rankings so far, whose questions are not asked again.
        """
        settings, number = self.settings, self.batches + 1
        count = min(len(self.prompts), settings.questions * settings.prompts_per_question)
        chosen = [self.prompts[place] for place in stream_places(len(self.prompts), count, self.seed, number - 1)]
        prompts = self.home / f"prompts-{number:04d}.jsonl"
        write_jsonl(prompts, {prompt.id: prompt for prompt in chosen}.values())
        seed = int(short_id(self.seed, "questions", number), 16)
        sampling = settings.model_dump(include=set(SamplingOptions.model_fields))
        sample = {**sampling, "model": model, "data": str(prompts), "n": settings.n}
        select = {
            "data": str(self.made("sample") / "completions.jsonl"),
            "reward": reward,
            "asked": list(learned),
            "method": settings.method,
            "ask": settings.ask,
            "answers": settings.questions,
        }
        return [
            Work("sample", sample, self.made("sample"), seed),
            Work("select", select, self.made("select"), seed),
        ]

    def ask(self, policy: int) -> int:
        """Put the batch that was made into the store, before those about older policies; how many questions."""
        number = self.batches + 1
        folder = self.made("select")
        pairs = read_completions(str(folder / "completions.jsonl"))
        worth = {row.values["prompt_id"]: float(row.values["worth"]) for row in read_rows(folder / "selection.jsonl")}
        prompts = {prompt.id: prompt for prompt, _ in pairs}.values()
        task = "pairwise" if self.settings.ask == "pairs" else "ranking"
        made = questions_from_completions(
            prompts, [completion for _, completion in pairs], self.instructions, self.settings.criterion, task
        )
        questions = [self._placed(question, worth[question.prompt.id]) for question in made]
        self.store.add_questions(questions)
        self._stale(policy)
        values = {"questions": [q.id for q in questions], "worth": [worth[q.prompt.id] for q in questions]}
        self._append({"batch": number, "policy": policy, **values})
        return len(questions)

    def pass_over(self, policy: int, why: str) -> None:
        """There is nothing to ask in the batch that was made."""
        self._append({"batch": self.batches + 1, "policy": policy, "questions": [], "worth": [], "why": why})

    def _placed(self, question: Question, worth: float) -> Question:
        return replace(question, priority=worth, project=self.settings.project, overlap=self.settings.overlap)

    def _stale(self, policy: int) -> None:
        """Lower the priority of questions about older policies: by 1, more than any is worth, for each newer one."""
        older = {name: worth - (policy - about) for name, (about, worth) in self._open.items() if about < policy}
        self.store.work.set_priorities(older)

    def _append(self, row: Mapping[str, Any]) -> None:
        append_jsonl(self.home.parent / ASKED, row)
        self._note(row)

    def _note(self, row: Mapping[str, Any]) -> None:
        self.batches, about = row["batch"], row["policy"]
        self._open.update({q: (about, worth) for q, worth in zip(row["questions"], row["worth"], strict=True)})

    def made(self, kind: Literal["sample", "select"]) -> Path:
        """The folder of a stage of the next batch."""
        return self.home / f"{kind}-{self.batches + 1:04d}"
