"""Stage ``task-world``: a small world of one of the field's tasks, for runs that download nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from assent.config import Settings
from assent.data.jsonl import write_jsonl
from assent.data.tasks.problem import demonstrations, load_world, problems
from assent.pipeline.stage import Context, Metrics, Stage
from assent.types import Demonstration


class TaskWorldSettings(Settings):
    """How much of which world to write."""

    task: Literal["questions", "code", "dialogue", "instructions", "translation", "summaries"]
    """The world: sums in words; Python functions with tests; conversations in which help is asked for with what is fine
    and what is not; instructions of several constraints; German sentences; posts to be summarised."""
    texts: int = Field(default=8000, gt=0)
    """Texts that a new model is pretrained on."""
    demonstrations: int = Field(default=1000, gt=0)
    """Demonstrations for fine-tuning."""
    mistakes: float = Field(default=0.4, ge=0.0, le=1.0)
    """Share of careless answers among the texts and the demonstrations."""
    train_prompts: int = Field(default=2000, gt=0)
    """Prompts for feedback and policy optimisation."""
    eval_prompts: int = Field(default=300, gt=0)
    """Prompts for the evaluation, of problems that no other file has."""


def run(settings: TaskWorldSettings, context: Context) -> Metrics:
    """Writes ``texts.jsonl``, ``demonstrations.jsonl``, ``train_prompts.jsonl`` and ``eval_prompts.jsonl``."""
    draw, seed, out = load_world(settings.task), context.seed, context.out
    read = demonstrations(draw, settings.texts, settings.mistakes, seed, "text")
    write_jsonl(out / "texts.jsonl", ({"text": _written(demonstration)} for demonstration in read))
    shown = demonstrations(draw, settings.demonstrations, settings.mistakes, seed, "demonstration")
    write_jsonl(out / "demonstrations.jsonl", shown)
    train = problems(draw, settings.train_prompts, False, seed, "train")
    write_jsonl(out / "train_prompts.jsonl", (each.asked(f"train-{i}") for i, each in enumerate(train)))
    held_out = problems(draw, settings.eval_prompts, True, seed, "eval")
    write_jsonl(out / "eval_prompts.jsonl", (each.asked(f"eval-{i}") for i, each in enumerate(held_out)))
    return {"texts": settings.texts, "demonstrations": settings.demonstrations}


def _written(demonstration: Demonstration) -> str:
    """Prompt and answer as one text; a conversation as models without a chat template see it."""
    prompt = demonstration.prompt
    if prompt.messages is None:
        return f"{prompt.text}{demonstration.response}"
    turns = "".join(f"{message.role}:\n{message.content}\n\n" for message in prompt.messages)
    return f"{turns}assistant:\n{demonstration.response}"


STAGE = Stage(
    kind="task-world", summary="Write a small world of one of the field's tasks", Settings=TaskWorldSettings, run=run,
    verb=False,
)  # fmt: skip
