"""Stage ``contrast``: demonstrations against a policy's own samples, as comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeVar

from assent.config import Settings
from assent.data.jsonl import write_jsonl
from assent.data.readers import read_completions, read_demonstrations
from assent.errors import DataError
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.types import Comparison, Completion, Demonstration, Prompt, short_id

CRITERION = "demonstration"

_Key = tuple[object, object]
T = TypeVar("T")


class ContrastSettings(Settings):
    """Demonstrations against samples."""

    data: str = Input("data", description="Demonstrations: prompt and completion, or messages")
    completions: str = Input("data", description="Completions of the same prompts, as the sample stage writes them")
    empty: Literal["error", "skip"] = "error"
    """What to do with a demonstration whose text is empty: stop, or leave it out."""


def run(settings: ContrastSettings, context: Context) -> Metrics:
    """Writes ``comparisons.jsonl``: each demonstration chosen over each sample of its prompt."""
    shown = _by_prompt((d.prompt, d) for d in read_demonstrations(settings.data, empty=settings.empty))
    # A prompt that stood twice in the sampled file was drawn twice alike: the id tells.
    drawn = _by_prompt(read_completions(settings.completions))
    samples = {key: list({c.id: c for c in found}.values()) for key, found in drawn.items()}
    both = [key for key in shown if key in samples]
    comparisons = [pair for key in both for pair in contrasted(shown[key], samples[key])]
    figures = {
        "comparisons": len(comparisons),
        "prompts": len(both),
        "equal_samples": sum(len(shown[key]) * len(samples[key]) for key in both) - len(comparisons),
        "prompts_without_samples": len(shown) - len(both),
        "prompts_without_demonstrations": len(samples) - len(both),
    }
    _tell(figures, settings, context)
    write_jsonl(context.out / "comparisons.jsonl", comparisons)
    return figures


def contrasted(demonstrations: Sequence[Demonstration], samples: Sequence[Completion]) -> list[Comparison]:
    """The comparisons of one prompt, as one group: each demonstration over each of K samples, weighing 1 / K.

    A sample equal to the demonstration is left out and its weight with it: the loss of a pair of equals has no
    gradient in SPIN, so that the others' must not grow for it.
    """
    prompt = demonstrations[0].prompt
    return [
        Comparison(
            id=short_id(prompt.id, demonstration.response, sample.id),
            prompt=prompt,
            chosen=demonstration.response,
            rejected=sample.text,
            weight=1.0 / len(samples),
            criterion=CRITERION,
            annotator=demonstration.author,
            group=prompt.id,
        )
        for demonstration in demonstrations
        for sample in samples
        if sample.text != demonstration.response
    ]


def _by_prompt(pairs: Iterable[tuple[Prompt, T]]) -> dict[_Key, list[T]]:
    """Records by what their prompt says: files of other origin number the same prompts in other ways."""
    found: dict[_Key, list[T]] = {}
    for prompt, record in pairs:
        found.setdefault((prompt.text, prompt.messages), []).append(record)
    return found


def _tell(figures: dict[str, int], settings: ContrastSettings, context: Context) -> None:
    if not figures["prompts"]:
        raise DataError(
            f"none of its {figures['prompts_without_demonstrations']} prompts has a demonstration in {settings.data};"
            " sample the prompts of the demonstrations",
            settings.completions,
        )
    if not figures["comparisons"]:
        raise DataError("every sample equals its demonstration: there is nothing to tell apart", settings.completions)
    for name, what in (
        ("equal_samples", "samples equal to their demonstration left out"),
        ("prompts_without_samples", "prompts with a demonstration and no sample left out"),
        ("prompts_without_demonstrations", "prompts with samples and no demonstration left out"),
    ):
        if figures[name]:
            context.say(f"{figures[name]} {what}")


STAGE = Stage("contrast", "Set demonstrations against a policy's samples", ContrastSettings, run)
