"""Who draws and scores a stage's rollouts: the policy itself, vLLM beside it, or workers on a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

from assent.config import S, Settings
from assent.errors import RecipeError
from assent.models.policy import Policy
from assent.pipeline.stage import Context, Metrics, NoProgress, Progress
from assent.pipeline.stages.reward_input import RewardInput, open_reward
from assent.rewards.combine import Combined
from assent.rewards.human import HumanReward
from assent.rewards.source import Accounted, RewardSource, is_comparative
from assent.rollout.engine import Engine
from assent.rollout.settings import SamplingOptions
from assent.rollout.vllm_policy import VLLMPolicyEngine


class Crew(NamedTuple):
    """What draws the rollouts, and what scores them."""

    engine: Engine | None
    """``None``: the policy itself."""
    reward: RewardSource


@contextlib.contextmanager
def crew(
    settings: Any, stage: str, policy: Policy, reward: RewardSource, say: Callable[[str], None]
) -> Generator[Crew]:
    """What the stage's ``engine`` and :class:`~assent.cluster.settings.ClusterSettings` ask for, until the block ends.

    ``reward`` is the source of rewards as opened here.  Raises :class:`RecipeError` where Ray is missing, the cluster
    is away or too small, or the source cannot be on several workers, and :class:`ModelError` where vLLM cannot draw.
    """
    if settings.engine == "vllm":
        if settings.cluster is not None:
            raise RecipeError(f"{stage}: engine vllm draws in this process, and cluster: ray on workers; leave one out")
        engine = VLLMPolicyEngine(policy, settings.slots, settings.rollout_dtype, settings.vllm_memory)
        with contextlib.closing(engine):
            yield Crew(engine, reward)
        return
    if settings.cluster is None:
        yield Crew(None, reward)
        return
    _check_installed(stage)
    if settings.reward_workers and _counts_or_waits(reward):
        raise RecipeError(
            f"{stage}: reward_workers {settings.reward_workers}: a source of rewards that keeps count of its costs, or "
            "waits for people, scores in the stage's own process; leave reward_workers out"
        )
    from assent.cluster.connect import connected
    from assent.cluster.engine import RayEngine
    from assent.cluster.pool import Needs
    from assent.cluster.reward import RayReward

    options: dict[str, Any] = {
        "needs": Needs(settings.cpus_per_worker, settings.gpus_per_worker),
        "timeout": settings.worker_timeout,
        "say": say,
    }
    with connected(settings), contextlib.ExitStack() as ends:
        sampling = _narrowed(settings, SamplingOptions)
        engine = RayEngine(policy, settings.rollout_workers, settings.slots, sampling, **options)
        ends.callback(engine.close)
        if settings.reward_workers:
            opening = (_narrowed(settings, RewardInput), stage, policy.tokenizer, settings.token_budget)
            comparative = is_comparative(reward)
            reward = RayReward(open_reward, opening, settings.reward_workers, comparative=comparative, **options)
            ends.callback(reward.close)
        yield Crew(engine, reward)


def placed(run: Callable[[Context], Metrics], settings: Any, stage: str, context: Context) -> Metrics:
    """``run(context)``, in this process or, where the settings say so, in one of the cluster."""
    if settings.cluster is None or not settings.train_on_cluster:
        return run(context)
    _check_installed(stage)
    from assent.cluster.connect import connected
    from assent.cluster.group import run_on_cluster
    from assent.cluster.pool import Needs

    there = replace(context, out=context.out.absolute(), run_dir=context.run_dir.absolute(), progress=NoProgress())
    work = partial(_work, run, replace(there, say=print))
    needs = Needs(settings.cpus_per_worker, settings.gpus_per_worker)
    with connected(settings):
        return run_on_cluster(work, needs, context.progress, context.say)


def _work(
    run: Callable[[Context], Metrics], context: Context, progress: Progress, say: Callable[[str], None]
) -> Metrics:
    return run(replace(context, progress=progress, say=say))


def _check_installed(stage: str) -> None:
    if find_spec("ray") is None:
        raise RecipeError(f"{stage}: cluster: ray needs Ray, which is not installed; pip install 'assent[ray]'")


def _narrowed(settings: Settings, kind: type[S]) -> S:
    """What a worker needs of the settings: the fields of ``kind``."""
    return kind(**settings.model_dump(include=set(kind.model_fields)))


def _counts_or_waits(source: RewardSource) -> bool:
    inner = [each.source for each in source.sources.values()] if isinstance(source, Combined) else []
    return isinstance(source, (Accounted, HumanReward)) or any(_counts_or_waits(each) for each in inner)
