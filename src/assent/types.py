"""The records that flow through assent: frozen, plain Python, no tensors.

Each record is one row of a JSON Lines file (:func:`to_json` and :func:`from_json`).  Ids are strings that stay the same
for the life of a project; times are seconds since the epoch, UTC.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar

FinishReason = Literal["stop", "length"]
RankingKind = Literal["ranking", "pairwise", "best"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the policy is asked to continue: a text, or the messages of a conversation.

    Exactly one of ``text`` and ``messages`` is set; the other is ``None``.
    """

    id: str
    text: str | None = None
    messages: tuple[Message, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if (self.text is None) == (self.messages is None):
            raise ValueError(f"prompt {self.id}: give either text or messages, not both and not neither")

    def shown(self) -> str:
        """The prompt as a person reads it."""
        if self.text is not None:
            return self.text
        return "\n\n".join(f"{m.role}: {m.content}" for m in self.messages or ())


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How completions are drawn.

    Temperature 0 is greedy; ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 truncate nothing.
    """

    max_new_tokens: int = 64
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Texts that end a completion as soon as one of them stands in it."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Token ids, and what is added to their logits before the temperature divides them."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer.

    ``token_ids`` are what the policy sampled, the end-of-sequence token included when it ended by itself
    (``finish_reason`` "stop").  A completion that ended by a stop text has the same reason: its ``text`` ends before
    the stop text, its ``token_ids`` are all that were sampled, the tokens that spell it included.  ``logprobs`` are
    under temperature alone, the ones that importance ratios use; ``sampling_logprobs`` under the distribution that was
    really drawn from, after bias and truncation.
    """

    id: str
    prompt_id: str
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    sampling_logprobs: tuple[float, ...] = ()
    finish_reason: FinishReason = "stop"
    policy: str = ""
    """The policy's version: a digest or ``name@step``."""
    sample_index: int = 0
    prompt_token_ids: tuple[int, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A person's own answer to a prompt, or their rewrite of a completion (``rewrite_of`` then names it)."""

    prompt: Prompt
    response: str
    author: str = ""
    rewrite_of: str | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """One annotator's order over the completions of one prompt.

    ``ranks[i]`` belongs to ``completion_ids[i]``, in the order shown; 1 is best, ties share a rank, ``None`` is F: the
    answer failed and stands below all that did not.
    """

    id: str
    prompt: Prompt
    completion_ids: tuple[str, ...]
    texts: tuple[str, ...]
    ranks: tuple[int | None, ...]
    annotator: str
    criterion: str = "overall"
    seconds: float | None = None
    """Time from question shown to answer given; ``None`` where the source did not record it."""
    created: float = 0.0
    note: str = ""
    kind: RankingKind = "ranking"
    """What was asked: an order of all, one of two, or the best alone.  In a "best" the answers of rank 2 were not
    compared with one another."""
    strength: float | None = None
    """Of a "pairwise": 0 no difference, 1 slight, 2 clear, 3 strong; ``None`` where it was not asked."""

    def __post_init__(self) -> None:
        if not len(self.completion_ids) == len(self.texts) == len(self.ranks):
            raise ValueError(f"ranking {self.id}: completion_ids, texts and ranks differ in length")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Chosen against rejected, one of the pairs of a ranking or a pair given as such.

    In a ``tie`` the two have equal standing and the order says nothing.  ``group`` names the ranking (the K answers)
    that the pair belongs to; the pairs of a group weigh ``1 / C(K, 2)`` each, which ``weight`` already contains.
    """

    id: str
    prompt: Prompt
    chosen: str
    rejected: str
    tie: bool = False
    margin: float = 0.0
    weight: float = 1.0
    confidence: float = 1.0
    """Probability that the order is the right one, from what is known of the annotator; above 0, 1 = sure."""
    criterion: str = "overall"
    annotator: str = ""
    ranking: str | None = None
    """``None`` for a pair that did not come from a ranking, or came from several."""
    group: str = ""
    sources: tuple[str, ...] = ()
    """The rankings that were put together in it, where they are several."""

    def __post_init__(self) -> None:
        if not 0.0 < self.confidence <= 1.0:
            raise ValueError(
                f"confidence {self.confidence:g} is no probability that the order is right; expected a number above 0 "
                "and up to 1 (1 = sure)"
            )


@dataclass(frozen=True, slots=True)
class Judgement:
    """A label of one completion: thumbs (0 or 1), a score, a class index."""

    id: str
    prompt: Prompt
    response: str
    label: float
    criterion: str = "overall"
    annotator: str = ""
    created: float = 0.0
    completion_id: str = ""
    """Empty where the source names none."""
    sources: tuple[str, ...] = ()
    """The judgements that were put together in it, where they are several annotators'."""


R = TypeVar("R")


def to_json(record: Any) -> dict[str, Any]:
    """A record as plain JSON types, without the fields that are at their default."""
    out: dict[str, Any] = {}
    for item in dataclasses.fields(record):
        value = getattr(record, item.name)
        if item.default is not dataclasses.MISSING and value == item.default:
            continue
        out[item.name] = _plain(value)
    return out


def from_json(cls: type[R], row: Mapping[str, Any]) -> R:
    """The record that :func:`to_json` wrote.  Unknown or missing fields raise ``ValueError`` naming them."""
    hints = _hints(cls)
    unknown = set(row) - set(hints)
    if unknown:
        raise ValueError(f"unknown field '{sorted(unknown)[0]}' in a {cls.__name__}")
    try:
        return cls(**{name: _build(hints[name], value) for name, value in row.items()})
    except TypeError as error:
        raise ValueError(f"not a {cls.__name__}: {error}") from None


def short_id(*parts: Any) -> str:
    """A stable 12-digit id of the parts: the same content has the same id on every machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _build(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(hint, types.UnionType):
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast("type[Any]", hint), value)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return tuple(_build(item, part) for part in value)
    return value
