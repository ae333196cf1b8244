"""Training by both sides in turn, and the check that both compute the same gradient."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assent.data.microbatch import epoch_order
from benchmarks.vs_trl.data import Shape, Texts, make_models, write_rows
from benchmarks.vs_trl.environments import TRL, TRL_PPO
from benchmarks.vs_trl.process import TUNED_ALLOCATOR, Run, run_job, write_json
from benchmarks.vs_trl.works import Precision, Work, stage_settings, trl_job

SEED = 0
"""Of assent's stage; with it the order of the rows is known, and TRL gets them in that order."""
TRIES = 10
TOLERANCE = 1e-3
"""How far the two gradients may be from one another, relative to their norm."""


@dataclass(frozen=True)
class Bench:
    """A work of a shape, set up in a folder."""

    work: Work
    models: dict[str, Path]
    folder: Path
    data: Path
    vocabulary: int

    @classmethod
    def set_up(cls, work: Work, shape: Shape, folder: Path) -> Bench:
        """Models and data in ``folder``; the data are exactly the steps of a timed run."""
        policy, reward = make_models(folder, shape)
        rows = work.rows(Texts(shape.vocabulary, 1), work.steps * work.prompts_per_step)
        data = write_rows(folder / f"{work.name}.jsonl", rows)
        return cls(work, {"policy": policy, "reward": reward}, folder, data, shape.vocabulary)

    def trl(self, precision: Precision, steps: int, gradient: Path | None = None, seed: int = 0) -> Run:
        """TRL's run, with the tuned allocator."""
        environment = TRL_PPO if self.work.name == "ppo" else TRL
        job, result = self.folder / "trl.json", self.folder / "trl-result.json"
        each = self.work.prompts_per_step
        order = epoch_order(self.work.steps * each, SEED, 0)[: steps * each]
        settings = {
            **trl_job(self.work, self.models, self.data, precision, steps),
            "order": order.tolist(),
            "result": str(result),
            "scratch": str(self.folder / "trl-out"),
            "gradient": gradient and str(gradient),
            "seed": seed,
        }
        script = Path(__file__).parent / "trl_side.py"
        words = [str(script), str(write_json(job, settings))]
        peak, others = run_job(environment.make(), words, self.folder / "trl.log", TUNED_ALLOCATOR)
        found = json.loads(result.read_text(encoding="ascii"))
        return Run(tuple(found["seconds"]), self._counted(found["tokens"]), peak, others)

    def assent(self, precision: Precision) -> Run:
        """assent's run: the command that users type, and the timing log that it writes."""
        out = self.folder / f"assent-{self.work.name}"
        shutil.rmtree(out, ignore_errors=True)
        settings = stage_settings(self.work, self.models, self.data, precision, self.work.steps)
        words = ["-m", "assent", self.work.name, "--out", str(out), "--seed", str(SEED)]
        for name, value in settings.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        peak, others = run_job(sys.executable, words, self.folder / "assent.log")
        rows = [json.loads(line) for line in (out / "timing.jsonl").read_text(encoding="ascii").splitlines()]
        return Run(tuple(row["seconds"] for row in rows), self._counted([row["tokens"] for row in rows]), peak, others)

    def _counted(self, tokens: list[int]) -> tuple[int, ...]:
        """Generated tokens where there are rollouts, real tokens of the batch elsewhere."""
        generated = self.work.batch * self.work.new
        return tuple(generated if self.work.rollouts else n for n in tokens)

    def check_gradient(self) -> float:
        """The relative distance of the two sides' gradients of the same batch, or of the same rollouts, in float32."""
        gradient, result = self.folder / "gradient.pt", self.folder / "gradient.json"
        self._record(gradient)
        settings = stage_settings(self.work, self.models, self.data, "float32", self.work.steps)
        job: dict[str, Any] = {
            "work": self.work.name,
            "settings": settings,
            "seed": SEED,
            "out": str(self.folder / "gradient-out"),
            "gradient": str(gradient),
            "result": str(result),
        }
        words = ["-m", "benchmarks.vs_trl.assent_gradient", str(write_json(self.folder / "gradient-job.json", job))]
        run_job(sys.executable, words, self.folder / "gradient.log")
        return float(json.loads(result.read_text(encoding="ascii"))["relative"])

    def _record(self, gradient: Path) -> None:
        """TRL's first batch and its gradient; rollouts in which the padding token was sampled are drawn again.

        TRL's PPO takes that token for padding wherever it stands, and leaves it out; here it is a token like another.
        """
        for seed in range(TRIES):
            self.trl("float32", 1, gradient, seed)
            if not json.loads((self.folder / "trl-result.json").read_text(encoding="ascii"))["sampled_padding"]:
                return
        sys.exit(f"{self.work.name}: the padding token was sampled {TRIES} times in turn; is the model random?")
