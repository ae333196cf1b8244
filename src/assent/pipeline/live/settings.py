"""Settings of the stage ``live``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from assent.config import Input
from assent.feedback.questions import DEFAULT_PROJECT
from assent.pipeline.stages.select import Method
from assent.rollout.settings import SamplingOptions
from assent.training.online import OnlineSettings


class LiveSettings(OnlineSettings, SamplingOptions):
    """Learning while people answer.  The sampling settings are those of questions and of refreshes alike."""

    model: str = Input("model", description="Policy to begin with: model folder or hub name")
    reward: str = Input("model", description="Reward model to begin with, of one head")
    data: str = Input("data", description="Prompts: column prompt, messages or text")
    store: str | None = Input("store", None, "Feedback store: a SQLite file or postgresql:// address")
    replay: list[str] = Input(
        "data", [], "Rankings or comparisons that the reward model has learned: mixed in, and not learned anew"
    )
    instructions: str | None = Input("data", None, "Markdown shown to annotators; unset = the built-in rules")
    answers: int | None = Field(default=None, gt=0, json_schema_extra={"identity": False})
    """Answers to learn, then it ends; unset = until it is stopped.  May be set or changed when it goes on."""
    without: list[str] = Field(default_factory=list[str])
    """People whose answers are not learned."""
    project: str = DEFAULT_PROJECT
    """Project of the store whose answers are learned, and that the questions go to."""
    criterion: str = "overall"
    """What people are asked to judge by; answers by another criterion are not learned."""
    port: int = Field(default=8321, gt=0, lt=65536, json_schema_extra={"identity": False})
    """Port of the labelling app."""

    ask: Literal["pairs", "prompts"] = "pairs"
    """A question is two of a prompt's completions, the pair worth most; or all of them, to be ranked."""
    questions: int = Field(default=20, gt=0)
    """Questions about the newest policy's completions that are put into the queue at a time, whenever fewer than half
    as many wait there."""
    prompts_per_question: int = Field(default=2, gt=0)
    """Prompts sampled for each question; the questions worth most are asked."""
    n: int = Field(default=4, ge=2)
    """Completions of each of these prompts."""
    method: Method = "information_gain"
    """What makes a question worth asking, as in the stage select."""
    overlap: int = Field(default=1, gt=0)
    """People who answer each question."""

    refresh_answers: int = Field(default=50, gt=0)
    """Answers learned between two refreshes of the policy, at most."""
    refresh_minutes: float = Field(default=5.0, gt=0.0)
    """Minutes between two refreshes, at most, as long as answers come in."""
    algorithm: Literal["rloo", "ppo", "grpo", "reinforce", "online-dpo", "ppo-sequence", "kl-control"] = "rloo"
    """What a refresh trains the policy by."""
    refresh_steps: int = Field(default=5, gt=0)
    """Steps of a refresh."""
    held_to: Literal["first", "previous"] = "first"
    """The reference of every refresh, which the KL is measured from: the policy to begin with, or the one before it."""
    policy: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Further settings of the refresh, those of the algorithm's stage: learning_rate, batch_size and so on."""

    centre_rows: int = Field(default=2000, ge=0)
    """Rows whose mean score is stored as the offset of each reward model that is published; 0 = the offset it had."""
