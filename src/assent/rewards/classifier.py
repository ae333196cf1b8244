"""A classifier as a source: the probability that it gives one of its classes (sentiment, toxicity)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field

from assent.config import Input, Settings
from assent.data.chat import encode_prompt
from assent.data.microbatch import plan_microbatches
from assent.errors import RecipeError, nearest
from assent.models.device import pick_device
from assent.models.load import load_classifier
from assent.models.padding import pad_right
from assent.rewards.kinds import SourceKind
from assent.rewards.source import Scores
from assent.types import Completion, Prompt

_CAP = math.log(1e-6)
"""A log-odds stays within what a probability of a millionth has."""


class ClassifierSettings(Settings):
    """Reward by a classifier's probability of a class."""

    model: str = Input("model", description="Sequence-classification model, a folder or hub name")
    label: str
    """The class that is wanted, by its name in the model's configuration, or its number."""
    read: Literal["completion", "both"] = "completion"
    """What the classifier reads: the completion, or the prompt with it."""
    scale: Literal["probability", "log-odds"] = "probability"
    """The score: the probability, or log(p / (1 - p)), which goes on growing where p is close to 1."""
    weight: float = 1.0
    """The score is multiplied by it; below 0, the class is what is not wanted."""
    token_budget: int = Field(default=8192, gt=0, json_schema_extra={"identity": False})
    """Tokens of one batch."""


class ClassifierReward:
    """Scores in length-sorted batches under a token budget; each is the completion's own, whatever its company.

    A model of one output is read as a logit of its one class against none, one that was made for several classes at
    once (``problem_type`` multi_label_classification, as toxicity models are) by the sigmoid of each, any other by
    the softmax over its classes.  Text over the model's context is cut at its end.
    """

    def __init__(self, settings: ClassifierSettings) -> None:
        """Raises :class:`ModelError` for what is no classifier, :class:`RecipeError` for a class that it has not."""
        self.settings = settings
        self.model = load_classifier(settings.model, pick_device())
        self.tokenizer = self.model.tokenizer
        longest = int(getattr(self.tokenizer, "model_max_length", 1 << 30))
        self.context_length = min(self.model.context_length, longest)
        self.names = {int(number): str(name) for number, name in self.model.config.id2label.items()}
        self._class = self._number()

    def _number(self) -> int:
        wanted = self.settings.label
        for number, name in self.names.items():
            if wanted.casefold() == name.casefold() or wanted == str(number):
                return number
        known = ", ".join(self.names.values())
        hint = nearest(wanted, self.names.values())
        raise RecipeError(f"{self.settings.model}: has no class '{wanted}'; its classes are {known}{hint}")

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        rows = [self._ids(p, c)[: self.context_length] for p, c in zip(prompts, completions, strict=True)]
        values = [math.nan] * len(rows)
        device = next(self.model.parameters()).device
        for chosen in plan_microbatches([len(row) for row in rows], None, self.settings.token_budget, device.type):
            for place, value in zip(chosen, self._log_odds([rows[i] for i in chosen]), strict=True):
                values[place] = self._scaled(value)
        unscored = {
            i: f"the classifier {self.settings.model} gave {v} for it" for i, v in enumerate(values) if math.isnan(v)
        }
        return Scores(tuple(values), unscored=unscored)

    def _ids(self, prompt: Prompt, completion: Completion) -> list[int]:
        if self.settings.read == "completion":
            return list(self.tokenizer(completion.text).input_ids) or [int(self.tokenizer.eos_token_id or 0)]
        if prompt.messages is None:
            return list(self.tokenizer(f"{prompt.text}{completion.text}").input_ids)
        if self.tokenizer.chat_template:
            said = self.tokenizer(completion.text, add_special_tokens=False).input_ids
            return [*encode_prompt(self.tokenizer, prompt), *said]
        return list(self.tokenizer(f"{prompt.shown()}\n\nassistant: {completion.text}").input_ids)

    @torch.no_grad()
    def _log_odds(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Of the wanted class, for each row."""
        device = next(self.model.parameters()).device
        pad = self.tokenizer.pad_token_id
        tokens, mask = pad_right(rows, 0 if pad is None else int(pad), device)
        logits = self.model.scores(tokens, mask)  # [b, classes]
        wanted = logits[:, self._class]
        if logits.shape[1] == 1 or self.model.config.problem_type == "multi_label_classification":
            return wanted.tolist()
        rest = logits.clone()
        rest[:, self._class] = float("-inf")
        return (wanted - rest.logsumexp(1)).tolist()

    def _scaled(self, log_odds: float) -> float:
        if math.isnan(log_odds):
            return log_odds
        if self.settings.scale == "log-odds":
            return self.settings.weight * max(_CAP, min(-_CAP, log_odds))
        return self.settings.weight / (1.0 + math.exp(-max(-700.0, min(700.0, log_odds))))


KIND = SourceKind("classifier", "Reward by a classifier", ClassifierSettings, ClassifierReward)
