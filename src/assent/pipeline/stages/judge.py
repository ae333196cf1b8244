"""Stage ``judge``: a language model, or a program in its place, judges completions as an annotator of the store."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from assent.data.readers import read_completions, read_rankings
from assent.errors import DataError
from assent.feedback.agreement import Meetings, cohen_kappa, meetings, pairwise_agreement
from assent.feedback.answers import JUDGE, Answer, StoredAnswer, check_annotator
from assent.feedback.judgements import rankings_from_judgements
from assent.feedback.questions import Criterion, Question, Task, questions_from_completions
from assent.feedback.ratings import pair_outcomes
from assent.feedback.responses import Preference, Ranks, Ratings, Response
from assent.feedback.routing import note_of
from assent.feedback.store import FeedbackStore
from assent.feedback.votes import votes_from_rankings
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.answers import answers_of, write_answers
from assent.pipeline.stages.simulated import AnnotatorSettings
from assent.rewards.judge import Judge, Judged, JudgeSettings
from assent.rewards.rule import load_function
from assent.rewards.simulated_judge import SimulatedJudge
from assent.runs.folder import atomic_write_json
from assent.types import Completion, Ranking

_BATCH = 64
"""Questions judged before their answers go into the store."""


class JudgeStageSettings(JudgeSettings):
    """Judging by a language model."""

    url: str = Field(default="", json_schema_extra={"identity": False})
    """Base address of an OpenAI-compatible server, as http://127.0.0.1:8000/v1."""
    served_name: str = ""
    """The model's name on the server."""
    simulated: AnnotatorSettings | None = None
    """A program in place of a server, with a judge's failings; stored as judge:simulated:NAME."""
    truth: str | None = Input(
        "code",
        None,
        "Function of prompt and text that a simulated judge perceives with noise, as module:function or "
        "path.py:function",
    )
    data: str = Input("data", description="Completions, K per prompt, as the sample stage writes them")
    store: str | None = Input("store", None, "Feedback store for the answers; unset = that of the run")
    annotator: str | None = None
    """The judge's name in the store, where it begins with judge: ; unset = its name on the server."""
    criterion: str = "overall"
    """What the answers are called that it judges by."""
    project: str = "judge"
    """Project of the store that the judge's questions go to: people who work there are asked them too."""
    people: str | None = Input(
        "data", None, "Rankings by people of the same completions to report agreement with, besides those in the store"
    )
    max_unanswered: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of questions without a readable verdict over which the run stops."""

    @model_validator(mode="after")
    def _one_judge(self) -> Self:
        if self.simulated is None and self.truth is None:
            if not self.url or not self.served_name:
                raise ValueError("a judge is url and served_name of a server, or simulated and truth of a program")
        elif self.url or self.served_name or self.annotator:
            raise ValueError("a simulated judge has its name in simulated; leave url, served_name and annotator out")
        elif self.simulated is None or self.truth is None:
            raise ValueError("a simulated judge is simulated: {name: ...} and truth, the function that it perceives")
        return self


def run(settings: JudgeStageSettings, context: Context) -> Metrics:
    """Writes ``rankings.jsonl`` (or ``judgements.jsonl``) and ``agreement.json``."""
    judge, name = _judge(settings)
    questions = _questions(settings, judge)
    tally = _Tally()
    with FeedbackStore.open(settings.store or str(context.run_dir / "feedback.db")) as store:
        known = store.find_questions([question.id for question in questions])  # of whatever project
        store.add_questions(replace(q, project=settings.project) for q in questions if q.id not in known)
        _answer(judge, name, store, questions, tally, context)
        upto = store.last_event()
        answers = _given(store, questions, name, upto)
        people = [r for answer in answers_of(store, questions, "people", upto) if (r := _ranking(answer))]
    if isinstance(judge, Judge):
        judge.server.close()
    if len(answers) < (1.0 - settings.max_unanswered) * len(questions):
        raise DataError(f"the judge gave no verdict on {len(questions) - len(answers)} of {len(questions)} questions")
    people += read_rankings(settings.people) if settings.people else []
    agreement = judge_agreement([r for answer in answers if (r := _ranking(answer))], people)
    atomic_write_json(context.out / "agreement.json", agreement)
    figures: dict[str, float | int] = {"questions": len(questions), "unanswered": len(questions) - len(answers)}
    if agreement["people"]:
        figures |= {"agreement": agreement["people"]["value"], "agreement_pairs": agreement["pairs"]}
    return {
        **figures,
        **write_answers(answers, context.out),
        **tally.figures(),
        **(judge.server.usage.figures() if isinstance(judge, Judge) else {}),
        "store_event": upto,
    }


def _judge(settings: JudgeStageSettings) -> tuple[Judge | SimulatedJudge, str]:
    """Who judges, and the name in the store."""
    if settings.simulated is not None:
        program = settings.simulated.annotator()
        judge = SimulatedJudge(settings, program, load_function(str(settings.truth)))
        return judge, check_annotator(JUDGE + program.name)
    name = settings.annotator or settings.served_name.rstrip("/").split("/")[-1]
    return Judge(settings), check_annotator(JUDGE + name)


class _Tally:
    """Verdicts that changed with the order of the answers."""

    def __init__(self) -> None:
        self.reversals = self.pairs = 0

    def add(self, judged: Judged) -> None:
        self.reversals += judged.reversals
        self.pairs += judged.pairs

    def figures(self) -> dict[str, float]:
        return {"order_changed_share": self.reversals / self.pairs} if self.pairs else {}


def _questions(settings: JudgeStageSettings, judge: Judge | SimulatedJudge) -> list[Question]:
    """One for each prompt with what the judge can be asked: two answers at least, or one to be graded."""
    rows = read_completions(settings.data)
    prompts = {prompt.id: prompt for prompt, _ in rows}.values()
    least = 1 if settings.method == "pointwise" else 2
    principles = judge.principles if isinstance(judge, Judge) else []
    told = "\n".join(principle.compare for principle in principles) or settings.rubric
    out: list[Question] = []
    counts: dict[str, int] = {}
    for _, completion in rows:
        counts[completion.prompt_id] = counts.get(completion.prompt_id, 0) + 1
    enough = [prompt for prompt in prompts if counts[prompt.id] >= least]
    kept = [c for _, c in rows if counts[c.prompt_id] >= least]
    for task, some in _by_task(settings, kept, counts):
        names = {c.prompt_id for c in some}
        here = [prompt for prompt in enough if prompt.id in names]
        grades = (Criterion(settings.criterion, settings.rubric, settings.low, settings.high),)
        criteria = grades if task == "rating" else ()
        out += questions_from_completions(here, some, told, settings.criterion, task, criteria)
    if not out:
        raise DataError("no prompt has two completions to compare; sample with n 2 or more", settings.data)
    return out


def _by_task(
    settings: JudgeStageSettings, kept: Sequence[Completion], counts: dict[str, int]
) -> Iterator[tuple[Task, list[Completion]]]:
    def task(completion: Completion) -> Task:
        if settings.method == "pointwise":
            return "rating"
        return "pairwise" if counts[completion.prompt_id] == 2 else "ranking"

    for name, some in groupby(sorted(kept, key=task), key=task):
        yield name, list(some)


def _given(
    store: FeedbackStore, questions: Sequence[Question], name: str, upto: int | None = None
) -> list[StoredAnswer]:
    """This judge's standing answers to these very questions, what it was told to judge by included."""
    asked = {question.id for question in questions}
    found = answers_of(store, questions, "judge", upto)
    return [answer for answer in found if answer.annotator == name and answer.question.id in asked]


def _answer(
    judge: Judge | SimulatedJudge,
    name: str,
    store: FeedbackStore,
    questions: Sequence[Question],
    tally: _Tally,
    context: Context,
) -> None:
    before = {answer.question.id for answer in _given(store, questions, name)}
    left = [question for question in questions if question.id not in before]
    context.progress.start("judging", len(left))
    for start in range(0, len(left), _BATCH):
        some = left[start : start + _BATCH]
        answers: list[Answer] = []
        for question, judged in zip(some, judge.all([(q.prompt, q.texts) for q in some]), strict=True):
            tally.add(judged)
            if judged.unscored:
                place, why = next(iter(judged.unscored.items()))
                context.say(f"completion '{question.completion_ids[place]}' is left out with its question: {why}")
                continue
            note = note_of(judged.margin, judged.principle) if judge.settings.method != "pointwise" else ""
            order = tuple(range(len(question.texts)))
            # A program's answer has no time of day: the same run gives the same file.
            answers.append(Answer(question.id, name, _response(question, judged), order, note=note, created=0.0))
        store.add_answers(answers)
        context.progress.advance(len(some))
    context.progress.stop()


def _response(question: Question, judged: Judged) -> Response:
    """The values as an answer to the question's task, in the order of the store."""
    if question.task == "rating":
        return Ratings(tuple({question.criteria[0].name: int(value)} for value in judged.values))
    if question.task == "pairwise":
        gap = judged.values[0] - judged.values[1]
        return Preference(0 if gap == 0 else int(math.copysign(2 if abs(gap) == 1.0 else 1, -gap)))
    better = sorted(set(judged.values), reverse=True)
    return Ranks(tuple(better.index(value) + 1 for value in judged.values))


def _ranking(answer: StoredAnswer) -> Ranking | None:
    """The order that an answer puts completions in, that of its ratings included."""
    made = answer.ranking()
    if made is None and answer.judgements():
        made = next(iter(rankings_from_judgements(answer.judgements())), None)
    return made


def judge_agreement(judged: Sequence[Ranking], people: Sequence[Ranking]) -> dict[str, Any]:
    """How often judge and people say the same of two answers, and people among themselves; 95% over prompts.

    ``people`` and ``people_among_themselves`` are ``null`` where nobody judged the same; ``kappa`` is Cohen's, of the
    judge against all people together.
    """
    table = pair_outcomes(votes_from_rankings([*judged, *people]))
    met = meetings(table)
    program = np.array([name.startswith(JUDGE) for name in table.annotators], dtype=bool)
    first, second = (program[met.one], program[met.other]) if len(program) else (met.same, met.same)
    across, among = first != second, ~first & ~second
    with_people, themselves = met.share(across), met.share(among)
    return {
        "people": asdict(with_people) if with_people else None,
        "pairs": int(across.sum()),
        "kappa": _kappa(met, across, first),
        "people_among_themselves": asdict(themselves) if themselves else None,
        "by_annotator": [
            asdict(two) for two in pairwise_agreement(table) if two.one.startswith(JUDGE) != two.other.startswith(JUDGE)
        ],
    }


def _kappa(met: Meetings, across: np.ndarray, judge_first: np.ndarray) -> float | None:
    if not across.any():
        return None
    judge = np.where(judge_first, met.one_said, met.other_said)[across]
    person = np.where(judge_first, met.other_said, met.one_said)[across]
    return cohen_kappa(judge, person)


STAGE = Stage("judge", "Have a language model judge completions", JudgeStageSettings, run, version=2)
