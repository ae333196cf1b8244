"""Stage ``world``: the package's own small world of film reviews, for runs that download nothing."""

from __future__ import annotations

from pydantic import Field

from assent.config import Settings
from assent.data.jsonl import write_jsonl
from assent.data.movie_world import BASE_HABITS, DEMONSTRATION_HABITS, film_prompt, sample_films, write_corpus
from assent.pipeline.stage import Context, Metrics, Stage
from assent.types import Prompt


class WorldSettings(Settings):
    """How much of the world to write."""

    reviews: int = Field(default=20000, gt=0)
    """Reviews that the base model is pretrained on."""
    demonstrations: int = Field(default=1500, gt=0)
    """Demonstrations: reviews by hurried writers."""
    feedback_prompts: int = Field(default=800, gt=0)
    """Prompts whose answers are ranked."""
    train_prompts: int = Field(default=4000, gt=0)
    """Prompts for policy optimisation."""
    eval_prompts: int = Field(default=500, gt=0)
    """Prompts for the evaluation, about films that no other file names; balanced over what they ask."""


def run(settings: WorldSettings, context: Context) -> Metrics:
    seed, out = context.seed, context.out
    corpus = [d.prompt.shown() + d.response for d in write_corpus(settings.reviews, BASE_HABITS, seed)]
    write_jsonl(out / "corpus.jsonl", ({"text": text} for text in corpus))
    held_out = write_corpus(300, BASE_HABITS, seed + 1, held_out=True)
    write_jsonl(out / "held_out.jsonl", ({"text": d.prompt.shown() + d.response} for d in held_out))
    demonstrations = write_corpus(settings.demonstrations, DEMONSTRATION_HABITS, seed + 2)
    write_jsonl(out / "demonstrations.jsonl", demonstrations)
    for name, count, offset in (
        ("feedback", settings.feedback_prompts, 3),
        ("train", settings.train_prompts, 4),
        ("eval", settings.eval_prompts, 5),
    ):
        write_jsonl(out / f"{name}_prompts.jsonl", _prompts(name, count, seed + offset))
    return {"reviews": settings.reviews, "demonstrations": settings.demonstrations}


def _prompts(name: str, count: int, seed: int) -> list[Prompt]:
    films = sample_films(count, held_out=name == "eval", seed=seed)
    return [film_prompt(film, f"{name}-{index}") for index, film in enumerate(films)]


STAGE = Stage(kind="world", summary="Write the small world of film reviews", Settings=WorldSettings, run=run)
