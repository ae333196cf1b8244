"""German sentences of a small grammar and their English: gender, endings, verb second, and verbs at the end."""

from __future__ import annotations

import random
from difflib import SequenceMatcher

from assent.data.tasks.problem import Problem
from assent.types import Prompt

_NOUNS = {
    "Mann": ("m", "man"), "Hund": ("m", "dog"), "Lehrer": ("m", "teacher"), "Ball": ("m", "ball"),
    "Frau": ("f", "woman"), "Katze": ("f", "cat"), "Tasche": ("f", "bag"), "Blume": ("f", "flower"),
    "Kind": ("n", "child"), "Pferd": ("n", "horse"), "Buch": ("n", "book"), "Haus": ("n", "house"),
}  # fmt: skip
_SUBJECTS = ("Mann", "Lehrer", "Frau", "Kind")
_VERBS = {
    "sieht": ("gesehen", "sees", "seen"), "kauft": ("gekauft", "buys", "bought"),
    "sucht": ("gesucht", "seeks", "sought"), "malt": ("gemalt", "paints", "painted"),
    "liebt": ("geliebt", "loves", "loved"), "findet": ("gefunden", "finds", "found"),
}  # fmt: skip
"""Present -> participle, English present and participle."""
_ADJECTIVES = {"alt": "old", "jung": "young", "klein": "small", "rot": "red", "neu": "new", "weiß": "white"}
_TIMES = {"Heute": "Today", "Oft": "Often", "Jetzt": "Now", "Endlich": "At last"}
_THE = {"m": "der", "f": "die", "n": "das"}
_A = {"m": ("einen", "en"), "f": ("eine", "e"), "n": ("ein", "es")}
"""Accusative: the article and the adjective's ending."""


def draw(rng: random.Random) -> Problem:
    """A sentence in the present or the perfect, perhaps with a time in front, which moves the subject."""
    subject, thing = rng.choice(_SUBJECTS), rng.choice([noun for noun in _NOUNS if noun not in _SUBJECTS])
    first, second = rng.choice(list(_ADJECTIVES)), rng.choice(list(_ADJECTIVES))
    verb, time = rng.choice(list(_VERBS)), rng.choice([*_TIMES, None])
    perfect = rng.random() < 0.5
    participle, present, done = _VERBS[verb]
    german_subject = f"{_THE[_NOUNS[subject][0]]} {first}e {subject}"
    article, ending = _A[_NOUNS[thing][0]]
    german_object = f"{article} {second}{ending} {thing}"
    bent = "hat" if perfect else verb
    words = [time, bent, german_subject] if time else [german_subject, bent]
    german = " ".join([*words, german_object, *([participle] if perfect else [])])
    parts = {
        "time": _TIMES[time] if time else "",
        "subject": f"the {_ADJECTIVES[first]} {_NOUNS[subject][1]}",
        "verb": f"has {done}" if perfect else present,
        "object": _with_article(f"{_ADJECTIVES[second]} {_NOUNS[thing][1]}"),
    }
    right = _sentence(list(parts.values()))
    return Problem(
        key=f"{subject} {verb} {thing} {first}",
        prompt=f"German: {german[0].upper()}{german[1:]}.\nEnglish:",
        right=right,
        careless=_careless(parts, rng),
        known={"reference": right.strip()},
    )


def adequacy(prompt: Prompt, text: str) -> float:
    """What annotators perceive: from -2 for nothing right to 2, by the words in common with the right translation, in
    its order."""
    ours, theirs = (words.lower().rstrip(".").split() for words in (text, prompt.metadata["reference"]))
    return 4.0 * SequenceMatcher(None, ours, theirs, autojunk=False).ratio() - 2.0


def _careless(parts: dict[str, str], rng: random.Random) -> str:
    """A translation word by word, or with a word missing or another."""
    match rng.randrange(3):
        case 0:  # the German order
            order = ("time", "verb", "subject", "object") if parts["time"] else ("subject", "object", "verb")
            return _sentence([parts[name] for name in order])
        case 1:
            missing = _with_article(parts["object"].split()[2])
            return _sentence(list((parts | {"object": missing}).values()))
        case _:
            article, adjective, _ = parts["object"].split()
            other = rng.choice([word for _, word in _NOUNS.values() if word != parts["object"].split()[2]])
            return _sentence(list((parts | {"object": f"{article} {adjective} {other}"}).values()))


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _sentence(parts: list[str]) -> str:
    said = " ".join(part for part in parts if part)
    return f" {said[0].upper()}{said[1:]}."
