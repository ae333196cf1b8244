"""Writing plain Hugging Face folders: safetensors, tokenizer, chat template, generation config, model card."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from safetensors.torch import save_model as save_torch_model
from torch import nn
from transformers.utils import logging as transformers_logging

from assent.models.adapter_files import save_adapter
from assent.models.adapters import has_trained, merged
from assent.models.policy import Policy
from assent.models.scalar import RewardModel
from assent.models.seq2seq import Seq2SeqModel
from assent.models.shared import ADAPTER
from assent.runs.adapter import written_base

_CARD = """---
library_name: {library}
pipeline_tag: {pipeline}
tags: [assent, rlhf, {method}]
---

# {title}

Trained with [assent](https://pypi.org/project/assent/): method **{method}**, starting from `{base}`.

{usage}

| setting | value |
|---|---|
{settings}
"""

_USAGE = {
    "text-generation": "    AutoModelForCausalLM.from_pretrained(FOLDER)",
    "text2text-generation": "    AutoModelForSeq2SeqLM.from_pretrained(FOLDER)",
    "text-classification": "A reward model: `AutoModelForSequenceClassification.from_pretrained(FOLDER)`; its logit is "
    "the reward, or its logits the rewards by the criteria that `config.id2label` names, with "
    "`config.assent_reward_offset` still to be taken off.",
}


_ADAPTER_USAGE = """A LoRA adapter: `PeftModel.from_pretrained(BASE, FOLDER)`, BASE being the model that
`base_model_name_or_path` of `adapter_config.json` names, a relative path counting from this folder;
`assent merge` makes a plain model of both."""


def save_model(
    model: Policy | RewardModel,
    out: Path,
    *,
    method: str,
    base: str,
    settings: dict[str, Any],
    merge: bool = True,
    home: Path | None = None,
) -> None:
    """Write ``model`` as a folder that ``transformers``, vLLM and others load as it is.

    One with an adapter in training comes out merged, its adapter in ``adapter/``; where not to ``merge``, as the
    adapter's folder alone.  A base within ``home``, unset = where ``out`` lies, is named by a relative path.
    """
    model.model.config.pad_token_id = model.tokenizer.pad_token_id
    if isinstance(model, Policy):
        generation = model.model.generation_config
        generation.pad_token_id = model.tokenizer.pad_token_id
        eos = model.eos_token_ids
        generation.eos_token_id = eos[0] if len(eos) == 1 else list(eos)
    transformers_logging.disable_progress_bar()  # the stages show their own progress
    rows = "\n".join(f"| {key} | {value} |" for key, value in sorted(settings.items()))
    kind = _pipeline(model)
    told = {"title": out.name.removesuffix(".partial"), "method": method, "base": base, "settings": rows}
    if model.adapter_of is not None:
        folder = out / ADAPTER if merge else out
        save_adapter(model.model, folder, written_base(model.adapter_of, folder, home or out.parent))
        model.tokenizer.save_pretrained(str(folder))
        if isinstance(model, RewardModel):
            _head_config(model).save_pretrained(str(folder))
        _write_card(folder, "peft", kind, _ADAPTER_USAGE, told)
        if not merge:
            return
    whole = merged(model.model) if model.adapter_of is not None else model.model
    whole.save_pretrained(str(out), safe_serialization=True)
    model.tokenizer.save_pretrained(str(out))
    _write_card(out, "transformers", kind, _USAGE[kind], told)


def _head_config(model: RewardModel) -> Any:
    """What the heads are, and their offsets: the base's configuration does not say."""
    config = copy.deepcopy(model.config)
    config.architectures = [type(model.model).__name__]
    vars(config).pop("quantization_config", None)
    return config


def _write_card(folder: Path, library: str, kind: str, usage: str, told: dict[str, str]) -> None:
    card = _CARD.format(library=library, pipeline=kind, usage=usage, **told)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _pipeline(model: Policy | RewardModel) -> str:
    if isinstance(model, Policy):
        return "text2text-generation" if isinstance(model, Seq2SeqModel) else "text-generation"
    return "text-classification"


def save_critic(critic: nn.Module, out: Path) -> None:
    """The critic's weights beside the policy's, as ``critic.safetensors``; an adapter comes out merged."""
    whole = merged(critic) if has_trained(critic) else critic
    save_torch_model(whole, str(out / "critic.safetensors"))  # weights that are tied are written once
