"""Asking people: where they answer, and waiting for their answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from assent.config import Settings
from assent.evaluation.win_rates import detectable_difference
from assent.feedback.interchange.label_studio_api import LabelStudio
from assent.feedback.interchange.label_studio_sync import pull, push
from assent.feedback.questions import Question, Task
from assent.feedback.store import FeedbackStore
from assent.pipeline.serving import labelling_app
from assent.pipeline.stage import Context, Waiting

LOOK = 1.0
"""Seconds between two looks into the store that people answer into."""


class AskingSettings(Settings):
    """Where people are asked, and what."""

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
    port: int = Field(default=8321, gt=0, lt=65536, json_schema_extra={"identity": False})
    """Port of the labelling app that the run names."""
    task: Task = "ranking"
    """What is asked: to rank all answers, prefer one of two, pick the best, rate, label, rewrite one, or write one."""


@dataclass(frozen=True)
class Asked:
    """Questions that people are to answer."""

    store: FeedbackStore
    questions: Sequence[Question]
    wanted: int
    """Answers to wait for."""
    given: Callable[[], int]
    """How many there are."""


def wait_for_people(asked: Asked, settings: AskingSettings, address: str, context: Context) -> None:
    """Return once the answers are in; until then wait where the settings say so, or raise :class:`Waiting`.

    ``address`` is the store's, as a user gives it.
    """
    given = asked.given()
    if given >= asked.wanted:
        return
    if settings.with_ == "label-studio":
        _wait_for_label_studio(asked, settings, context)
        return
    _ask_first(asked.store, asked.questions)
    if settings.wait:
        _serve_until(asked, settings, address, context)
        return
    raise Waiting(
        f"{given} of {asked.wanted} {_noun(settings)} are in.  Start the labelling app with\n"
        f"    assent label serve {address} --port {settings.port}\n"
        f"answer at http://127.0.0.1:{settings.port}/ and then run the same command again"
        f"{_can_show(settings, asked.wanted)}"
    )


def _noun(settings: AskingSettings) -> str:
    return "rankings" if settings.task == "ranking" else "answers"


def _wait_for_label_studio(asked: Asked, settings: AskingSettings, context: Context) -> None:
    """Pull what was answered there; where that is not enough, make sure that all is asked there, and wait."""
    with LabelStudio.from_environment(str(settings.url)) as server:
        for line in pull(asked.store, server, settings.label_studio_name).lines():
            context.say(line)
        given = asked.given()
        if given >= asked.wanted:
            return
        for line in push(asked.store, server, asked.questions, settings.label_studio_name).lines():
            context.say(line)
    raise Waiting(
        f"{given} of {asked.wanted} {_noun(settings)} are in.  Answer in Label Studio,\n"
        f"    {server.url}/projects (titles begin with '{settings.label_studio_name}')\n"
        "and then run the same command again"
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


def _serve_until(asked: Asked, settings: AskingSettings, address: str, context: Context) -> None:
    """Serve the labelling app until the answers are in."""
    given = asked.given()
    with labelling_app(address, settings.port, context.say) as still_there:
        context.say(
            f"waiting for {asked.wanted - given} more {_noun(settings)}: answer at http://127.0.0.1:{settings.port}/"
        )
        context.progress.start("waiting for people", asked.wanted, given)
        event = asked.store.last_event()
        while given < asked.wanted:
            still_there()
            time.sleep(LOOK)
            if (now := asked.store.last_event()) != event:
                event, before = now, given
                given = asked.given()
                context.progress.advance(max(0, given - before))
        context.progress.stop()


def _can_show(settings: AskingSettings, wanted: int) -> str:
    """Of two answers to each prompt: what so many verdicts can tell, before anyone gives them."""
    if settings.task != "pairwise":
        return ""
    least = 0.5 + detectable_difference(wanted)
    return (
        f".\n{wanted} answers to as many prompts would tell a win rate of {least:.0%} from one half, four times in five"
    )
