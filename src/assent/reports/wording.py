"""How numbers and names read on the page."""

from __future__ import annotations

import math

from assent.reports.records import RewardCurve

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


_JUDGES = {
    "people": "people, who did not see whose answers they were",
    "simulated": "programs with a known taste",
    "model": "a model",
    "mixed": "people and programs",
    "proxy": "what training pushed up; not evidence by itself",
}


def judge_kind(kind: str) -> str:
    """What a further judge is."""
    return _JUDGES.get(kind, kind)


def at_step(name: str) -> str:
    """Where along a training: ``45`` -> ``step 45``, ``end`` -> ``the end``."""
    return "the end" if name == "end" else f"step {name}"


def curve_says(curve: RewardCurve) -> str:
    """What a curve of reward against KL comes to, in sentences."""
    said: list[str] = []
    gold = next((fit for fit in curve.fits if fit.reward == "gold"), None)
    if gold is not None and gold.peak_kl is None:
        said.append("By the fitted form the judge's gain does not turn.")
    elif gold is not None and not gold.reached:
        said.append(
            f"The form puts the peak of the judge's gain at KL {number(gold.peak_kl, 1)}, "
            "but no checkpoints lie on both sides of it."
        )
    elif gold is not None:
        bounded = gold.peak_low is not None and gold.peak_high is not None
        within = f" ({number(gold.peak_low, 1)} to {number(gold.peak_high, 1)})" if bounded else ""
        said.append(f"The judge's gain is largest at KL {number(gold.peak_kl, 1)} nats{within}.")
    if curve.raised_at is not None:
        said.append(f"The alarm for reward hacking was raised at {_where(curve, curve.raised_at)}.")
    elif curve.watched:
        said.append("The alarm for reward hacking was not raised.")
    if curve.stopping is not None and curve.stopping.advised:
        stop = curve.stopping
        said.append(f"Better stopped at {_where(curve, stop.label)}: going on cost {number(stop.loss)} by the judge.")
    return " ".join(said)


def _where(curve: RewardCurve, name: str) -> str:
    return f"n = {name}" if curve.form == "best-of-n" else at_step(name)


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
