"""Decoding by assent, `transformers` and vLLM in turn: sampled, at a batch size, with the end-of-sequence token off."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.vs_trl.data import Shape, Texts, make_models, prompts, write_rows
from benchmarks.vs_trl.environments import TRL, VLLM
from benchmarks.vs_trl.process import TUNED_ALLOCATOR, Run, run_job, write_json
from benchmarks.vs_trl.works import Precision

SIZES = (32, 128)
"""Rows decoded at once."""
VLLM_VARIABLES = {
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


@dataclass(frozen=True)
class DecodeBench:
    """One batch size, set up in a folder: a few batches, of which the first is left out."""

    batch: int
    new: int
    model: Path
    folder: Path
    data: Path

    @classmethod
    def set_up(cls, batch: int, shape: Shape, folder: Path, new: int = 128, batches: int = 4) -> DecodeBench:
        policy, _ = make_models(folder, shape)
        rows = prompts(Texts(shape.vocabulary, 4), batch * batches)
        return cls(batch, new, policy, folder, write_rows(folder / f"decode-{batch}.jsonl", rows))

    def assent(self, precision: Precision) -> Run:
        """The command that users type."""
        out = self.folder / "assent-sample"
        shutil.rmtree(out, ignore_errors=True)
        options = {
            "model": self.model,
            "data": self.data,
            "slots": self.batch,
            "max-new-tokens": self.new,
            "min-new-tokens": self.new,
            "rollout-dtype": precision,
            "out": out,
        }
        words = [
            "-m",
            "assent",
            "sample",
            *(word for key, value in options.items() for word in (f"--{key}", str(value))),
        ]
        peak, others = run_job(sys.executable, words, self.folder / "assent.log")
        rows = [json.loads(line) for line in (out / "timing.jsonl").read_text(encoding="ascii").splitlines()]
        return Run(tuple(row["seconds"] for row in rows), tuple(row["tokens"] for row in rows), peak, others)

    def transformers(self, precision: Precision) -> Run:
        return self._other(TRL.make(), "transformers_side.py", precision, TUNED_ALLOCATOR)

    def vllm(self, precision: Precision) -> Run:
        return self._other(VLLM.make(), "vllm_side.py", precision, VLLM_VARIABLES)

    def _other(self, python: Path, script: str, precision: Precision, variables: dict[str, str]) -> Run:
        result = self.folder / "decode-result.json"
        job = {
            "model": str(self.model),
            "data": str(self.data),
            "order": list(range(sum(1 for _ in self.data.open(encoding="utf-8")))),
            "batch": self.batch,
            "new": self.new,
            "dtype": precision,
            "eager": True,
            "result": str(result),
        }
        words = [str(Path(__file__).parent / script), str(write_json(self.folder / "decode-job.json", job))]
        peak, others = run_job(python, words, self.folder / f"{script}.log", variables)
        found = json.loads(result.read_text(encoding="ascii"))
        return Run(tuple(found["seconds"]), tuple(found["tokens"]), peak, others)
