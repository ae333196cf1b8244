"""Stage ``collect``: people, or simulated annotators, judge completions in the feedback store, or write some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from assent.data.readers import read_completions, read_prompts
from assent.errors import RecipeError, nearest
from assent.feedback.answers import StoredAnswer, Who
from assent.feedback.questions import (
    HELPFUL_HARMLESS_HONEST,
    Criterion,
    Question,
    demonstration_question,
    questions_from_completions,
)
from assent.feedback.routing import ASKED
from assent.feedback.simulated_answers import simulated_answers
from assent.feedback.store import FeedbackStore
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.answers import answers_of, content, write_answers
from assent.pipeline.stages.asking import Asked, AskingSettings, wait_for_people
from assent.pipeline.stages.mixture import Mixture, MixtureSettings, ask_after_judge
from assent.pipeline.stages.simulated import AnnotatorSettings
from assent.rewards.rule import load_function


class CollectSettings(AskingSettings, MixtureSettings):
    """Collecting feedback."""

    data: str = Input("data", description="Completions, K per prompt, as the sample stage writes them; or prompts")
    store: str | None = Input("store", None, "Feedback store: a SQLite file or postgresql:// address")
    instructions: str | None = Input("data", None, "Markdown shown to annotators; unset = the built-in rules")
    answers: int | None = Field(default=None, gt=0)
    """Answers to wait for from people; unset = one for each question.  With judged the most that anybody is asked for;
    unset = all that the judge leaves to people."""
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
    """Simulated annotators who rank each question; with judged also people."""


_OF_JUDGED = set(MixtureSettings.model_fields) - {"judged"}


def run(settings: CollectSettings, context: Context) -> Metrics:
    _check(settings)
    instructions = Path(settings.instructions).read_text(encoding="utf-8") if settings.instructions else ""
    questions = _questions(instructions, settings)
    address = settings.store or str(context.run_dir / "feedback.db")
    who: Who = "people" if _asks_people(settings) else "simulated"
    with FeedbackStore.open(address) as store:
        mixture = None
        if settings.judged is None:
            store.add_questions(questions)
            _ask_all(store, questions, settings, address, context)
        else:
            mixture = _ask_some(store, questions, settings, address, context)
            questions = [route.question for route in mixture.routes if route.why in ASKED]
        upto = store.last_event()
        every = answers_of(store, questions, who, upto)
    answers = [answer for answer in every if answer.annotator not in settings.without]
    written = write_answers(answers, context.out, mixture.verdicts if mixture else ())
    covered = {"questions": len(questions), "answered": len({content(answer.question) for answer in answers})}
    if mixture is not None:
        mixture.write(context.out / "routes.jsonl")
        covered = {"questions": len(mixture.routes), "answered": mixture.answered, **mixture.figures()}
    return {**written, **covered, "store_event": upto, "simulated": int(not _asks_people(settings))}


def _ask_all(
    store: FeedbackStore, questions: Sequence[Question], settings: CollectSettings, address: str, context: Context
) -> None:
    if _asks_people(settings):
        wanted = settings.answers or len(questions)
        asked = Asked(store, questions, wanted, lambda: len(answers_of(store, questions, "people")))
        wait_for_people(asked, settings, address, context)
    else:
        each = dict.fromkeys((question.id for question in questions), settings.annotators_per_question)
        _simulate(store, questions, each, settings, context)


def _ask_some(
    store: FeedbackStore, questions: Sequence[Question], settings: CollectSettings, address: str, context: Context
) -> Mixture:
    """Ask what the judge leaves to people."""

    def answers(some: Sequence[Question]) -> list[StoredAnswer]:
        given = answers_of(store, some, "people" if _asks_people(settings) else "simulated")
        return [answer for answer in given if answer.annotator not in settings.without]

    def ask(some: Sequence[Question], needs: Mapping[str, int]) -> None:
        if not some:
            return
        if not _asks_people(settings):
            _simulate(store, some, needs, settings, context)
            return
        need = {content(question): needs[question.id] for question in some}

        def given() -> int:
            found = Counter(content(answer.question) for answer in answers_of(store, some, "people"))
            return sum(min(count, need[asked]) for asked, count in found.items())

        wait_for_people(Asked(store, some, sum(needs.values()), given), settings, address, context)

    each, budget = settings.annotators_per_question, settings.answers
    return ask_after_judge(
        store,
        questions,
        settings,
        seed=context.seed,
        each=each,
        budget=budget,
        without=settings.without,
        ask=ask,
        answers=answers,
    )


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
    _check_judged(settings)
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


def _check_judged(settings: CollectSettings) -> None:
    each, second = settings.annotators_per_question, settings.second_opinion
    if settings.judged is None:
        # not what was given: a manifest gives every setting, with its default where the recipe was silent
        if mixed := sorted(name for name in _OF_JUDGED if getattr(settings, name) != _default(name)):
            raise RecipeError(f"collect: {mixed[0]} is of what a judge answered first; give its rankings as judged")
        return
    if settings.task not in ("ranking", "pairwise", "best"):
        raise RecipeError(
            f"collect: judged are rankings, which stand beside people's, and the task is {settings.task}; set task: "
            "ranking, pairwise or best, or leave judged out"
        )
    if settings.with_ == "label-studio" and second:
        raise RecipeError(
            "collect: Label Studio cannot be told to ask another person of one question; set second_opinion: false"
        )
    if not _asks_people(settings) and second and each == len(settings.annotators):
        raise RecipeError(
            f"collect: second_opinion asks another annotator than the {each} of a question, and there is none; name "
            "one more, or set second_opinion: false"
        )
    if settings.answers is not None and settings.answers < each:
        raise RecipeError(
            f"collect: answers {settings.answers} is less than annotators_per_question {each}, so that no question can "
            "be asked; raise it"
        )


def _default(name: str) -> Any:
    return MixtureSettings.model_fields[name].get_default(call_default_factory=True)


def _truths(settings: CollectSettings) -> dict[str, str | None]:
    """Criterion to the function that simulated annotators perceive, or rewrite by."""
    rated = settings.task == "rating"
    unset = dict.fromkeys([criterion.name for criterion in HELPFUL_HARMLESS_HONEST] if rated else ["overall"])
    function = settings.writer if settings.task == "rewrite" else settings.truth
    return {name: own or function for name, own in (settings.criteria or unset).items()}


def _asks_people(settings: CollectSettings) -> bool:
    return settings.people or settings.with_ == "label-studio"


def _simulate(
    store: FeedbackStore,
    questions: Sequence[Question],
    each: Mapping[str, int],
    settings: CollectSettings,
    context: Context,
) -> None:
    """``each``: question id to how many annotators answer it."""
    functions: dict[str, Any] = {name: load_function(str(function)) for name, function in _truths(settings).items()}
    truths, writers = ({}, functions) if settings.task == "rewrite" else (functions, {})
    people = [annotator.annotator() for annotator in settings.annotators]
    context.say(f"annotators are simulated: {', '.join(a.name for a in people)}")
    before = answers_of(store, questions, "simulated")
    number = {content(question): question.id for question in questions}
    given = {(number[content(answer.question)], answer.annotator) for answer in before}
    made = simulated_answers(questions, people, truths, each, context.seed, given, writers)
    # A program's answer has no time of day: the same run gives the same file.
    store.add_answers([replace(answer, created=0.0) for answer in made])


STAGE = Stage(kind="collect", summary="Have completions ranked, or judged otherwise", Settings=CollectSettings, run=run)
