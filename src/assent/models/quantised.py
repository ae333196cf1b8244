"""A base in 4 bits, for QLoRA (Dettmers et al. 2023, arXiv:2305.14314), by bitsandbytes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from assent.errors import ModelError
from assent.models.adapters import in_4_bits


def quantisation(compute: torch.dtype = torch.float32) -> dict[str, Any]:
    """What a loader of ``transformers`` is told to bring the linear layers in normal-float 4, doubly quantised.

    ``compute``: what their products are computed in.  Raises :class:`ModelError` where bitsandbytes is missing.
    """
    from transformers import BitsAndBytesConfig

    absent = [name for name in ("bitsandbytes", "accelerate") if find_spec(name) is None]
    if absent:
        raise ModelError(
            f"adapter: qlora needs {' and '.join(absent)} to hold the base in 4 bits, which is not installed here; "
            "pip install 'assent[qlora]', or use adapter: lora"
        )
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute,
        )
    }


def keep_layout(model: nn.Module) -> None:
    """Have the 4-bit layers stay as they are: on some CPUs bitsandbytes lays one out anew, in place, for the first pass
    without gradient, and then gives no gradient for it, while policy and reference share it."""
    for module in model.modules():
        if in_4_bits(module):
            module.support_avx512bf16_for_cpu = False  # pyright: ignore[reportArgumentType]
