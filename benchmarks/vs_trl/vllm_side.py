"""Decoding by vLLM, run in its own environment: `python vllm_side.py JOB.json`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams


def main() -> None:
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    engine = LLM(
        job["model"],
        dtype=job["dtype"],
        max_num_seqs=job["batch"],
        max_model_len=256,
        enable_prefix_caching=False,
        enforce_eager=job["eager"],
        seed=0,
    )
    sampling = SamplingParams(temperature=1.0, max_tokens=job["new"], ignore_eos=True)
    lines = Path(job["data"]).read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(lines[i])["prompt"] for i in job["order"]]
    seconds, tokens = list[float](), list[int]()
    for start in range(0, len(prompts), job["batch"]):
        begun = time.perf_counter()
        found = engine.generate(prompts[start : start + job["batch"]], sampling, use_tqdm=False)
        seconds.append(time.perf_counter() - begun)
        tokens.append(sum(len(output.outputs[0].token_ids) for output in found))
    Path(job["result"]).write_text(json.dumps({"seconds": seconds, "tokens": tokens}), encoding="ascii")


if __name__ == "__main__":
    main()
