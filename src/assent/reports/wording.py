"""How numbers and names read on the page."""

from __future__ import annotations

import math

_LABELS = {"collect": "Rankings", "rank": "Rankings", "reward": "Reward model", "base": "Base"}
_THIN = "\u202f"  # narrow no-break space: a number never parts from its unit


def label(name: str) -> str:
    """A policy's or stage's name as a reader knows it: ``ppo`` -> ``PPO``, ``best_of_n`` -> ``Best of n``."""
    if name in _LABELS:
        return _LABELS[name]
    if name.split("-")[0].lower() in {
        "sft",
        "ppo",
        "dpo",
        "kto",
        "grpo",
        "rloo",
        "orpo",
        "ipo",
        "rebel",
        "rm",
        "simpo",
    }:
        return name.upper()
    text = name.replace("_", " ").replace("-", " ").strip()
    return text[:1].upper() + text[1:]


_PHASES = {
    "columns": "reference and old log-probabilities, values",
    "gradient": "forward and backward",
    "optimiser": "optimiser",
}


def phase(name: str) -> str:
    """What a phase of training is called on the page."""
    return _PHASES.get(name, name)


def share(value: float | None, digits: int = 1) -> str:
    """``0.9124`` -> ``91.2 %``; a dash for ``None``."""
    return "–" if value is None else f"{100 * value:.{digits}f}{_THIN}%"


def interval(low: float, high: float, digits: int = 1) -> str:
    """``(0.889, 0.931)`` -> ``88.9–93.1 %``."""
    return f"{100 * low:.{digits}f}–{100 * high:.{digits}f}{_THIN}%"


def number(value: float | None, digits: int = 2) -> str:
    """A plain number with a true minus sign; a dash for ``None``."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:,.{digits}f}".replace(",", _THIN)
    return text.replace("-", "−") if float(f"{value:.{digits}f}") != 0 else text.lstrip("-")


def count(value: float | None) -> str:
    """A whole number in groups of three."""
    return number(value, 0)


def duration(seconds: float | None) -> str:
    """``96.3`` -> ``1 min 36 s``; ``4.25`` -> ``4.2 s``; a dash for ``None``."""
    if seconds is None:
        return "–"
    if seconds < 59.95:
        return f"{seconds:.1f}{_THIN}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{_THIN}min {rest:02d}{_THIN}s"
    return f"{minutes // 60}{_THIN}h {minutes % 60:02d}{_THIN}min"


def token_text(token: str) -> str:
    """A token as text, also where it is written in a byte-level or SentencePiece alphabet."""
    return token.replace("Ġ", " ").replace("▁", " ").replace("Ċ", "\n")
