"""One Ray on this machine for all tests here, of one node to which a test may add another."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import mortal

STORE = 80 << 20
"""Bytes of a node's object store: about the least that Ray takes."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A head with room for two workers, which this process is connected to."""
    import ray
    from ray.cluster_utils import Cluster

    soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 3}
    with tempfile.TemporaryDirectory(prefix="ray-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)  # short, for the names of its sockets
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        (Path(folder) / "ray").mkdir()
        made = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 2,
                "object_store_memory": STORE,
                "include_dashboard": False,
                "_system_config": soon,
            },
        )
        try:
            ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
            ray.cloudpickle.register_pickle_by_value(mortal)
            yield made
        finally:
            ray.shutdown()
            made.shutdown()
