"""Models to be trained, as the settings of adapters have them: over weights of their own, or over one base for all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from assent.data.tokenizers import load_tokenizer, set_encoder_ends, set_encoder_prompts
from assent.errors import ModelError
from assent.models.adapter_files import attach, chain, has_score, is_adapter, is_of_reward_model, is_quantised
from assent.models.adapters import AdapterSettings, add_adapter, twin
from assent.models.causal import CausalModel
from assent.models.load import load_policy, load_reward_model, model_config, new_reward_model
from assent.models.policy import Policy
from assent.models.scalar import RewardModel
from assent.models.seq2seq import Seq2SeqModel

ADAPTER = "adapter"
"""The folder of the adapter beside the model that it was merged into."""


class Bases:
    """Frozen weights that several models share; each is loaded once.

    Nothing is shared where whole models are trained (``adapter: none``).
    """

    def __init__(self, settings: AdapterSettings, device: str = "cpu") -> None:
        """``settings`` may have a ``dtype``, that products with a 4-bit base are computed in."""
        self.settings, self.device = settings, device
        lower = getattr(settings, "dtype", "float32") == "bfloat16"
        self._compute = (torch.bfloat16 if lower else torch.float32) if settings.adapter == "qlora" else None
        self._held: dict[str, Policy] = {}

    def policy(self, source: str, seed: int) -> Policy:
        """The policy in a folder, or of a hub name, to be trained."""
        if self.settings.adapter == "none":
            return load_policy(source, self.device)
        policy = self._over_base(source)
        train_adapter(policy, self.settings, seed, source)
        return policy

    def frozen_policy(self, source: str) -> Policy:
        """The policy in a folder, or of a hub name, as it lies there: over a base that others share."""
        policy = load_policy(source, self.device) if self.settings.adapter == "none" else self._over_base(source)
        return policy.requires_grad_(False)

    def _over_base(self, source: str) -> Policy:
        whole, *adapters = chain(source)
        if adapters and is_of_reward_model(source):
            raise ModelError(
                f"{source}: is the adapter of a reward model or classifier, expected one of a language model"
            )
        base = self._hold(whole)
        model = twin(base.model)
        attach(model, adapters)
        return base.over(model, self._tokenizer(source, base) if adapters else base.tokenizer)

    def _hold(self, whole: str) -> Policy:
        if _place(whole) not in self._held:
            base = load_policy(whole, self.device, quantise=self._compute)
            self._held[_place(whole)] = base.requires_grad_(False)
        return self._held[_place(whole)]

    @staticmethod
    def _tokenizer(source: str, base: Policy) -> Any:
        tokenizer = load_tokenizer(source)
        if isinstance(base, Seq2SeqModel):
            set_encoder_prompts(tokenizer)
        return tokenizer

    def new_reward_model(self, source: str, seed: int, criteria: tuple[str, ...] = (), members: int = 1) -> RewardModel:
        """The reward model of :func:`assent.models.load.new_reward_model`, to be trained."""
        lora = self.settings.adapter != "none"
        model = new_reward_model(source, seed, self.device, criteria, members, merge=not lora, quantise=self._compute)
        if lora:
            train_adapter(model, self.settings, seed, source)
        return model

    def reward_model(self, source: str) -> RewardModel:
        """The trained reward model in a folder, or of a hub name, frozen: over a base that is held where its adapter is
        for that one, else by itself."""
        folder = self._adapter_of(source)
        if folder is not None:
            whole, *adapters = chain(folder)
            base = self._held.get(_place(whole))
            if isinstance(base, CausalModel):
                return _scalar_over(base, folder, adapters, self.device)
        return load_reward_model(source, self.device).requires_grad_(False)

    def reward_models(self, sources: Sequence[str]) -> list[RewardModel]:
        """The members of an ensemble, as :meth:`reward_model`; adapters of one base share it, held before or not."""
        folders = [self._adapter_of(source) for source in sources]
        below = {chain(folder)[0] for folder in folders if folder is not None}
        if len(sources) > 1 and None not in folders and len(below) == 1 and Path(*below).is_dir():
            self._hold(*below)
        return [self.reward_model(source) for source in sources]

    def _adapter_of(self, source: str) -> str | None:
        """The adapter of a causal reward model, which can stand on a policy's base; ``None`` where there is none."""
        for folder in (str(source), str(Path(source) / ADAPTER)):
            if is_adapter(folder):
                alike = any(map(is_quantised, chain(folder))) == (self._compute is not None)
                return folder if alike and (Path(folder) / "config.json").is_file() and has_score(folder) else None
        return None


def train_adapter(model: Policy | RewardModel, settings: AdapterSettings, seed: int, source: str) -> None:
    """Freeze the model, and give it an adapter to be trained; the head of a reward model is trained with it."""
    if isinstance(model, RewardModel):
        add_adapter(model.model, settings, seed, "SEQ_CLS", _head(model.model))
    else:
        add_adapter(model.model, settings, seed, "SEQ_2_SEQ_LM" if isinstance(model, Seq2SeqModel) else "CAUSAL_LM")
    model.adapter_of = source


def _head(model: nn.Module) -> list[str]:
    """What a reward model has and a language model has not."""
    return [name for name, _ in model.named_modules() if name in ("score", "classifier") or name.endswith("pooler")]


def _scalar_over(base: CausalModel, folder: str, adapters: list[str], device: str) -> RewardModel:
    """The reward model of an adapter, over the trunk of a policy's base."""
    from transformers import AutoModelForSequenceClassification

    with torch.device("meta"):
        model: Any = AutoModelForSequenceClassification.from_config(model_config(folder))
    setattr(model, model.base_model_prefix, twin(base.trunk))
    old = model.score
    model.score = nn.Linear(old.in_features, old.out_features, bias=old.bias is not None, device=device)
    attach(model, adapters)
    tokenizer = load_tokenizer(folder)
    set_encoder_ends(tokenizer)
    return RewardModel(model.eval(), tokenizer).requires_grad_(False)


def _place(source: str) -> str:
    return os.path.realpath(source) if Path(source).exists() else source
