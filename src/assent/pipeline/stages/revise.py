"""Stage ``revise``: answers criticised and rewritten by principles, as demonstrations for fine-tuning."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from assent.data.jsonl import write_jsonl
from assent.data.readers import read_completions
from assent.errors import DataError
from assent.feedback.answers import JUDGE
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.rewards.critique import Reviser, ReviserSettings
from assent.types import Demonstration

_BATCH = 64


class ReviseStageSettings(ReviserSettings):
    """Critique and revision."""

    data: str = Input("data", description="Completions to make better, as the sample stage writes them")
    max_unrevised: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of completions without a readable critique over which the run stops."""


def run(settings: ReviseStageSettings, context: Context) -> Metrics:
    """Writes ``demonstrations.jsonl``, the final answers, and ``revisions.jsonl``, every round of each."""
    reviser, rows = Reviser(settings), read_completions(settings.data)
    author = JUDGE + settings.served_name.rstrip("/").split("/")[-1]
    made: list[Demonstration] = []
    history: list[dict[str, Any]] = []
    context.progress.start("revising", len(rows))
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH]
        found = reviser.all([(prompt, completion.text) for prompt, completion in some])
        for (prompt, completion), rounds in zip(some, found, strict=True):
            if isinstance(rounds, str):
                context.say(f"completion '{completion.id}' is left out: {rounds}")
                continue
            made.append(Demonstration(prompt, rounds[-1].text, author, completion.id))
            history += [
                {"completion_id": completion.id, "principle": r.principle, "critique": r.critique, "text": r.text}
                for r in rounds
            ]
        context.progress.advance(len(some))
    context.progress.stop()
    reviser.server.close()
    if len(made) < (1.0 - settings.max_unrevised) * len(rows):
        raise DataError(f"{len(rows) - len(made)} of {len(rows)} completions got no revision", settings.data)
    write_jsonl(context.out / "demonstrations.jsonl", made)
    write_jsonl(context.out / "revisions.jsonl", history)
    return {"demonstrations": len(made), "unrevised": len(rows) - len(made), **reviser.server.usage.figures()}


STAGE = Stage("revise", "Have a language model criticise and rewrite completions", ReviseStageSettings, run)
