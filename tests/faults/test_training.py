"""A loss that is not a number, memory that runs out, and a clock that is set back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_disk import SFT, Tell, ends, here

from assent.feedback.answers import Answer
from assent.feedback.questions import Question
from assent.feedback.responses import Preference
from assent.feedback.store import FeedbackStore
from assent.runs.manifest import read_manifest
from assent.training import gradient
from assent.types import Prompt
from benchmarks.crash import differences

__all__ = ["here"]


@pytest.mark.fault("a loss is NaN")
def test_nan(capsys: pytest.CaptureFixture[str], happened: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(capsys, f"{SFT} --out whole/out", 0)
    reduce_loss, calls = gradient.reduce_loss, 0

    def spoilt(*given: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = reduce_loss(*given)
        return loss * float("nan") if calls == 6 else loss

    with monkeypatch.context() as patch:
        patch.setattr(gradient, "reduce_loss", spoilt)
        said = ends(capsys, f"{SFT} --out out", 1)
    (batch,) = torch.load("out.partial/nonfinite-batch.pt", weights_only=True)
    assert batch["tokens"].shape == batch["mask"].shape
    ends(capsys, f"{SFT} --out out", 0)
    Path("out/nonfinite-batch.pt").unlink(missing_ok=True)
    assert [x for x in differences(Path("whole/out"), Path("out")) if x != "nonfinite-batch.pt"] == []
    happened(f"stopped before the update: “{said}”; the same command went on from the last checkpoint to the same bits")


LIMITED = """
import re, resource, sys
from assent.cli import main
from assent.training import loop
ran = loop.Training.run
def run(self):
    size = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[1]) * 2**20,) * 2)
    ran(self)
loop.Training.run = run
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.fault("memory runs out in a microbatch")
def test_out_of_memory(happened: Tell) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from assent.testing.tiny import tiny_tokenizer

    torch.manual_seed(0)
    shape = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=300, **shape)).save_pretrained("larger")
    tiny_tokenizer().save_pretrained("larger")
    rows = [{"prompt": f"The film {i}", "completion": " good and slow" * (20 + i % 5)} for i in range(64)]
    Path("many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = "sft --model larger --data many.jsonl --max-steps 2 --batch-size 64 --token-budget 16384"
    said: dict[str, str] = {}
    for out, megabytes in (("whole", 8_000), ("limited", 300)):
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(megabytes), *command.split(), "--out", out],
            env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said[out] = done.stdout
    assert "out of memory" not in said["whole"]
    (line, *_) = re.findall("out of memory: .*", said["limited"])
    one, two = (load_file(f"{out}/model.safetensors") for out in said)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-5, rtol=0, msg=name)
    happened(f"“{re.sub(r'[0-9]+', 'N', line)}”")


@pytest.mark.fault("the clock is set back by a day")
def test_clock_set_back(
    capsys: pytest.CaptureFixture[str], happened: Tell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("r.yaml").write_text("stages:\n  sft: {model: policy, data: demos.jsonl, max_steps: 2}\n")
    ends(capsys, "run r.yaml --out run", 0)
    identity = read_manifest("run/sft").identity
    with FeedbackStore.open("f.db") as store:
        store.add_questions([Question("q", Prompt("p", text="a"), ("x", "y"), ("b", "c"), task="pairwise", overlap=1)])
        first = store.add_answers([Answer("q", "ann", Preference(1))])[0]
        store.add_questions([Question("r", Prompt("p", text="a"), ("x", "z"), ("b", "d"), task="pairwise", overlap=1)])
        assert not isinstance(store.work.take("ann"), str)
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() - 86_400)
        ends(capsys, "run r.yaml --out run", 0)
        assert "done before" in capsys.readouterr().out or read_manifest("run/sft").identity == identity
        ends(capsys, "run r.yaml --out run --set sft.max_steps=3", 0)
        assert read_manifest("run/sft").settings["max_steps"] == 3
        ends(capsys, "status run", 0)
        store.add_answers([Answer("q", "ann", Preference(-2), supersedes=first)])
        (standing,) = store.answers()
        assert standing.response == Preference(-2)
        assert not isinstance(store.work.take("bob"), str), "a lease of tomorrow kept the question from others"
    happened(
        "what was done is known, what changed ran again; a correction stands, and no question stays leased for a day"
    )
