"""Stage ``collect``: people, or simulated annotators, judge completions in the feedback store, or write some."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from assent.config import Settings
from assent.data.readers import read_completions, read_prompts
from assent.errors import RecipeError, nearest
from assent.evaluation.win_rates import detectable_difference
from assent.feedback.answers import SIMULATED
from assent.feedback.interchange.label_studio_api import LabelStudio
from assent.feedback.interchange.label_studio_sync import pull, push
from assent.feedback.questions import (
    HELPFUL_HARMLESS_HONEST,
    Criterion,
    Question,
    Task,
    demonstration_question,
    questions_from_completions,
)
from assent.feedback.simulate import SimulatedAnnotator
from assent.feedback.simulated_answers import simulated_answers
from assent.feedback.store import FeedbackStore
from assent.pipeline.serving import labelling_app
from assent.pipeline.stage import Context, Input, Metrics, Stage, Waiting
from assent.pipeline.stages.answers import answers_of, content, write_answers
from assent.rewards.rule import load_function

LOOK = 1.0
"""Seconds between two looks into the store that people answer into."""


class AnnotatorSettings(Settings):
    """One simulated annotator."""

    name: str
    """Shown in the report; stored as simulated:NAME."""
    noise: float = Field(default=0.5, ge=0.0)
    """Scale of the noise on the true utility; 0 is a perfect reader."""
    noise_on: dict[str, float] = Field(default_factory=dict[str, float])
    """Criterion -> noise on it, where it is another."""
    tie_width: float = Field(default=0.25, ge=0.0)
    """Answers closer than this share a rank."""
    tie_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of neighbours in the order that are tied besides, the closest first."""
    fail_below: float = -2.0
    """Answers perceived below this get F."""
    fail_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the answers that get F besides, the worst first."""
    position_bias: float = 0.0
    """Utility that the first answer shown gains over the last."""
    length_bias: float = 0.0
    """Utility that an answer gains for each doubling of its length."""
    laziness: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the questions answered at random."""
    spam: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the questions answered in the order shown."""
    contrariness: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the questions answered the other way round; 1 is an adversary."""
    drift: float = Field(default=0.0, ge=0.0)
    """How much larger the noise is at the end of the work: by this factor plus one."""


class CollectSettings(Settings):
    """Collecting feedback."""

    data: str = Input("data", description="Completions, K per prompt, as the sample stage writes them; or prompts")
    store: str | None = Input("store", None, "Feedback store: a SQLite file or postgresql:// address")
    instructions: str | None = Input("data", None, "Markdown shown to annotators; unset = the built-in rules")
    people: bool = False
    """Wait for people instead of simulating: the run stops and says where to label."""
    wait: bool = Field(default=False, json_schema_extra={"identity": False})
    """While people's answers are missing, serve the labelling app and go on once they are in, instead of stopping."""
    with_: Literal["app", "label-studio"] = Field(default="app", alias="with")
    """Where people answer: the labelling app of this package, or a Label Studio server, which then asks people."""
    url: str | None = Field(default=None, json_schema_extra={"identity": False})
    """Address of the Label Studio server; its token is read from the environment variable LABEL_STUDIO_TOKEN."""
    label_studio_name: str = Field(default="assent", min_length=1, max_length=25, json_schema_extra={"identity": False})
    """Begins the titles of the projects that are made in Label Studio."""
    answers: int | None = Field(default=None, gt=0)
    """Answers to wait for from people; unset = one for each question."""
    port: int = Field(default=8321, gt=0, lt=65536, json_schema_extra={"identity": False})
    """Port of the labelling app that the run names."""
    task: Task = "ranking"
    """What is asked: to rank all answers, prefer one of two, pick the best, rate, label, rewrite one, or write one."""
    truth: str | None = Input(
        "code",
        None,
        "Function of prompt and text that simulated annotators perceive with noise, as module:function or "
        "path.py:function",
    )
    writer: str | None = Input(
        "code",
        None,
        "Function of prompt and text that writes what simulated annotators answer to task: rewrite, as module:function "
        "or path.py:function",
    )
    criteria: dict[str, str | None] = Input(
        "code",
        {},
        "Criteria to judge by, each in a question of its own (but all in one where answers are rated): criterion -> "
        "the function that simulated annotators perceive, or null for truth; unset = overall, by truth",
    )
    without: list[str] = Field(default_factory=list[str])
    """People whose answers are left out; the run waits for so many fewer.  `assent lineage --forget-annotator` says
    what that rebuilds."""
    annotators: tuple[AnnotatorSettings, ...] = ()
    """Simulated annotators; each question goes to annotators_per_question of them in turn."""
    annotators_per_question: int = Field(default=1, gt=0)
    """Simulated annotators who rank each question."""


def run(settings: CollectSettings, context: Context) -> Metrics:
    _check(settings)
    instructions = Path(settings.instructions).read_text(encoding="utf-8") if settings.instructions else ""
    questions = _questions(instructions, settings)
    address = settings.store or str(context.run_dir / "feedback.db")
    with FeedbackStore.open(address) as store:
        store.add_questions(questions)
        if settings.with_ == "label-studio":
            _wait_for_label_studio(store, questions, settings, context)
        elif settings.people:
            _wait_for_people(store, questions, settings, address, context)
        else:
            _simulate(store, questions, settings, context)
        upto = store.last_event()
        every = answers_of(store, questions, "people" if _asks_people(settings) else "simulated", upto)
    answers = [answer for answer in every if answer.annotator not in settings.without]
    covered = {"questions": len(questions), "answered": len({content(answer.question) for answer in answers})}
    written = write_answers(answers, context.out)
    return {**written, **covered, "store_event": upto, "simulated": int(not _asks_people(settings))}


def _questions(instructions: str, settings: CollectSettings) -> list[Question]:
    if settings.task == "demonstration":
        asked = {prompt.id: prompt for prompt in reversed(read_prompts(settings.data))}
        return [demonstration_question(prompt, instructions) for prompt in reversed(asked.values())]
    pairs = read_completions(settings.data)
    prompts, completions = {prompt.id: prompt for prompt, _ in pairs}.values(), [completion for _, completion in pairs]
    if settings.task == "rating":
        criteria = tuple(Criterion(name) for name in settings.criteria)
        return questions_from_completions(prompts, completions, instructions, task="rating", criteria=criteria)
    return [
        question
        for criterion in _truths(settings)
        for question in questions_from_completions(prompts, completions, instructions, criterion, settings.task)
    ]


def _check(settings: CollectSettings) -> None:
    """Told before the store is made."""
    if settings.with_ == "label-studio" and settings.url is None:
        raise RecipeError("collect: with: label-studio needs the server's address, url: http://HOST:PORT")
    if settings.with_ == "app" and settings.url is not None:
        raise RecipeError("collect: url is the address of a Label Studio server; add with: label-studio")
    if settings.task == "demonstration" and settings.criteria:
        raise RecipeError("collect: criteria are for answers that are judged; a demonstration is written")
    if _asks_people(settings):
        return
    if settings.task == "demonstration":
        raise RecipeError("collect: simulated annotators write no demonstrations; set people: true")
    truths = _truths(settings)
    if not settings.annotators or None in truths.values():
        need = "writer" if settings.task == "rewrite" else "truth"
        raise RecipeError(f"collect: simulated annotators need `annotators` and `{need}`; or set people: true")
    strange = sorted({name for a in settings.annotators for name in a.noise_on} - set(truths))
    if strange:
        raise RecipeError(f"collect: noise_on names '{strange[0]}', which is not asked{nearest(strange[0], truths)}")
    if settings.annotators_per_question > len(settings.annotators):
        raise RecipeError(
            f"collect: annotators_per_question {settings.annotators_per_question} is more than the "
            f"{len(settings.annotators)} annotators there are"
        )
    for truth in truths.values():
        load_function(str(truth))


def _truths(settings: CollectSettings) -> dict[str, str | None]:
    """Criterion to the function that simulated annotators perceive, or rewrite by."""
    rated = settings.task == "rating"
    unset = dict.fromkeys([criterion.name for criterion in HELPFUL_HARMLESS_HONEST] if rated else ["overall"])
    function = settings.writer if settings.task == "rewrite" else settings.truth
    return {name: own or function for name, own in (settings.criteria or unset).items()}


def _asked(settings: CollectSettings) -> str:
    return "rankings" if settings.task == "ranking" else "answers"


def _asks_people(settings: CollectSettings) -> bool:
    return settings.people or settings.with_ == "label-studio"


def _wait_for_label_studio(
    store: FeedbackStore, questions: Sequence[Question], settings: CollectSettings, context: Context
) -> None:
    """Pull what was answered there; where that is not enough, make sure that all is asked there, and wait."""
    wanted = settings.answers or len(questions)
    if len(answers_of(store, questions, "people")) >= wanted:
        return
    with LabelStudio.from_environment(str(settings.url)) as server:
        for line in pull(store, server, settings.label_studio_name).lines():
            context.say(line)
        given = len(answers_of(store, questions, "people"))
        if given >= wanted:
            return
        for line in push(store, server, questions, settings.label_studio_name).lines():
            context.say(line)
    raise Waiting(
        f"{given} of {wanted} {_asked(settings)} are in.  Answer in Label Studio,\n"
        f"    {server.url}/projects (titles begin with '{settings.label_studio_name}')\n"
        "and then run the same command again"
    )


def _wait_for_people(
    store: FeedbackStore, questions: Sequence[Question], settings: CollectSettings, address: str, context: Context
) -> None:
    wanted = settings.answers or len(questions)
    given = len(answers_of(store, questions, "people"))
    if given >= wanted:
        return
    _ask_first(store, questions)
    if settings.wait:
        _serve_until(store, questions, settings, address, context)
        return
    raise Waiting(
        f"{given} of {wanted} {_asked(settings)} are in.  Start the labelling app with\n"
        f"    assent label serve {address} --port {settings.port}\n"
        f"answer at http://127.0.0.1:{settings.port}/ and then run the same command again"
        f"{_can_show(settings, wanted)}"
    )


def _ask_first(store: FeedbackStore, questions: Sequence[Question]) -> None:
    """Before what another stage of the run, such as an earlier round, left unanswered."""
    mine = {question.id for question in questions}
    asked = store.questions()
    others = [question.priority for question in asked if question.id not in mine]
    own = {question.id: question.priority for question in asked if question.id in mine}
    if others and own and min(own.values()) <= max(others):
        rise = max(others) + 1.0 - min(own.values())
        store.work.set_priorities({name: priority + rise for name, priority in own.items()})


def _serve_until(
    store: FeedbackStore, questions: Sequence[Question], settings: CollectSettings, address: str, context: Context
) -> None:
    """Serve the labelling app until the answers are in."""
    wanted = settings.answers or len(questions)
    given = len(answers_of(store, questions, "people"))
    with labelling_app(address, settings.port, context.say) as still_there:
        context.say(
            f"waiting for {wanted - given} more {_asked(settings)}: answer at http://127.0.0.1:{settings.port}/"
        )
        context.progress.start("waiting for people", wanted, given)
        event = store.last_event()
        while given < wanted:
            still_there()
            time.sleep(LOOK)
            if (now := store.last_event()) != event:
                event, before = now, given
                given = len(answers_of(store, questions, "people"))
                context.progress.advance(max(0, given - before))
        context.progress.stop()


def _can_show(settings: CollectSettings, wanted: int) -> str:
    """Of two answers to each prompt: what so many verdicts can tell, before anyone gives them."""
    if settings.task != "pairwise":
        return ""
    least = 0.5 + detectable_difference(wanted)
    return (
        f".\n{wanted} answers to as many prompts would tell a win rate of {least:.0%} from one half, four times in five"
    )


def _simulate(store: FeedbackStore, questions: Sequence[Question], settings: CollectSettings, context: Context) -> None:
    functions: dict[str, Any] = {name: load_function(str(function)) for name, function in _truths(settings).items()}
    truths, writers = ({}, functions) if settings.task == "rewrite" else (functions, {})
    people = [SimulatedAnnotator(**{**a.model_dump(), "name": f"{SIMULATED}{a.name}"}) for a in settings.annotators]
    context.say(f"annotators are simulated: {', '.join(a.name for a in people)}")
    before = answers_of(store, questions, "simulated")
    number = {content(question): question.id for question in questions}
    given = {(number[content(answer.question)], answer.annotator) for answer in before}
    each = settings.annotators_per_question
    made = simulated_answers(questions, people, truths, each, context.seed, given, writers)
    # A program's answer has no time of day: the same run gives the same file.
    store.add_answers([replace(answer, created=0.0) for answer in made])


STAGE = Stage(kind="collect", summary="Have completions ranked, or judged otherwise", Settings=CollectSettings, run=run)
