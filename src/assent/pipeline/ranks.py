"""Several processes for the stages that train: how they are started, told what to do, and ended.

``assent ... --nproc N`` starts N processes of the same command by PyTorch's elastic launcher, as ``torchrun -m assent``
does.  The first runs the command as ever.  The others wait in :func:`follow`; where the first comes to a stage that
trains, all run it together (:func:`run_together`).  They share the launcher's store, in which the first leaves what is
to be run, and any of them what went wrong.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from assent.errors import AssentError, RunError, UserError
from assent.pipeline.guards import terminable
from assent.pipeline.stage import Context, Metrics, NoProgress, Stage, Waiting

_END = "assent/end"
_JOB = "assent/job/{}"
_FAILURE = "assent/failure/{}"
_POLL = 0.05
"""Seconds between looks into the store."""
_LEFT_TO_THE_FIRST = 10.0
"""Seconds in which the first process tells what went wrong here."""
_TO_SAVE = 3600
"""Seconds that the processes get to save when they are asked to stop."""

_jobs = count()


@dataclass(frozen=True)
class Job:
    """A stage to run together."""

    kind: str
    values: dict[str, Any]
    where: str
    out: Path
    seed: int
    run_dir: Path


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    there = {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    return there and int(os.environ.get("WORLD_SIZE", "1")) > 1


def follows() -> bool:
    """Whether it is another than the first of them."""
    return launched() and os.environ["RANK"] != "0"


# --- the launcher ----------------------------------------------------------------------------------------------------


def launch(arguments: Sequence[str], nproc: int) -> int:
    """Run the command line ``assent ARGUMENTS`` in ``nproc`` processes; its exit status."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # the first process says what there is to say
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=nproc,
        run_id=f"assent-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        shutdown_timeout=_TO_SAVE,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "assent", *arguments)
        return 0
    except SignalException:
        return 130
    except ChildFailedError as failed:
        if 0 not in failed.failures:
            return UserError.exit_status  # another was lost: the first has said so
        status = failed.failures[0].exitcode
        if status < 0:
            name = signal.Signals(-status).name
            raise RunError(f"the first process was ended by {name}; the same command goes on from there") from None
        return status


# --- the processes ---------------------------------------------------------------------------------------------------


def run_together(stage: Stage, settings: Any, values: dict[str, Any], where: str, context: Context) -> Metrics:
    """Run the stage, in the first process: with the others, where there are such and the stage trains."""
    if not (launched() and stage.trains):
        return stage.run(settings, context)
    from assent.training import distributed

    number = next(_jobs)
    job = Job(stage.kind, values, where, context.out.resolve(), context.seed, context.run_dir.resolve())
    distributed.launcher_store().set(_JOB.format(number), pickle.dumps(job))
    try:
        with _at_work():
            return stage.run(settings, context)
    except (AssentError, Waiting, KeyboardInterrupt):
        raise
    except Exception as error:
        _raise_for(error, number)


def follow() -> int:
    """What a process that is not the first does until the first ends; its exit status."""
    from assent.training import distributed

    _end_with_launcher()
    store = distributed.launcher_store()
    with terminable():
        for number in count():
            try:
                while not store.check([_JOB.format(number)]):
                    if store.check([_END]):
                        return 0
                    time.sleep(_POLL)
                _run(pickle.loads(store.get(_JOB.format(number))))
            except Waiting:
                continue
            except KeyboardInterrupt:
                return 130
            except Exception as error:
                with contextlib.suppress(Exception):
                    store.set(_FAILURE.format(number), _pickled(error))
                distributed.leave()
                return 0 if _ended(store) else 1  # the first one's status is the command's
    raise AssertionError("unreachable")


def dismiss() -> None:
    """Let the others end: called by the first when it does."""
    if launched():
        from assent.training import distributed

        with contextlib.suppress(Exception):
            distributed.launcher_store().set(_END, b"1")
            distributed.leave()


def _run(job: Job) -> None:
    from assent.config import make_settings
    from assent.pipeline import schema

    stage = schema.load_stage(job.kind)
    settings = make_settings(stage.Settings, job.values, job.where)
    with _at_work():
        stage.run(settings, Context(job.out, job.seed, NoProgress(), lambda line: None, job.run_dir))


@contextlib.contextmanager
def _at_work() -> Generator[None]:
    """In the group, with this process's part of the machine's threads unless ``OMP_NUM_THREADS`` says how many."""
    import torch

    from assent.training import distributed

    distributed.join()
    threads = torch.get_num_threads()
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or distributed.size())
    try:
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, threads // here))
        yield
    finally:
        torch.set_num_threads(threads)


def _raise_for(error: Exception, number: int) -> NoReturn:
    """What another process left in the store, or that one was lost; the error itself where it is this process's own."""
    from assent.training import distributed

    with contextlib.suppress(Exception):
        store = distributed.launcher_store()
        if store.check([_FAILURE.format(number)]):
            told: Exception = pickle.loads(store.get(_FAILURE.format(number)))
            raise told from None
    if _lost_another(error):
        raise RunError(
            "another of the processes that train was lost (killed, or out of memory); the same command goes on from "
            "the last checkpoint"
        ) from error
    raise error


def _lost_another(error: Exception) -> bool:
    import torch.distributed as dist

    words = ("Connection closed by peer", "Connection reset by peer", "gloo", "NCCL")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)


def _pickled(error: Exception) -> bytes:
    """An error that the first process can raise as its own."""
    if isinstance(error, AssentError):
        with contextlib.suppress(Exception):
            told = pickle.dumps(error)
            pickle.loads(told)
            return told
    if isinstance(error, UserError):
        return pickle.dumps(RunError(str(error)))
    lines = "".join(traceback.format_exception(error))
    return pickle.dumps(RuntimeError(f"in process {os.environ['RANK']}: {lines}"))


def _ended(store: Any) -> bool:
    """Whether the first process has told what went wrong and ended, after some time at most."""
    until = time.monotonic() + _LEFT_TO_THE_FIRST
    while time.monotonic() < until:
        if store.check([_END]):
            return True
        time.sleep(_POLL)
    return False


def _end_with_launcher() -> None:
    """Ask this process to stop, as Ctrl-C does, once the process that started it is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="launcher").start()
