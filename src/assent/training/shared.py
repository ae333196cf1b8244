"""An engine and a source of rewards that several processes use as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assent.errors import RunError
from assent.rewards.combine import only_models
from assent.rewards.source import Pending, RewardSource, Scores, account_of
from assent.rollout.engine import EncodedPrompt, Engine
from assent.training import distributed
from assent.types import Completion, Prompt, SamplingSettings


def share_engine(engine: Engine) -> Engine:
    """``engine`` in one process; of several, each samples every so many-th prompt and gets what the others sampled."""
    return engine if distributed.size() == 1 else _SharedEngine(engine)


def share_reward(source: RewardSource) -> RewardSource:
    """``source`` in one process.

    Of several, each scores its part where all that scores are reward models.  Anything else is asked by the first
    process alone, so that a budget, a cache, a question to people, or chance in a user's function is there once.
    """
    if distributed.size() == 1:
        return source
    return _SplitReward(source) if only_models(source) else _FirstAsks(source)


class _SharedEngine:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.promises = engine, engine.promises

    def generate(self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1) -> list[Completion]:
        """See :class:`assent.rollout.engine.Engine`.  Random numbers hang on prompt and sample, not on who draws."""
        ranks = distributed.size()
        found = distributed.gather(self.engine.generate(prompts[distributed.rank() :: ranks], sampling, n))
        places = ((place % ranks, place // ranks * n) for place in range(len(prompts)))
        return [completion for rank, start in places for completion in found[rank][start : start + n]]

    def close(self) -> None:
        self.engine.close()


class _SplitReward:
    def __init__(self, source: RewardSource) -> None:
        self.source = source

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        count, ranks = len(completions), distributed.size()
        cuts = [count * rank // ranks for rank in range(ranks + 1)]
        mine = slice(cuts[distributed.rank()], cuts[distributed.rank() + 1])
        scores = self.source.score(prompts[mine], completions[mine]) if completions[mine] else None
        return Scores.joined([each for each in distributed.gather(scores) if each is not None])


class _FirstAsks:
    def __init__(self, source: RewardSource) -> None:
        self.source = source

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        found: Scores | Pending | str = "the process that asks for rewards was stopped"
        try:
            if distributed.is_main():
                found = self.source.score(prompts, completions)
        except Pending as pending:
            found = pending
        except Exception as error:
            found = str(error) or type(error).__name__
            raise
        finally:
            found = distributed.broadcast(found)
        if isinstance(found, str):
            raise RunError(found)
        if isinstance(found, Pending):
            raise found
        return found

    def figures(self) -> Mapping[str, float | int]:
        """Of the source that was asked, in the process that asked it."""
        return account_of(self.source)
