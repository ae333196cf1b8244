"""vLLM, in the environment that scripts/make-vllm-env.sh makes."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from assent.errors import ModelError
from assent.rollout.vllm import VLLMEngine
from assent.testing.tiny import tiny_tokenizer

ROOT = Path(__file__).resolve().parents[3]
PYTHON = Path(os.environ.get("ASSENT_VLLM_PYTHON", ROOT / ".venv-vllm" / "bin" / "python"))
SCRIPT = """
import json, sys
import torch
from transformers import AutoModelForCausalLM
from assent.rollout.engine import EncodedPrompt
from assent.rollout.vllm import VLLMEngine
from assent.testing.engine import check_engine
from assent.types import SamplingSettings

first, second = sys.argv[1:]
prompts = [EncodedPrompt("a", (5, 40)), EncodedPrompt("b", (7, 8, 9)), EncodedPrompt("c", (50, 60, 70, 80))]
engine = VLLMEngine(first, dtype="float32", enforce_eager=True, max_model_len=64)
check_engine(engine, prompts)

def worst(folder):
    # logprobs of the engine against a forward pass of the folder's own weights
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    gap = 0.0
    for c in engine.generate(prompts, SamplingSettings(max_new_tokens=12, temperature=0.7, seed=3), 4):
        ids = torch.tensor([c.prompt_token_ids + c.token_ids])
        with torch.no_grad():
            logits = model(ids).logits[0, len(c.prompt_token_ids) - 1 : -1] / 0.7
        want = torch.log_softmax(logits, -1).gather(1, torch.tensor(c.token_ids)[:, None])[:, 0]
        gap = max(gap, float((want - torch.tensor(c.logprobs)).abs().max()))
    return gap

found = {"first": worst(first), "stale": worst(second)}
engine.load_weights(AutoModelForCausalLM.from_pretrained(second).state_dict().items())
found["second"] = worst(second)
cut = engine.generate(prompts, SamplingSettings(max_new_tokens=12, top_k=5), 1)[0]
found["truncated"] = [len(cut.logprobs), len(cut.sampling_logprobs) == len(cut.token_ids)]
engine.close()
print("found " + json.dumps(found))
"""


def test_without_vllm_the_error_says_what_to_install(tmp_path: Path):
    with pytest.raises(ModelError, match=r"install it with `pip install assent\[vllm\]`"):
        VLLMEngine(str(tmp_path))


def make_models(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        tokenizer = tiny_tokenizer()
        torch.manual_seed(seed)
        model: Any = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(
                "qwen2",
                vocab_size=len(tokenizer),
                hidden_size=128,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=2,  # heads of 64: vLLM's attention on a CPU has none of 8
                num_key_value_heads=1,
                max_position_embeddings=64,
                initializer_range=0.2,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def run_there(folder: Path, *words: str | Path) -> str:
    """What the environment's Python prints."""
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [PYTHON, *words],
        cwd=folder,
        env={**os.environ, **settings, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


needs_vllm = pytest.mark.skipif(not PYTHON.exists(), reason=f"no vLLM at {PYTHON}: scripts/make-vllm-env.sh makes it")


@pytest.mark.vllm
@pytest.mark.slow
@needs_vllm
def test_it_keeps_its_promises_and_takes_new_weights(tmp_path: Path):
    make_models(tmp_path, "first", "second")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    found = json.loads(run_there(tmp_path, script, "first", "second").split("found ")[-1])
    assert found["first"] < 1e-4
    assert found["second"] < 1e-4
    assert found["stale"] > 0.1  # so the second could not have passed with the first's weights
    assert found["truncated"] == [0, True]


@pytest.mark.vllm
@pytest.mark.slow
@needs_vllm
@pytest.mark.parametrize("adapter", [(), ("--adapter", "lora")])
def test_a_training_on_its_rollouts_has_them_from_the_newest_weights(tmp_path: Path, adapter: tuple[str, ...]):
    make_models(tmp_path, "policy")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"The film {i}"}) + "\n" for i in range(8)))
    (tmp_path / "rules.py").write_text("def vowels(prompt, completion):\n    return float(completion.count('e'))\n")
    words = ["-m", "assent", "grpo", "--model", "policy", "--data", "prompts.jsonl", "--engine", "vllm"]
    words += ["--reward-function", "rules.py:vowels", "--max-steps", "4", "--batch-size", "16"]
    words += ["--learning-rate", "1e-2", "--max-new-tokens", "12"]
    run_there(tmp_path, *words, "--out", "out", *adapter)
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert max(row["engine_mismatch"] for row in rows) < 1e-4
    assert rows[-1]["kl"] > 0.1  # so rollouts of the first weights would have been far off
