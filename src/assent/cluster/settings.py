"""Where a stage's rollouts are drawn and scored, as settings of the stage.  No Ray is loaded here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from assent.config import Settings

_ELSEWHERE: dict[str, Any] = {"identity": False}
"""Where the work is done changes no result, so it is no part of what a stage is."""


class ClusterSettings(Settings):
    """Rollout and reward workers."""

    cluster: Literal["ray"] | None = Field(default=None, json_schema_extra=_ELSEWHERE)
    """Draw rollouts on workers of a Ray cluster (extra ray); unset = in the stage's own process."""
    cluster_address: str = Field(default="local", json_schema_extra=_ELSEWHERE)
    """local starts Ray on this machine for the stage; auto, or HOST:PORT, is a cluster that runs."""
    rollout_workers: int = Field(default=2, gt=0, json_schema_extra=_ELSEWHERE)
    """Processes that draw, each with a copy of the policy and slots of its own."""
    reward_workers: int = Field(default=0, ge=0, json_schema_extra=_ELSEWHERE)
    """Processes that score, each with the source of rewards; 0 = the stage's own process scores."""
    cpus_per_worker: int = Field(default=1, gt=0, json_schema_extra=_ELSEWHERE)
    """Cores of each worker, and threads that it computes with."""
    gpus_per_worker: float = Field(default=0.0, ge=0.0, json_schema_extra=_ELSEWHERE)
    """GPUs of each worker; a half lets two share one."""
    train_on_cluster: bool = Field(default=False, json_schema_extra=_ELSEWHERE)
    """Also train in a process of the cluster, as large as a worker, which sees the same folders: shared storage. It is
    begun again from the last checkpoint where its node dies."""
    worker_timeout: float = Field(default=300.0, gt=0.0, json_schema_extra=_ELSEWHERE)
    """Seconds without any worker, as when their nodes are gone, after which the stage gives up."""
