"""A rollout engine whose copies of the policy decode in worker processes of a Ray cluster."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import ray
import torch
from torch import nn

from assent.cluster.pool import ONE_CORE, Needs, Pool, Where
from assent.models.device import pick_device
from assent.models.policy import Policy
from assent.rollout.engine import EncodedPrompt
from assent.rollout.local import LocalEngine
from assent.rollout.plain import local_engine
from assent.rollout.settings import SamplingOptions
from assent.types import Completion, SamplingSettings

Weights = dict[str, np.ndarray]
"""Each parameter's bytes by its name: what Ray's object store shares between processes without a copy."""


class RolloutWorker:
    """Draws with a policy of its own, which has the weights that the newest call brought."""

    def __init__(self, policy: Policy, slots: int, options: SamplingOptions | None, threads: int) -> None:
        torch.set_num_threads(threads)
        self.policy = policy.to(pick_device()).requires_grad_(False)
        self.engine = local_engine(self.policy, slots, options=options)
        self.version = -1

    def draw(
        self,
        version: int,
        weights: Weights,
        sampling: SamplingSettings,
        n: int,
        prompts: Sequence[EncodedPrompt],
    ) -> list[Completion]:
        """``n`` completions of each prompt by these weights, which are not read where they are those of before."""
        if version != self.version:
            load_weights(self.policy.model, weights)
            self.version = version
        return self.engine.generate(prompts, sampling, n)


class RayEngine:
    """Draws on ``workers`` processes of the Ray cluster that this process is connected to.

    The policy goes to each worker once; the weights that train, as they are when completions are asked for, go once
    into the object store, from where each node fetches them once.  The prompts are handed out in portions, a worker
    holding two at most; who draws a portion, and in what company, changes no token (float32; a slot shape and a number
    of threads alike), for random numbers belong to prompt and sample.  So a portion whose worker dies is redone by
    another to the same tokens.
    """

    promises = LocalEngine.promises

    def __init__(
        self,
        policy: Policy,
        workers: int,
        slots: int = 128,
        options: SamplingOptions | None = None,
        *,
        needs: Needs = ONE_CORE,
        timeout: float = 300.0,
        say: Callable[[str], None] = print,
    ) -> None:
        """``slots`` and ``options`` as for :func:`assent.rollout.plain.local_engine`; the rest as for
        :class:`assent.cluster.pool.Pool`."""
        self.policy, self.slots, self.size, self._version = policy, slots, workers, 0
        given = (ray.put(copy.deepcopy(policy).cpu()), slots, options, needs.cpus)
        self.pool = Pool("rollout worker", RolloutWorker, given, workers, needs=needs, timeout=timeout, say=say)
        self._asking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rollouts")
        """Whoever asks second waits for the first."""

    @property
    def workers(self) -> tuple[Where, ...]:
        """Where the workers run that have started."""
        return self.pool.workers

    def scale(self, workers: int) -> None:
        """Have so many workers from now on; those too many finish their portions first."""
        self.size = max(1, workers)
        self.pool.scale(workers)

    def generate(self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1) -> list[Completion]:
        """See :class:`assent.rollout.engine.Engine`.  Raises :class:`RunError` where no worker is left to draw."""
        return self.begin(prompts, sampling, n).result()

    def begin(
        self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1
    ) -> Future[list[Completion]]:
        """See :class:`assent.rollout.engine.Beside`."""
        self._version += 1
        shared = (self._version, ray.put(weights_of(self.policy.model)), sampling, n)
        return self._asking.submit(self._draw, shared, portions_of(prompts, n, self.slots, self.size))

    def _draw(self, shared: Sequence[Any], portions: Sequence[Sequence[EncodedPrompt]]) -> list[Completion]:
        return [completion for part in self.pool.run("draw", shared, portions) for completion in part]

    def close(self) -> None:
        """End the workers; what is still being drawn is given up."""
        self.pool.close()
        self._asking.shutdown(cancel_futures=True)


def portions_of(prompts: Sequence[EncodedPrompt], n: int, slots: int, workers: int) -> list[Sequence[EncodedPrompt]]:
    """Whole prompts: twice as many portions as workers, so that none waits long for the slowest, but no portion with
    more rows than ``slots`` (or than one prompt has)."""
    size = min(-(-len(prompts) // (2 * workers)), max(1, slots // n))
    return [prompts[start : start + size] for start in range(0, len(prompts), max(1, size))]


def weights_of(model: nn.Module) -> Weights:
    """The bytes, as they are now, of each parameter that may change."""
    return {
        name: parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


@torch.no_grad()
def load_weights(model: nn.Module, weights: Weights) -> None:
    """Copy what :func:`weights_of` gave into the parameters of the same names."""
    parameters = dict(model.named_parameters())
    for name, given in weights.items():
        target = parameters[name]
        # a copy, since the object store's memory is read only
        target.copy_(torch.from_numpy(given.copy()).view(target.dtype).reshape(target.shape))
