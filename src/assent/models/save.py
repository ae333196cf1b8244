"""Writing plain Hugging Face folders: safetensors, tokenizer, chat template, generation config, model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_model as save_torch_model
from torch import nn
from transformers.utils import logging as transformers_logging

from assent.models.policy import Policy
from assent.models.scalar import RewardModel
from assent.models.seq2seq import Seq2SeqModel

_CARD = """---
library_name: transformers
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


def save_model(model: Policy | RewardModel, out: Path, *, method: str, base: str, settings: dict[str, Any]) -> None:
    """Write ``model`` as a folder that ``transformers``, vLLM and others load as it is."""
    model.model.config.pad_token_id = model.tokenizer.pad_token_id
    if isinstance(model, Policy):
        generation = model.model.generation_config
        generation.pad_token_id = model.tokenizer.pad_token_id
        eos = model.eos_token_ids
        generation.eos_token_id = eos[0] if len(eos) == 1 else list(eos)
    transformers_logging.disable_progress_bar()  # the stages show their own progress
    model.model.save_pretrained(str(out), safe_serialization=True)
    model.tokenizer.save_pretrained(str(out))
    pipeline = "text-classification"
    if isinstance(model, Policy):
        pipeline = "text2text-generation" if isinstance(model, Seq2SeqModel) else "text-generation"
    rows = "\n".join(f"| {key} | {value} |" for key, value in sorted(settings.items()))
    title = out.name.removesuffix(".partial")
    card = _CARD.format(pipeline=pipeline, method=method, title=title, base=base, usage=_USAGE[pipeline], settings=rows)
    (out / "README.md").write_text(card, encoding="utf-8")


def save_critic(critic: nn.Module, out: Path) -> None:
    """The critic's weights beside the policy's, as ``critic.safetensors``."""
    save_torch_model(critic, str(out / "critic.safetensors"))  # weights that are tied are written once
