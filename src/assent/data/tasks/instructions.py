"""Instructions with several constraints, each of which can be checked, as in IFEval (Zhou et al. 2023)."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from assent.data.tasks.problem import Problem
from assent.types import Message, Prompt

_WORDS = {
    "fruits": ("apple", "plum", "pear", "cherry", "lemon", "melon", "fig", "grape"),
    "animals": ("horse", "cow", "sheep", "goose", "mouse", "fox", "bear", "owl"),
    "colours": ("red", "blue", "green", "yellow", "black", "white", "brown", "pink"),
    "tools": ("hammer", "saw", "drill", "axe", "spade", "rake", "knife", "brush"),
}
_COUNTS = {2: "two", 3: "three", 4: "four", 5: "five"}
_SEPARATORS = {"commas": ", ", "dashes": " - ", "semicolons": "; "}
_ORDERS = ("List", "Write", "Name")


def draw(rng: random.Random) -> Problem:
    """So many words of a kind, in capitals or not, separated in some way, perhaps with a full stop at the end."""
    known: dict[str, Any] = {
        "kind": rng.choice(list(_WORDS)),
        "count": rng.choice(list(_COUNTS)),
        "capitals": rng.random() < 0.5,
        "separator": rng.choice(list(_SEPARATORS)),
        "stop": rng.random() < 0.5,
    }
    letters, end = ("capital" if known["capitals"] else "small"), (" End with a full stop." if known["stop"] else "")
    ask = (
        f"{rng.choice(_ORDERS)} {_COUNTS[known['count']]} {known['kind']} in {letters} letters, separated by "
        f"{known['separator']}.{end}"
    )
    slips = rng.sample(list(known), rng.choice((1, 1, 2)))
    others = {
        "kind": rng.choice([kind for kind in _WORDS if kind != known["kind"]]),
        "count": rng.choice([count for count in _COUNTS if count != known["count"]]),
        "capitals": not known["capitals"],
        "separator": rng.choice([name for name in _SEPARATORS if name != known["separator"]]),
        "stop": not known["stop"],
    }
    return Problem(
        key=" ".join(map(str, known.values())),
        prompt=(Message("user", ask),),
        right=_answer(known, rng),
        careless=_answer(known | {slip: others[slip] for slip in slips}, rng),
        known=known,
    )


def kept(prompt: Prompt, text: str) -> dict[str, bool]:
    """Which of the constraints an answer keeps."""
    known, said = prompt.metadata, text.strip()
    between = _SEPARATORS[known["separator"]]
    words = re.findall(r"[A-Za-z]+", said)
    lower = [word.lower() for word in words]
    return {
        "kind": bool(words) and all(word in _WORDS[known["kind"]] for word in lower) and len(set(lower)) == len(lower),
        "count": len(words) == known["count"],
        "capitals": bool(words) and all(word.isupper() if known["capitals"] else word.islower() for word in words),
        "separator": said.removesuffix(".") == between.join(words),
        "stop": said.endswith(".") == known["stop"],
    }


def utility(prompt: Prompt, text: str) -> float:
    """What annotators perceive: the number of constraints kept, of five, less 3."""
    return sum(kept(prompt, text).values()) - 3.0


def followed(prompt: Prompt, text: str) -> float:
    """1 where every constraint is kept, else 0."""
    return float(all(kept(prompt, text).values()))


def rewrite(prompt: Prompt, text: str) -> str:
    """An answer put right: its words of the right kind stay, as far as they are wanted, and the rest is made anew."""
    known = prompt.metadata
    there = [word.lower() for word in re.findall(r"[A-Za-z]+", text) if word.lower() in _WORDS[known["kind"]]]
    words = list(dict.fromkeys([*there, *_WORDS[known["kind"]]]))
    return _formed(words[: known["count"]], known)


def _answer(known: Mapping[str, Any], rng: random.Random) -> str:
    return _formed(rng.sample(_WORDS[known["kind"]], known["count"]), known)


def _formed(words: Sequence[str], known: Mapping[str, Any]) -> str:
    said = _SEPARATORS[known["separator"]].join(words) + ("." if known["stop"] else "")
    return said.upper() if known["capitals"] else said
