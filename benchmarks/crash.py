"""Kills small runs with SIGKILL and asks whether they end with the bits of a run that was never killed.

``python -m benchmarks.crash --kills 100 [--only sft ppo] [--seed 0]``.  The kills are spread evenly over the algorithms
and stages.  Half of those of training strike while a checkpoint is being written, the others at anything else that is
done to the checkpoints, or at a moment drawn evenly from the run's whole time.  A run is killed up to three times as it
goes on.  Each is a process of its own, forked from one that has torch loaded.
What is compared: every file of the finished folder, but for the readings of the clock
(``timing.jsonl``, times in ``manifest.json``) and the feedback store, whose answers are compared as rankings.

The last line is JSON: ``kills``, ``in_save``, ``identical``, ``repeated_max_intervals`` (optimiser steps that were done
twice, in checkpoint intervals), ``checkpoint_overhead`` (share of a run's time at the default interval that the loop
stood still for checkpoints, with the writing thread's own CPU time added; the median of ``--repeats`` runs) and
``checkpoint_overhead_range`` (the least and the most of them).  ``--kills 0`` measures the cost alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from assent.pipeline.schema import load_stage
from assent.runs.folder import CHECKPOINTS, partial_of, read_jsonl
from assent.runs.manifest import has_manifest, read_manifest
from assent.training import checkpoint, loop
from benchmarks.crash_jobs import SAVE_STEPS, Job, jobs, make_workshop
from benchmarks.crash_runs import count_events, finish, kill_after, kill_at, start

_APART = ("timing.jsonl", "manifest.json", "feedback.db", "feedback.db-wal", "feedback.db-shm")


@dataclass
class Tally:
    """What happened."""

    kills: int = 0
    in_save: int = 0
    aimed: int = 0
    """Kills meant for the writing of a checkpoint; half of them strike up to 3 ms later, when it may have ended."""
    identical: int = 0
    repeated: float = 0.0
    faults: list[str] = field(default_factory=list)


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
        self.events = (0, 0)
        if self.job.trains:
            self.folder("counted").mkdir()
            self.events = count_events(self.job, self.out("counted"))

    def folder(self, name: str) -> Path:
        return self.home / self.job.name.replace(" ", "-") / name

    def out(self, name: str) -> Path:
        return self.folder(name) / "out"

    def round(self, name: str, most: int) -> int:
        """Kill a run, up to ``most`` times as it goes on; let it end, and compare.  Returns the kills."""
        struck = missed = 0
        self.folder(name).mkdir()
        while struck < most:
            if self._kill(name, 0.5 if struck else 0.95**missed):
                struck += 1
            elif struck:  # what went on has ended
                break
            else:
                missed += 1
                if missed == 100:
                    raise SystemExit(f"{self.job.name}: a hundred runs ended before they were killed")
                shutil.rmtree(self.folder(name))
                self.folder(name).mkdir()
        self.tally.identical += struck * self._ends_alike(name)
        return struck

    def _kill(self, name: str, share: float) -> bool:
        """Start the run, or go on with it, and kill it within ``share`` of what it does; false when it had ended."""
        out, draw, tally = self.out(name), self.draw, self.tally
        begun = time.time()
        in_save = self.job.trains and 2 * tally.in_save <= tally.kills
        if in_save or (self.job.trains and draw.random() < 0.5):
            at = draw.randint(1, max(1, round(share * self.events[in_save])))
            delay = draw.uniform(0.0, 0.003) if tally.aimed % 2 else None
            done = kill_at(self.job, out, at, in_save, delay)
        else:
            done = kill_after(start(self.job, out), draw.random() * share * self.seconds)
        self._account(name)
        if done:
            asides = (partial_of(out) / CHECKPOINTS).glob("step-*.tmp")
            tally.kills += 1
            tally.aimed += in_save
            tally.in_save += any(aside.stat().st_mtime > begun for aside in asides)  # not one that an earlier kill left
        return done

    def _account(self, name: str) -> None:
        """Count the steps that had been done before the last kill and were done again; keep what is done by now."""
        if not self.job.trains:
            return
        folder, partial = self.folder(name), partial_of(self.out(name))
        done, begun, log = folder / "done", folder / "begun", folder / "log"
        at = begun.read_text() if begun.exists() else ""
        if at and done.exists():
            self.tally.repeated = max(self.tally.repeated, (int(done.read_text()) - int(at)) / SAVE_STEPS)
        done.write_text(str(0 if has_manifest(partial) else len(read_jsonl(partial / "metrics.jsonl"))))
        for line in log.read_text().splitlines() if log.exists() else []:
            if "is damaged" in line:
                self.tally.faults.append(f"{self.job.name}: {line}")

    def _ends_alike(self, name: str) -> bool:
        """Go on to the end; whether every file has the bits of the unkilled run's."""
        if finish(start(self.job, self.out(name))) != 0:
            self.tally.faults.append(f"{self.job.name}: failed as it went on; see {self.folder(name)}")
            return False
        self._account(name)
        found = differences(self.out("whole"), self.out(name))
        if found:
            self.tally.faults.append(f"{self.job.name}: {', '.join(found)} differ; see {self.folder(name)}")
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


def overhead(folder: Path, steps: int) -> float:
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

        def run(self: loop.Training) -> None:
            begun = time.perf_counter()
            ran(self)
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
    folder.mkdir()
    process = start(Job("sft", "sft", settings), folder / "out", measured)
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
            left -= bench.round(f"killed-{left}", min(left, draw.randint(1, 3)))
        print(f"{job.name:24} {wanted:3} kills, {bench.seconds:5.1f} s unkilled", flush=True)
    return tally


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="1000 takes about ten times as long; 0: the cost alone")
    parser.add_argument("--only", nargs="*", default=[], choices=list(jobs()), metavar="NAME", help="these runs alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400, help="steps of the run that the cost is measured in")
    parser.add_argument("--repeats", type=int, default=5, help="such runs")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    home = Path(tempfile.mkdtemp(prefix="assent-crash-"))
    before = Path.cwd()
    try:
        make_workshop(home)
        os.chdir(home)
        tally = crash(given.kills, given.only, given.seed, home)
        costs = sorted(overhead(home / f"overhead-{repeat}", given.steps) for repeat in range(max(1, given.repeats)))
    finally:
        os.chdir(before)
    for line in tally.faults:
        print(line)
    if not tally.faults:
        shutil.rmtree(home)
    print(f"{tally.identical} of {tally.kills} ended with the same bits, {tally.in_save} killed within a save")
    result = {
        "kills": tally.kills,
        "in_save": tally.in_save,
        "identical": tally.identical,
        "repeated_max_intervals": round(tally.repeated, 3),
        "checkpoint_overhead": round(statistics.median(costs), 5),
        "checkpoint_overhead_range": [round(costs[0], 5), round(costs[-1], 5)],
    }
    print(json.dumps(result))
    return int(bool(tally.faults))


if __name__ == "__main__":
    raise SystemExit(main())
