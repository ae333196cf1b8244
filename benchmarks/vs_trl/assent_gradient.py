"""assent's gradient of the batch that TRL's was recorded from: `python -m benchmarks.vs_trl.assent_gradient JOB.json`.

The stage runs as it does for users, up to its first update; only the rollouts, where there are some, come from TRL's
record in place of the engine, and PPO's critic gets the head of TRL's, which does not start at zero.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import assent
from assent.rollout.engine import EncodedPrompt, Promises
from assent.training import on_policy
from assent.training.loop import Training
from assent.types import Completion, SamplingSettings

Ids = tuple[int, ...]


class Enough(Exception):
    """The first gradient is there."""


class Recorded:
    """An engine that gives the completions that TRL's model wrote."""

    promises = Promises(batch_invariant=True, logprobs=False, updates_weights=True)

    def __init__(self, tokenizer: Any, rows: Mapping[Ids, list[Ids]]) -> None:
        self.tokenizer, self.rows = tokenizer, rows

    def generate(self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1) -> list[Completion]:
        return [
            Completion(
                id=f"{prompt.id}/{index}",
                prompt_id=prompt.id,
                text=self.tokenizer.decode(ids, skip_special_tokens=True),
                token_ids=ids,
                finish_reason="length",
                sample_index=index,
                prompt_token_ids=prompt.token_ids,
            )
            for prompt in prompts
            for index, ids in enumerate(self.rows[prompt.token_ids])
        ]

    def close(self) -> None:
        """Nothing is held."""


def recorded_rows(rollouts: Mapping[str, Tensor], pad: int) -> dict[Ids, list[Ids]]:
    """Prompt -> completions, in the order of the record."""
    if "queries" in rollouts:
        width = rollouts["queries"].shape[1]
        prompts, completions = rollouts["queries"], rollouts["sequences"][:, width:]
        kept = [(p[p != pad].tolist(), c.tolist()) for p, c in zip(prompts, completions, strict=True)]
    else:
        names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
        rows = zip(*(rollouts[name] for name in names), strict=True)
        kept = [(p[pm.bool()].tolist(), c[cm.bool()].tolist()) for p, pm, c, cm in rows]
    found: dict[Ids, list[Ids]] = {}
    for prompt, completion in kept:
        found.setdefault(tuple(prompt), []).append(tuple(completion))
    return found


def first_gradients(job: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Role -> parameter -> gradient of the stage's first update."""
    found: dict[str, dict[str, Tensor]] = {}

    def stop(training: Training, batches: Any) -> float:
        for role, module in training.roles.trained.items():
            found[role] = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
        raise Enough

    Training._update = stop
    shutil.rmtree(job["out"], ignore_errors=True)
    try:
        assent.run_stage(job["work"], job["settings"], job["out"], seed=job["seed"], overwrite=True)
    except Enough:
        return found
    raise RuntimeError("the stage ended without an update")


def use_record(seen: Mapping[str, Any]) -> None:
    """Rollouts from TRL's record; a critic with the score head of the reward model that it starts from."""

    def engine(policy: Any, *args: Any, **kwargs: Any) -> Recorded:
        return Recorded(policy.tokenizer, recorded_rows(seen["rollouts"], policy.tokenizer.pad_token_id))

    start = on_policy.start_critic

    def critic(policy: Any, reward_model: Any, settings: Any, seed: int) -> Any:
        made: Any = start(policy, reward_model, settings, seed)
        made.head.out.weight.data.copy_(reward_model.model.score.weight.data)
        return made

    on_policy.local_engine = engine
    on_policy.start_critic = critic


def named_as_trl(gradients: Mapping[str, Mapping[str, Tensor]], work: str) -> dict[str, Tensor]:
    """The gradients under the names that TRL's trainer has for them; what TRL's side has not is left out."""
    named: dict[str, Tensor] = {}
    for role, module in gradients.items():
        for name, gradient in module.items():
            if role == "critic":
                own = name.replace("head.out", "value_model.score").replace("trunk.", "value_model.model.")
            else:
                own = name.removeprefix("model.")
                own = f"policy.{own}" if work == "ppo" else own
            named[own] = gradient
    return named


def relative_distance(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The norm of the difference over all parameters, relative to TRL's norm.  All of TRL's must be there."""
    missing = sorted(set(theirs) - set(ours))
    if missing:
        raise KeyError(f"no gradient of {missing[0]}; there are {', '.join(sorted(ours)[:4])} ...")
    gap = sum(float((ours[name].double() - theirs[name].double()).square().sum()) for name in theirs)
    whole = sum(float(gradient.double().square().sum()) for gradient in theirs.values())
    return (gap / whole) ** 0.5


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    theirs = torch.load(job["gradient"], weights_only=True)
    seen = torch.load(job["gradient"] + ".seen", weights_only=True)
    if "rollouts" in seen:
        use_record(seen)
    ours = named_as_trl(first_gradients(job), job["work"])
    Path(job["result"]).write_text(json.dumps({"relative": relative_distance(ours, theirs)}), encoding="ascii")


if __name__ == "__main__":
    main()
