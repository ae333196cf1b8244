"""Posts of people with a worry, and their summaries in one sentence, after Reddit's TL;DR (Stiennon et al. 2020)."""

from __future__ import annotations

import random
import re

from assent.data.tasks.problem import Problem
from assent.types import Prompt

_WHO = ("sister", "boss", "neighbour", "friend", "cousin", "teacher", "landlord", "uncle")
_DID = ("lost my keys", "sold my bike", "broke my phone", "read my letters", "ate my lunch", "took my money",
        "forgot my birthday", "told my secret")  # fmt: skip
_ASK = ("should I forgive them", "should I say something", "should I leave", "should I ask for an apology",
        "should I let it go", "should I tell the others")  # fmt: skip
_JOBS = ("nurse", "baker", "student", "driver", "clerk", "waiter")
_FILLERS = ("It was raining all day.", "I had soup for dinner.", "My room is very small.", "The bus was late again.",
            "I like music a lot.", "We live near the park.", "I slept badly that night.")  # fmt: skip
_SUMMARY = re.compile(r"My (\w+) (.+?), (should .+?)\?")


def draw(rng: random.Random) -> Problem:
    """A post: who writes, what somebody did, what they ask, and sentences that matter to nobody."""
    who, did, ask = rng.choice(_WHO), rng.choice(_DID), rng.choice(_ASK)
    other = rng.choice([person for person in _WHO if person != who])
    fillers = rng.sample(_FILLERS, 2)
    story = [
        f"I work as a {rng.choice(_JOBS)}.",
        f"Last week my {who} {did}.",
        f"My {other} knows nothing of it.",
        *fillers,
    ]
    body = story[1:]
    rng.shuffle(body)
    post = f"POST: {' '.join([story[0], *body])} Now I wonder, {ask}?\nTL;DR:"
    return Problem(
        key=f"{who} {did} {ask}",
        prompt=post,
        right=f" My {who} {did}, {ask}?",
        careless=rng.choice(
            (
                f" My {other} {did}, {ask}?",
                f" My {who} {did}, {rng.choice([each for each in _ASK if each != ask])}?",
                f" {fillers[0]} My {who} {did}, {ask}?",
                f" {story[0]} {fillers[1]}",
            )
        ),
        known={"reference": f"My {who} {did}, {ask}?", "who": who, "did": did, "ask": ask},
    )


def quality(prompt: Prompt, text: str) -> float:
    """What annotators perceive, from about -3 to 2: who, what and the question rightly told, and nothing besides."""
    known, said = prompt.metadata, text.strip()
    found = _SUMMARY.search(said)
    if found is None:
        return -2.0 - 0.02 * len(said.split())
    told = sum(mine == known[name] for mine, name in zip(found.groups(), ("who", "did", "ask"), strict=True))
    besides = len(_SUMMARY.sub("", said, count=1).split())
    return 1.5 * (told - 2) + 0.5 - 0.2 * besides
