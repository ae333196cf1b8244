"""Kills small runs with SIGKILL and asks whether they end with the bits of a run that was never killed.

``python -m benchmarks.crash --kills 100 [--only sft ppo] [--seed 0]``.  The kills are spread evenly over the algorithms
and stages.  A third of them strike within the writing of a checkpoint, the others at a moment drawn evenly from the
run's whole time; half of the runs are killed once more while they go on.  Each run is a process of its own, forked from
one that has torch loaded.  What is compared: every file of the finished folder, but for the readings of the clock
(``timing.jsonl``, times in ``manifest.json``) and the feedback store, whose answers are compared as rankings.

The last line is JSON: ``kills``, ``in_save``, ``identical``, ``repeated_max_intervals`` (optimiser steps that were done
twice, in checkpoint intervals) and ``checkpoint_overhead`` (share of a run's time at the default interval that the loop
stood still for checkpoints, with the writing thread's own CPU time added).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from assent.pipeline.run import run_stage
from assent.pipeline.schema import load_stage
from assent.runs.folder import partial_of, read_jsonl
from assent.runs.manifest import has_manifest, read_manifest
from assent.training import checkpoint, loop
from benchmarks.crash_jobs import SAVE_STEPS, Job, jobs, make_workshop

SEED = 5
_APART = ("timing.jsonl", "manifest.json", "feedback.db", "feedback.db-wal", "feedback.db-shm")


class _Quiet:
    """Says what the stage says into a file."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def say(self, text: str) -> None:
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(text + "\n")

    def start(self, label: str, total: int | None) -> None: ...
    def advance(self, amount: int = 1, **figures: float) -> None: ...
    def stop(self) -> None: ...


@dataclass
class Tally:
    """What happened."""

    kills: int = 0
    in_save: int = 0
    identical: int = 0
    repeated: float = 0.0
    differing: list[str] = field(default_factory=list)


# --- runs in processes of their own ----------------------------------------------------------------------------------


def start(job: Job, out: Path, inside: Callable[[], None] = lambda: None) -> int:
    """Fork a process that runs the job into ``out``; its id.  ``inside`` is called there first."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setpgid(0, 0)
        inside()
        quiet = _Quiet(out.with_name("log"))
        run_stage(job.kind, job.settings, out, seed=SEED, say=quiet.say, progress=quiet)
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def finish(process: int) -> int:
    """Wait for a process; minus the number of the signal that ended it, or its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_after(process: int, seconds: float) -> bool:
    """Kill it when so much time has gone; false when it had ended by itself."""
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    status = finish(process)
    if status > 0:
        raise SystemExit("a run failed by itself; see the traceback above")
    return status == -signal.SIGKILL


def watch_saves(at: int | None, tell: int, by_itself: bool) -> None:
    """Within a run: count what it does to its checkpoints; at event ``at`` kill itself, or tell who kills it.

    The events are those of the interpreter's audit: a file is opened, a folder made, renamed or deleted.
    """
    seen = 0

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link"):
            return
        if not any(isinstance(x, (str, os.PathLike)) and "checkpoints" in str(x) for x in given):
            return
        seen += 1
        if at is None:
            os.write(tell, b"+")
        elif seen == at:
            if by_itself:
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(tell, b"+")

    sys.addaudithook(hook)


def count_saves(job: Job, out: Path) -> int:
    """How many such events an unkilled run has."""
    reader, writer = os.pipe()
    process = start(job, out, lambda: watch_saves(None, writer, False))
    os.close(writer)
    count = 0
    while chunk := os.read(reader, 65536):
        count += len(chunk)
    os.close(reader)
    assert finish(process) == 0
    return count


def kill_in_save(job: Job, out: Path, at: int, draw: random.Random) -> bool:
    """Start the job and kill it at an event of its saving, or up to 3 ms after; false when it ended before."""
    reader, writer = os.pipe()
    by_itself = draw.random() < 0.5
    process = start(job, out, lambda: watch_saves(at, writer, by_itself))
    os.close(writer)
    told = os.read(reader, 1)
    os.close(reader)
    return kill_after(process, draw.uniform(0.0, 0.003) if told else 0.0)


# --- one kind of run -------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """One job, its unkilled run, and kills of others like it."""

    job: Job
    home: Path
    draw: random.Random
    tally: Tally

    def __post_init__(self) -> None:
        self.folder("whole").mkdir(parents=True)
        begun = time.perf_counter()
        assert finish(start(self.job, self.out("whole"))) == 0, f"{self.job.name} failed"
        self.seconds = time.perf_counter() - begun
        self.events = 0

    def folder(self, name: str) -> Path:
        return self.home / self.job.name.replace(" ", "-") / name

    def out(self, name: str) -> Path:
        return self.folder(name) / "out"

    def kill(self, name: str, in_save: bool) -> None:
        """Kill the run (begun or gone on with) once."""
        for attempt in range(30):
            log = self.out(name).with_name("log")
            log.unlink(missing_ok=True)
            if in_save and self.job.trains:
                done = kill_in_save(self.job, self.out(name), self.draw.randint(1, self._events()), self.draw)
            else:  # a run that had ended before is begun again, and killed earlier
                share = self.draw.random() * 0.95**attempt
                done = kill_after(start(self.job, self.out(name)), share * self.seconds)
            self._count_repeated(name)
            if done:
                self.tally.kills += 1
                checkpoints = partial_of(self.out(name)) / "checkpoints"
                self.tally.in_save += bool(list(checkpoints.glob("*.tmp")))
                return
            shutil.rmtree(self.folder(name))
            self.folder(name).mkdir()
        raise SystemExit(f"{self.job.name}: thirty runs ended before they were killed")

    def _events(self) -> int:
        if not self.events:
            self.folder("counted").mkdir()
            self.events = count_saves(self.job, self.out("counted"))
        return self.events

    def _count_repeated(self, name: str) -> None:
        """Steps that were done before the last kill and were, or will have to be, done again."""
        if not self.job.trains:
            return
        marks, partial = self.folder(name) / "steps", partial_of(self.out(name))
        log = self.folder(name) / "log"
        before = int(marks.read_text()) if marks.exists() else 0
        rows = len(read_jsonl(partial / "metrics.jsonl"))
        _, went_on, said = log.read_text().rpartition("going on from step ") if log.exists() else ("", "", "")
        if before and went_on:
            self.tally.repeated = max(self.tally.repeated, (before - int(said.split()[0])) / SAVE_STEPS)
        elif before and (rows < before or self.out(name).exists()):
            self.tally.repeated = max(self.tally.repeated, before / SAVE_STEPS)
        marks.write_text("0" if has_manifest(partial) else str(rows))  # one with a manifest repeats nothing

    def ends_alike(self, name: str) -> bool:
        """Go on to the end; whether every file has the bits of the unkilled run's."""
        log = self.out(name).with_name("log")
        log.unlink(missing_ok=True)
        if finish(start(self.job, self.out(name))) != 0:
            self.tally.differing.append(f"{self.job.name}: failed as it went on; see {self.folder(name)}")
            return False
        self._count_repeated(name)
        found = differences(self.out("whole"), self.out(name))
        if found:
            self.tally.differing.append(f"{self.job.name}: {', '.join(found)} differ; see {self.folder(name)}")
        else:
            shutil.rmtree(self.folder(name))
        return not found


def differences(one: Path, two: Path) -> list[str]:
    """The files that are not the same in both folders."""
    names = [{str(p.relative_to(x)) for p in x.rglob("*") if p.is_file()} for x in (one, two)]
    here, there = ({name for name in found if name not in _APART} for found in names)
    found = sorted(here ^ there) + sorted(n for n in here & there if (one / n).read_bytes() != (two / n).read_bytes())
    manifests = [read_manifest(folder) for folder in (one, two)]
    if len({(m.identity, json.dumps(dict(m.metrics))) for m in manifests}) > 1:
        found.append("manifest.json")
    return found


# --- what checkpoints cost -------------------------------------------------------------------------------------------


def overhead(home: Path, steps: int) -> float:
    """Share of a run's time at the default interval: the loop's standing still, and the writer's CPU time."""
    reader, writer = os.pipe()

    def measured() -> None:
        spent = {"still": 0.0, "written": 0.0}

        def timed(name: str, clock: Callable[[], float], function: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*given: Any, **named: Any) -> Any:
                begun = clock()
                try:
                    return function(*given, **named)
                finally:
                    spent[name] += clock() - begun

            return wrapped

        loop.Training.begin_saving = timed("still", time.perf_counter, loop.Training.begin_saving)
        checkpoint.Saver.wait = timed("still", time.perf_counter, checkpoint.Saver.wait)
        checkpoint.write_checkpoint = timed("written", time.thread_time, checkpoint.write_checkpoint)
        ran = loop.Training.run

        def run(training: Any) -> None:
            begun = time.perf_counter()
            ran(training)
            os.write(writer, json.dumps({**spent, "all": time.perf_counter() - begun}).encode())

        loop.Training.run = run

    job = jobs()["sft"]
    settings = {
        **job.settings,
        "max_steps": steps,
        "batch_size": 32,
        "load_best_model_at_end": False,
        "eval_split": 0.0,
    }
    del settings["save_steps"]  # the default interval
    (home / "overhead").mkdir()
    process = start(Job("sft", "sft", settings), home / "overhead" / "out", measured)
    os.close(writer)
    found = json.loads(os.read(reader, 65536))
    os.close(reader)
    assert finish(process) == 0
    return (found["still"] + found["written"]) / found["all"]


def crash(kills: int, only: list[str], seed: int, home: Path) -> Tally:
    """The kills, evenly over the jobs."""
    tally, known = Tally(), jobs()
    chosen = [known[name] for name in only] if only else list(known.values())
    for job in chosen:
        load_stage(job.kind)
    share = [kills // len(chosen) + (place < kills % len(chosen)) for place in range(len(chosen))]
    for job, wanted in zip(chosen, share, strict=True):
        if not wanted:
            continue
        draw = random.Random(f"{seed} {job.name}")
        bench, left = Bench(job, home, draw, tally), wanted
        while left:
            name = f"killed-{left}"
            bench.folder(name).mkdir()
            times = min(left, draw.choice((1, 2)))
            for _ in range(times):
                bench.kill(name, in_save=(tally.kills % 3) != 2 if job.trains else False)
            tally.identical += times * bench.ends_alike(name)
            left -= times
        print(f"{job.name:24} {wanted:3} kills, {bench.seconds:5.1f} s unkilled", flush=True)
    return tally


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="1000 takes about ten times as long")
    parser.add_argument("--only", nargs="*", default=[], choices=list(jobs()), metavar="NAME", help="these runs alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400, help="steps of the run that the cost is measured in")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    home = Path(tempfile.mkdtemp(prefix="assent-crash-"))
    before = Path.cwd()
    try:
        make_workshop(home)
        os.chdir(home)
        tally = crash(given.kills, given.only, given.seed, home)
        cost = overhead(home, given.steps)
    finally:
        os.chdir(before)
    for line in tally.differing:
        print(line)
    if not tally.differing:
        shutil.rmtree(home)
    print(f"{tally.identical} of {tally.kills} ended with the same bits, {tally.in_save} killed within a save")
    result = {
        "kills": tally.kills,
        "in_save": tally.in_save,
        "identical": tally.identical,
        "repeated_max_intervals": round(tally.repeated, 3),
        "checkpoint_overhead": round(cost, 5),
    }
    print(json.dumps(result))
    return int(tally.identical != tally.kills)


if __name__ == "__main__":
    raise SystemExit(main())
