"""Whether a model of ``transformers`` is its architecture's own, for what runs it by a description of its weights."""

from __future__ import annotations

from typing import Any

_ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions that do not depend on how long the row is by now."""


class NotPlain(Exception):
    """A part is not the architecture's own, as with an adapter: the model runs itself then."""


def attends_plainly(config: Any) -> bool:
    """Whether each token attends to all before it in its row and nothing else, at positions that do not change."""
    rotation = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    return rotation in _ROTATIONS and not _window(config) and not getattr(config, "add_cross_attention", False)


def _window(config: Any) -> bool:
    """Whether some layer attends only to the latest tokens."""
    window, kinds = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    if window is None or (kinds is not None and "sliding_attention" not in kinds):
        return False
    return window < config.max_position_embeddings
