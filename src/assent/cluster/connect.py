"""The connection to a Ray cluster, for as long as a stage runs."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Generator

import ray

from assent.cluster.settings import ClusterSettings
from assent.errors import RecipeError


@contextlib.contextmanager
def connected(settings: ClusterSettings) -> Generator[None]:
    """Within the block this process is connected to the cluster of the ``settings``.

    One that it is connected to already is taken as it is, and left so.  Raises :class:`RecipeError` where nothing
    answers at the address, or the cluster could never hold the workers.
    """
    if ray.is_initialized():
        _check_room(settings)
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    before = signal.getsignal(signal.SIGTERM)
    address = settings.cluster_address
    try:
        ray.init(
            address=address,
            include_dashboard=False if address == "local" else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise RecipeError(
            f"cluster_address '{address}': no Ray cluster can be reached ({said}); start one with 'ray start --head', "
            "or leave cluster_address out to start one on this machine"
        ) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray takes it, and a run that is told to stop saves first
    try:
        _check_room(settings)
        yield
    finally:
        ray.shutdown()


def _check_room(settings: ClusterSettings) -> None:
    """That each worker fits into some node, and on this machine alone, where no node will join, that all do."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = {"CPU": float(settings.cpus_per_worker), "GPU": settings.gpus_per_worker}
    count = settings.rollout_workers + settings.reward_workers + settings.train_on_cluster
    have = {name: sum(node.get(name, 0.0) for node in nodes) for name in wanted}
    remedy = "lower rollout_workers, reward_workers, cpus_per_worker or gpus_per_worker, or give the cluster more nodes"
    if not any(all(node.get(name, 0.0) >= amount for name, amount in wanted.items()) for node in nodes):
        raise RecipeError(
            f"cluster: ray: a worker needs {wanted['CPU']:g} CPUs and {wanted['GPU']:g} GPUs, and no node has them "
            f"(the cluster has {have['CPU']:g} CPUs and {have['GPU']:g} GPUs in all); {remedy}"
        )
    if settings.cluster_address == "local" and any(have[name] < count * wanted[name] for name in wanted):
        raise RecipeError(
            f"cluster: ray: {count} workers need {count * wanted['CPU']:g} CPUs and {count * wanted['GPU']:g} GPUs, "
            f"and this machine has {have['CPU']:g} and {have['GPU']:g}; {remedy}"
        )
