"""The quickstart's PPO as a loop of one's own: sample, score, step.

    assent run recipes/quickstart.yaml
    python examples/own_loop.py runs/quickstart out/own-ppo

The loop is yours: prompts, rewards, logs and when to stop.  With the stage's prompts in the stage's order, and its
settings and seed, it gives the stage's policy; the last line says how far apart the two are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import assent
from assent.data.readers import read_prompts
from assent.models.load import load_policy, load_reward_model
from assent.rewards.model import ModelReward
from assent.training.sources import stream_places


def main(run: Path, out: Path) -> None:
    stage = json.loads((run / "ppo/manifest.json").read_text())
    inputs = {given["name"]: run / "ppo" / given["path"] for given in stage["inputs"]}
    prompts = read_prompts(inputs["data"])

    settings = {name: stage["settings"][name] for name in SETTINGS}
    trainer = assent.Trainer(inputs["model"], "ppo", seed=stage["seed"], **settings)
    reward = ModelReward(load_reward_model(inputs["reward"]), trainer.model.tokenizer)

    for step in range(settings["max_steps"]):
        batch = [prompts[i] for i in stream_places(len(prompts), stage["settings"]["batch_size"], stage["seed"], step)]
        completions = trainer.generate(batch)
        figures = trainer.step(batch, completions, reward.score(batch, completions).values)
        print(f"step {step + 1:3}  reward {figures['reward_mean']:6.2f}  KL {figures['kl']:5.2f}")
    trainer.save(out)

    theirs = load_policy(run / "ppo").model.state_dict()
    apart = max(float((value - theirs[name]).abs().max()) for name, value in trainer.model.model.state_dict().items())
    print(f"{out}: the policy after {trainer.steps_done} steps; largest difference from the stage's weights: {apart:g}")


SETTINGS = (
    "learning_rate",
    "lr_scheduler_type",
    "max_steps",
    "epochs",
    "minibatches",
    "max_new_tokens",
    "kl_coefficient",
    "kl_target",
    "kl_horizon",
    "missing_eos_penalty",
)
"""What recipes/quickstart.yaml sets for its PPO stage; the others stay at their defaults."""

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/own_loop.py RUN OUT, such as runs/quickstart out/own-ppo")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
