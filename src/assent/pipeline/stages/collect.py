"""Stage ``collect``: people, or simulated annotators, rank completions in the feedback store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from assent.config import Settings
from assent.data.jsonl import write_jsonl
from assent.data.readers import read_completions
from assent.errors import RecipeError, nearest
from assent.feedback.answers import Answer
from assent.feedback.interchange.label_studio_api import LabelStudio
from assent.feedback.interchange.label_studio_sync import pull, push
from assent.feedback.questions import Question, display_order, questions_from_completions
from assent.feedback.responses import Ranks
from assent.feedback.simulate import PREFIX, Seen, SimulatedAnnotator
from assent.feedback.store import FeedbackStore
from assent.pipeline.stage import Context, Input, Metrics, Stage, Waiting
from assent.rewards.rule import load_function
from assent.types import Ranking


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
    """Collecting rankings."""

    data: str = Input("data", description="Completions to rank, K per prompt, as the sample stage writes them")
    store: str | None = Input("store", None, "Feedback store: a SQLite file or postgresql:// address")
    instructions: str | None = Input("data", None, "Markdown shown to annotators; unset = the built-in rules")
    people: bool = False
    """Wait for people instead of simulating: the run stops and says where to label."""
    with_: Literal["app", "label-studio"] = Field(default="app", alias="with")
    """Where people answer: the labelling app of this package, or a Label Studio server, which then asks people."""
    url: str | None = Field(default=None, json_schema_extra={"identity": False})
    """Address of the Label Studio server; its token is read from the environment variable LABEL_STUDIO_TOKEN."""
    label_studio_name: str = Field(default="assent", min_length=1, max_length=25, json_schema_extra={"identity": False})
    """Begins the titles of the projects that are made in Label Studio."""
    answers: int | None = Field(default=None, gt=0)
    """Rankings to wait for from people; unset = one for each question."""
    port: int = Field(default=8321, gt=0, lt=65536, json_schema_extra={"identity": False})
    """Port of the labelling app that the run names."""
    truth: str | None = None
    """Function of prompt and text that simulated annotators perceive with noise, as module:function."""
    criteria: dict[str, str | None] = Field(default_factory=dict[str, str | None])
    """Criteria to rank on, each in a question of its own: criterion -> the function that simulated annotators perceive,
    or null for truth; unset = overall, by truth."""
    annotators: tuple[AnnotatorSettings, ...] = ()
    """Simulated annotators; each question goes to annotators_per_question of them in turn."""
    annotators_per_question: int = Field(default=1, gt=0)
    """Simulated annotators who rank each question."""


def run(settings: CollectSettings, context: Context) -> Metrics:
    _check(settings)
    pairs = read_completions(settings.data)
    prompts = {prompt.id: prompt for prompt, _ in pairs}
    instructions = Path(settings.instructions).read_text(encoding="utf-8") if settings.instructions else ""
    completions = [completion for _, completion in pairs]
    questions = [
        question
        for criterion in _truths(settings)
        for question in questions_from_completions(prompts.values(), completions, instructions, criterion)
    ]
    address = settings.store or str(context.run_dir / "feedback.db")
    with FeedbackStore.open(address) as store:
        store.add_questions(questions)
        if settings.with_ == "label-studio":
            _wait_for_label_studio(store, questions, settings, context)
        elif settings.people:
            _wait_for_people(store, questions, settings, address)
        else:
            _simulate(store, questions, settings, context)
        upto = store.last_event()
        rankings = _rankings_of(store, questions, simulated=not _asks_people(settings), upto=upto)
    write_jsonl(context.out / "rankings.jsonl", rankings)
    ranks = [rank for ranking in rankings for rank in ranking.ranks]
    return {
        "rankings": len(rankings),
        "annotators": len({ranking.annotator for ranking in rankings}),
        "failed_share": sum(rank is None for rank in ranks) / max(1, len(ranks)),
        "store_event": upto,
        "simulated": int(not _asks_people(settings)),
    }


def _check(settings: CollectSettings) -> None:
    """Told before the store is made."""
    if settings.with_ == "label-studio" and settings.url is None:
        raise RecipeError("collect: with: label-studio needs the server's address, url: http://HOST:PORT")
    if settings.with_ == "app" and settings.url is not None:
        raise RecipeError("collect: url is the address of a Label Studio server; add with: label-studio")
    if _asks_people(settings):
        return
    truths = _truths(settings)
    if not settings.annotators or None in truths.values():
        raise RecipeError("collect: simulated annotators need `annotators` and `truth`; or set people: true")
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
    """Criterion to the function that simulated annotators perceive."""
    return {name: truth or settings.truth for name, truth in (settings.criteria or {"overall": None}).items()}


def _rankings_of(
    store: FeedbackStore, questions: Sequence[Question], simulated: bool, upto: int | None = None
) -> list[Ranking]:
    """The standing answers to these questions, by simulated annotators or by people."""
    asked = {(frozenset(question.completion_ids), question.criterion) for question in questions}
    return [
        ranking
        for ranking in store.rankings(upto)
        if (frozenset(ranking.completion_ids), ranking.criterion) in asked
        and ranking.annotator.startswith(PREFIX) == simulated
    ]


def _asks_people(settings: CollectSettings) -> bool:
    return settings.people or settings.with_ == "label-studio"


def _wait_for_label_studio(
    store: FeedbackStore, questions: Sequence[Question], settings: CollectSettings, context: Context
) -> None:
    """Pull what was answered there; where that is not enough, make sure that all is asked there, and wait."""
    wanted = settings.answers or len(questions)
    if len(_rankings_of(store, questions, simulated=False)) >= wanted:
        return
    with LabelStudio.from_environment(str(settings.url)) as server:
        for line in pull(store, server, settings.label_studio_name).lines():
            context.say(line)
        given = len(_rankings_of(store, questions, simulated=False))
        if given >= wanted:
            return
        for line in push(store, server, questions, settings.label_studio_name).lines():
            context.say(line)
    raise Waiting(
        f"{given} of {wanted} rankings are in.  Rank in Label Studio,\n"
        f"    {server.url}/projects (titles begin with '{settings.label_studio_name}')\n"
        "and then run the same command again"
    )


def _wait_for_people(
    store: FeedbackStore, questions: Sequence[Question], settings: CollectSettings, address: str
) -> None:
    wanted = settings.answers or len(questions)
    given = len(_rankings_of(store, questions, simulated=False))
    if given < wanted:
        raise Waiting(
            f"{given} of {wanted} rankings are in.  Start the labelling app with\n"
            f"    assent label serve {address} --port {settings.port}\n"
            f"rank at http://127.0.0.1:{settings.port}/ and then run the same command again"
        )


def _simulate(store: FeedbackStore, questions: Sequence[Question], settings: CollectSettings, context: Context) -> None:
    truths = {criterion: load_function(str(truth)) for criterion, truth in _truths(settings).items()}
    people = [SimulatedAnnotator(**{**a.model_dump(), "name": f"{PREFIX}{a.name}"}) for a in settings.annotators]
    context.say(f"annotators are simulated: {', '.join(a.name for a in people)}")
    before = _rankings_of(store, questions, simulated=True)
    given = {(frozenset(r.completion_ids), r.criterion, r.annotator) for r in before}
    answers: list[Answer] = []
    for index, question in enumerate(questions):
        utilities = [truths[question.criterion](question.prompt, text) for text in question.texts]
        for turn in range(settings.annotators_per_question):
            annotator = people[(index + turn) % len(people)]
            if (frozenset(question.completion_ids), question.criterion, annotator.name) in given:
                continue
            order = display_order(question, annotator.name)
            lengths = tuple(len(question.texts[i]) for i in order)
            seen = Seen(lengths, question.criterion, index / len(questions))
            ranks = annotator.rank(question.id, [utilities[i] for i in order], context.seed, seen)
            answers.append(Answer(question.id, annotator.name, Ranks(ranks), order=order))
    store.add_answers(answers)


STAGE = Stage(kind="collect", summary="Collect rankings of completions", Settings=CollectSettings, run=run)
