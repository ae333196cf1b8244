"""Stage ``sst2``: the Stanford Sentiment Treebank as demonstrations, two halves of labels, and prompts."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from assent.config import Settings
from assent.data.jsonl import write_jsonl
from assent.data.sst2 import LabelledText, read_sst2, review_prompts, sentences_of, split_halves
from assent.errors import DataError
from assent.pipeline.stage import Context, Input, Metrics, Stage


class SST2Settings(Settings):
    """SST-2."""

    data: str = Input("data", description="SST-2: a GLUE folder, a .tsv file or the hub's stanfordnlp/sst2")
    dev: str | None = Input("data", None, "Its dev set where that is another file; unset = the validation split")
    sentence_words: int = Field(default=5, gt=0)
    """Sentences of fewer words are left out of fine-tuning."""
    prompt_words: tuple[int, int] = (2, 5)
    """Fewest and most words of a sentence that make a prompt."""
    train_prompts: int = Field(default=4000, gt=0)
    """Prompts for policy optimisation, half from positive and half from negative sentences."""
    eval_prompts: int = Field(default=400, gt=0)
    """Prompts from the dev set, balanced likewise."""


def run(settings: SST2Settings, context: Context) -> Metrics:
    rows = read_sst2(settings.data, "train")
    dev = read_sst2(settings.dev) if settings.dev else read_sst2(settings.data, "validation")
    seen = {" ".join(row.text.lower().split()) for row in dev}
    rows = [row for row in rows if " ".join(row.text.lower().split()) not in seen]
    reward_half, judge_half, report = split_halves(rows, context.seed)
    sentences = [row for row in sentences_of(rows) if len(row.text.split()) >= settings.sentence_words]
    prompts = review_prompts(sentences, settings.prompt_words, context.seed)[: settings.train_prompts]
    held_out = review_prompts(dev, settings.prompt_words, context.seed)[: settings.eval_prompts]
    if not prompts or not held_out:
        raise DataError("no sentence is long enough to make a prompt of; lower prompt_words", settings.data)
    out = context.out
    write_jsonl(out / "sentences.jsonl", ({"text": _said(row)} for row in sentences))
    write_jsonl(out / "reward_labels.jsonl", _labels(reward_half))
    write_jsonl(out / "judge_labels.jsonl", _labels(judge_half))
    write_jsonl(out / "dev_labels.jsonl", _labels(dev))
    write_jsonl(out / "train_prompts.jsonl", prompts)
    write_jsonl(out / "eval_prompts.jsonl", held_out)
    context.say(
        f"{report.rows} rows in {report.components} groups that share no sentence: {report.half_a} for the reward "
        f"model, {report.half_b} for the judge, {report.dropped} dropped because both hold them"
    )
    return {"sentences": len(sentences), "reward_labels": report.half_a, "judge_labels": report.half_b}


def _said(row: LabelledText) -> str:
    return " ".join(row.text.split())


def _labels(rows: Sequence[LabelledText]) -> list[dict[str, object]]:
    return [{"text": _said(row), "label": row.label} for row in rows]


STAGE = Stage(
    kind="sst2", summary="Split the Stanford Sentiment Treebank for the recipe", Settings=SST2Settings, run=run,
    verb=False,
)  # fmt: skip
