"""A simulated judge: a program with a known taste and a judge's failings in place of a language model.

For tests, demonstrations and studies of the method.  It is asked as a language model is (:mod:`assent.rewards.judge`),
in both orders of each two answers, with noise of its own in each: near ties come out one way and the other, and so does
what ``position_bias`` outweighs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from assent.errors import RecipeError
from assent.feedback.simulate import Seen, SimulatedAnnotator
from assent.rewards.judge import Judged, JudgeSettings, compared, ranked
from assent.types import Prompt, short_id

Truth = Callable[[Prompt, str], float]
"""Utility of a text as an answer to a prompt."""


class SimulatedJudge:
    """Judges as :class:`assent.rewards.judge.Judge` does, by what an annotator perceives of ``truth``."""

    def __init__(self, settings: JudgeSettings, annotator: SimulatedAnnotator, truth: Truth) -> None:
        """Raises :class:`RecipeError` where the settings ask for more than comparing by one rubric."""
        if settings.method == "pointwise" or settings.constitution or settings.principles:
            raise RecipeError(
                "judge: a simulated judge compares answers by its truth; set method pairwise or ranking, and no "
                "constitution or principles"
            )
        self.settings, self.annotator, self.truth = settings, annotator, truth

    def all(self, questions: Sequence[tuple[Prompt, Sequence[str]]]) -> list[Judged]:
        """What is said of each prompt's answers."""
        return [self._one(prompt, texts) for prompt, texts in questions]

    def _one(self, prompt: Prompt, texts: Sequence[str]) -> Judged:
        worth = [self.truth(prompt, text) for text in texts]
        name = short_id("simulated judge", prompt.shown(), list(texts))
        orders = (False, True) if self.settings.swap else (False,)
        if self.settings.method == "ranking":
            return ranked([self._shares(name, texts, worth, turned) for turned in orders])

        def said_of(one: int, other: int) -> list[float]:
            if texts[one] == texts[other]:
                return [0.5]
            return [self._preference(name, texts, worth, one, other, turned) for turned in orders]

        return compared(len(texts), said_of)

    def _preference(
        self, name: str, texts: Sequence[str], worth: Sequence[float], one: int, other: int, turned: bool
    ) -> float:
        """1 where the first is preferred, 0 where the other, 0.5 for a tie; ``turned``: the other is shown first."""
        shown = (other, one) if turned else (one, other)
        seen = Seen(tuple(len(texts[place]) for place in shown))
        grade = self.annotator.prefer(
            f"{name} {one} {other} {turned}", [worth[place] for place in shown], self.settings.seed, seen
        )
        return 0.5 if grade == 0 else float((grade < 0) != turned)

    def _shares(self, name: str, texts: Sequence[str], worth: Sequence[float], turned: bool) -> list[float]:
        """[K] share of the other answers that each stands above; ``turned``: the last is shown first."""
        shown = list(range(len(texts)))[:: -1 if turned else 1]
        seen = Seen(tuple(len(texts[place]) for place in shown))
        ranks = self.annotator.rank(f"{name} {turned}", [worth[place] for place in shown], self.settings.seed, seen)
        last = 1 + max((rank for rank in ranks if rank is not None), default=0)
        given = {place: last if rank is None else rank for place, rank in zip(shown, ranks, strict=True)}
        return [
            sum(0.5 * (given[i] == given[j]) + (given[i] < given[j]) for j in given if j != i) / (len(given) - 1)
            for i in sorted(given)
        ]
