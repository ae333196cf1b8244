"""Decoding by `transformers`' generate, run in TRL's environment: `python transformers_side.py JOB.json`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"])).eval()
    model.generation_config.eos_token_id = None
    lines = Path(job["data"]).read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(lines[i])["prompt"] for i in job["order"]]
    seconds, tokens = list[float](), list[int]()
    for start in range(0, len(prompts), job["batch"]):
        begun = time.perf_counter()
        batch = tokenizer(prompts[start : start + job["batch"]], return_tensors="pt", padding=True)
        out = model.generate(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            do_sample=True,
            top_k=0,
            top_p=1.0,
            max_new_tokens=job["new"],
            pad_token_id=tokenizer.pad_token_id,
        )
        new = out[:, batch.input_ids.shape[1] :]
        tokenizer.batch_decode(new)
        seconds.append(time.perf_counter() - begun)
        tokens.append(new.numel())
    Path(job["result"]).write_text(json.dumps({"seconds": seconds, "tokens": tokens}), encoding="ascii")


if __name__ == "__main__":
    main()
