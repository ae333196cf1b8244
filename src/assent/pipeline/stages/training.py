"""What the training stages share: reading examples, saving the model, publishing it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from assent.algorithms.base import Algorithm
from assent.config import Settings
from assent.data.readers import (
    OnEmpty,
    describe,
    read_comparisons,
    read_demonstrations,
    read_judgements,
    read_rows,
    read_texts,
)
from assent.errors import DataError, ModelError
from assent.models.policy import Policy
from assent.models.save import save_model
from assent.models.scalar import RewardModel
from assent.pipeline.stage import Context
from assent.training.distributed import is_main
from assent.training.examples import (
    Overlong,
    comparison_examples,
    demonstration_examples,
    judgement_examples,
    labelled,
    text_examples,
)
from assent.training.roles import Roles
from assent.training.sources import Example
from assent.training.supervised import Task, split_examples, train


class PublishSettings(Settings):
    """Where the trained model goes besides its folder."""

    push_to_hub: str | None = Field(default=None, json_schema_extra={"identity": False})
    """Name of a repository on the hub to upload the model to, such as you/model; needs HF_TOKEN."""


_READERS = {
    "demonstrations": (read_demonstrations, demonstration_examples),
    "comparisons": (read_comparisons, comparison_examples),
    "judgements": (read_judgements, judgement_examples),
    "texts": (read_texts, text_examples),
}
_COLUMNS = {
    "demonstrations": "prompt and completion, or messages",
    "comparisons": "prompt, chosen and rejected",
    "judgements": "text and label, or prompt, completion and label",
    "texts": "text",
}


Options = Mapping[str, Mapping[str, Any]]
"""Kind of examples -> what else its encoder is told, such as the heads of a reward model."""


def read_examples(
    tokenizer: Any,
    source: str,
    kinds: tuple[str, ...],
    max_length: int,
    overlong: Overlong,
    context: Context,
    empty: OnEmpty = "error",
    options: Options | None = None,
) -> tuple[str, list[Example]]:
    """The examples of a data file, and which of the ``kinds`` it holds; the first that fits is taken."""
    found = describe(source)
    kind = next((kind for kind in kinds if kind in found), None)
    if kind is None:
        wanted = "; or ".join(f"{kind} ({_COLUMNS[kind]})" for kind in kinds)
        first = next(iter(read_rows(source)))
        columns, fits = ", ".join(first.values) or "none", f", which fit {' or '.join(found)}" if found else ""
        raise DataError(f"expected {wanted}; its columns are {columns}{fits}", source, first.line)
    read, encode = _READERS[kind]
    records = read(source, empty=empty)
    skipped = sum(1 for _ in read_rows(source)) - len(records) if empty == "skip" else 0
    if skipped:
        context.say(f"{source}: {skipped} rows with an empty text left out")
    given = (options or {}).get(kind, {})
    examples, dropped = encode(tokenizer, records, max_length, overlong, source, **given)  # pyright: ignore[reportArgumentType]
    if dropped:
        context.say(f"{source}: {dropped} rows over {max_length} tokens left out")
    return kind, examples


def row_limit(context_length: int, wanted: int | None) -> int:
    """The longest row: what the settings want, within the model's context."""
    if wanted is not None and wanted > context_length:
        raise ModelError(f"max_length {wanted} is more than the model's context of {context_length} tokens")
    return wanted or context_length


@dataclass(frozen=True)
class Data:
    """The examples of a training stage."""

    kind: str
    trained: list[Example]
    held_out: list[Example]


def read_data(
    settings: Any,
    context: Context,
    model: Policy | RewardModel,
    algorithms: Mapping[str, Algorithm],
    options: Options | None = None,
) -> Data:
    """The examples of the settings' ``data``, and of ``eval_data`` or the ``eval_split``.

    ``settings`` is a :class:`DatasetSettings` with ``data`` and ``eval_data``.
    """
    limit, kinds = row_limit(model.context_length, settings.max_length), tuple(algorithms)
    rest = (limit, settings.overlong, context, settings.empty, options)
    kind, examples = read_examples(model.tokenizer, settings.data, kinds, *rest)
    if settings.eval_data:
        trained = examples
        _, held_out = read_examples(model.tokenizer, settings.eval_data, (kind,), *rest)
    else:
        trained, held_out = split_examples(examples, settings.eval_split, context.seed)
    if kind == "comparisons" and "labels" in algorithms[kind].needs:
        trained, held_out = (labelled(part, settings.data) for part in (trained, held_out))
    return Data(kind, trained, held_out)


def fit(
    settings: Any,
    context: Context,
    roles: Roles,
    model: Policy | RewardModel,
    algorithm: Algorithm,
    data: Data,
    metric: str = "loss",
) -> dict[str, float]:
    """Train ``roles`` on the ``data``, and return the figures."""
    return train(
        Task(
            roles=roles,
            algorithm=algorithm,
            examples=data.trained,
            held_out=data.held_out,
            settings=settings,
            pad=model.tokenizer.pad_token_id,
            folder=context.out,
            seed=context.seed,
            progress=context.progress,
            say=context.say,
            metric=metric,
            greater_is_better=metric == "accuracy",
        )
    )


def finish(model: Policy | RewardModel, settings: Any, method: str, base: str, context: Context) -> None:
    """Save the model into the stage's folder, by the first of several processes; its card tells what changes it."""
    if not is_main():
        return
    fields = type(settings).model_fields
    elsewhere = {key for key, field in fields.items() if not (field.json_schema_extra or {}).get("identity", True)}
    shown = {key: _name_of(value) for key, value in settings.model_dump(exclude=elsewhere).items()}
    merge = getattr(settings, "merge", True)
    save_model(model, context.out, method=method, base=_name_of(base), settings=shown, merge=merge)


def _name_of(value: Any) -> Any:
    """A local path by its last part: a model's card is the same, and tells nothing, wherever it was made."""
    path, colon, function = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if colon and path.endswith(".py"):
        return f"{Path(path).name}:{function}"
    return Path(value).name if isinstance(value, str) and os.path.exists(value) else value
