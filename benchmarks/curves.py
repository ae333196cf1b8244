"""Learning curves of every algorithm in the quickstart's world, at equal samples and equal KL.

    assent run recipes/quickstart.yaml
    python -m benchmarks.curves measure runs/quickstart ppo --seed 0        writes docs/algorithms/curves/ppo.json
    python -m benchmarks.curves draw                                        draws docs/algorithms/curves/ppo.png, ...

A policy is judged by how often it wins against the SFT policy on held-out films by the true preference, which nothing
was trained on, and by its KL from the SFT policy.  Algorithms that sample get 60 batches of 128 completions, 7,680 in
all, scored by the quickstart's reward model; those that learn from comparisons get a quarter, half and all of the
rankings of 8,000 completions.  A reward model is judged by its accuracy on held-out comparisons.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import assent
from assent.algorithms import ALGORITHMS, load_algorithm
from assent.data.jsonl import write_jsonl
from assent.data.movie_world import utility
from assent.data.readers import read_comparisons, read_demonstrations, read_prompts, read_rankings
from assent.evaluation.accuracy import pairwise_accuracy
from assent.evaluation.kl import sequence_kl
from assent.evaluation.tokens import token_logprobs
from assent.models.load import load_policy, load_reward_model
from assent.models.policy import Policy
from assent.pipeline.stage import NoProgress
from assent.rewards.model import ModelReward
from assent.training.sources import stream_places
from assent.types import Completion, Judgement, SamplingSettings

FOLDER = Path(__file__).parents[1] / "docs/algorithms/curves"
STEPS, BATCH, EVERY = 60, 128, 15
PROMPTS = 250
COMPLETIONS_RANKED = 8000
SHARES = (0.25, 0.5, 1.0)

ROLLOUT: dict[str, Any] = {
    "max_steps": STEPS,
    "epochs": 2,
    "minibatches": 2,
    "max_new_tokens": 64,
    "learning_rate": 3e-4,
    "lr_scheduler_type": "linear",
    "missing_eos_penalty": 1.0,
}
GROUPS: dict[str, Any] = {**ROLLOUT, "samples_per_prompt": 4}
ON_POLICY: dict[str, dict[str, Any]] = {
    "ppo": {**ROLLOUT, "kl_coefficient": 0.1, "kl_target": 4.0, "kl_horizon": 5000},
    "ppo-sequence": {**ROLLOUT},
    "kl-control": {**ROLLOUT, "kl_coefficient": 0.1, "epochs": 1, "minibatches": 1, "learning_rate": 1e-3},
    "reinforce": {**ROLLOUT, "kl_coefficient": 0.1, "epochs": 1, "minibatches": 1, "learning_rate": 1e-3},
    "rloo": {**GROUPS, "kl_coefficient": 0.1},
    "grpo": {**GROUPS, "kl_coefficient": 0.2},
    "rebel": {**GROUPS, "kl_coefficient": 0.1},
    "online-dpo": {**GROUPS, "learning_rate": 1e-4},
    "rejection": {**GROUPS, "learning_rate": 1e-4, "epochs": 1, "minibatches": 1},
    "expert-iteration": {**GROUPS, "learning_rate": 1e-4, "epochs": 1, "minibatches": 1},
}
"""Settings of the algorithms that sample.  Those that do not use a setting of ROLLOUT go without it."""
OFFLINE: dict[str, dict[str, Any]] = {
    "sft": {"learning_rate": 1.5e-3, "batch_size": 16},
    "dpo": {"learning_rate": 3e-4, "batch_size": 16},
    "kto": {"learning_rate": 3e-4, "batch_size": 16},
    "orpo": {"learning_rate": 3e-4, "batch_size": 16},
    "simpo": {"learning_rate": 1e-4, "batch_size": 16},
    "cpo": {"learning_rate": 1e-4, "batch_size": 16},
    "spin": {"learning_rate": 5e-5, "batch_size": 16},
}
REWARD: dict[str, dict[str, Any]] = {
    "reward": {},
    "reward-ranking": {"method": "ranking"},
    "reward-classifier": {},
    "inverse-rl": {"objective": "maximum-entropy"},
}


@dataclass(frozen=True)
class Point:
    """One evaluation on the way."""

    samples: int
    """Completions sampled, ranked or demonstrated so far."""
    win_rate: float | None = None
    kl: float | None = None
    accuracy: float | None = None


class Judge:
    """The SFT policy's answers to held-out films, which each policy's are compared with."""

    def __init__(self, run: Path) -> None:
        self.prompts = read_prompts(run / "world/eval_prompts.jsonl")[:PROMPTS]
        self.reference = load_policy(run / "sft")
        self.theirs = [utility(p, c.text) for p, c in zip(self.prompts, self._answers(self.reference), strict=True)]

    def __call__(self, policy: Policy, samples: int) -> Point:
        answers = self._answers(policy)
        gained = [utility(p, c.text) - u for p, c, u in zip(self.prompts, answers, self.theirs, strict=True)]
        wins = sum(1.0 if gain > 0 else 0.5 if gain == 0 else 0.0 for gain in gained) / len(gained)
        ours, refs = (token_logprobs(model, answers, 1.0) for model in (policy, self.reference))
        return Point(samples, win_rate=round(wins, 4), kl=round(sequence_kl(ours, refs).k1, 3))

    def _answers(self, policy: Policy) -> list[Completion]:
        from assent.rollout.engine import EncodedPrompt
        from assent.rollout.local import LocalEngine

        encoded = [EncodedPrompt(p.id, tuple(policy.tokenizer(p.text).input_ids)) for p in self.prompts]
        return LocalEngine(policy).generate(encoded, SamplingSettings(max_new_tokens=64, seed=20))


def on_policy(name: str, run: Path, seed: int) -> Iterator[Point]:
    """Win rate and KL after every fifteen batches of 128 completions."""
    judge = Judge(run)
    known = load_algorithm(name).Settings.model_fields
    given = {k: v for k, v in ON_POLICY[name].items() if k in known or k != "missing_eos_penalty"}
    trainer = assent.Trainer(run / "sft", name, seed=seed, say=lambda text: None, **given)
    reward = ModelReward(load_reward_model(run / "reward"), trainer.model.tokenizer)
    prompts = read_prompts(run / "world/train_prompts.jsonl")
    each = int(given.get("samples_per_prompt", 1))
    yield judge(trainer.model, 0)
    for step in range(STEPS):
        batch = [prompts[i] for i in stream_places(len(prompts), BATCH // each, seed, step)]
        completions = trainer.generate(batch)
        repeated = [prompt for prompt in batch for _ in range(each)]
        trainer.step(repeated, completions, reward.score(repeated, completions).values)
        if (step + 1) % EVERY == 0:
            yield judge(trainer.model, (step + 1) * BATCH)


def offline(name: str, run: Path, seed: int) -> Iterator[Point]:
    """Win rate and KL after a quarter, half and all of the data, each in one pass."""
    judge = Judge(run)
    data, total = _data(name, run, seed)
    yield judge(judge.reference, 0)
    for share in SHARES:
        with tempfile.TemporaryDirectory() as folder:
            settings = {"model": str(run / "sft"), "data": str(data), "num_train_epochs": share, **OFFLINE[name]}
            out = _silent(name, settings, Path(folder) / "out", seed)
            yield judge(load_policy(out), round(share * total))


def reward(name: str, run: Path, seed: int) -> Iterator[Point]:
    """Accuracy on held-out comparisons after a quarter, half and all of the data, each in one pass."""
    data, total = _data(name, run, seed)
    held_out = [c for c in read_comparisons(run / "comparisons/held_out.jsonl") if not c.tie]
    kind = name if name == "inverse-rl" else "reward"
    common = {"learning_rate": 1e-3, "batch_size": 16, "lr_scheduler_type": "cosine", "warmup_steps": 5}
    for share in SHARES:
        with tempfile.TemporaryDirectory() as folder:
            settings = {"model": str(run / "sft"), "data": str(data), "num_train_epochs": share, **common}
            out = _silent(kind, {**settings, **REWARD[name]}, Path(folder) / "out", seed)
            model, prompts = ModelReward(load_reward_model(out)), [c.prompt for c in held_out]
            chosen, rejected = (
                model.score(prompts, [Completion(text, p.id, text) for p, text in zip(prompts, texts, strict=True)])
                for texts in ([c.chosen for c in held_out], [c.rejected for c in held_out])
            )
            found = pairwise_accuracy(chosen.values, rejected.values)
            yield Point(round(share * total), accuracy=round(found.accuracy, 4))


def _data(name: str, run: Path, seed: int) -> tuple[Path, int]:
    """What the algorithm learns from, and how many completions or demonstrations that is."""
    if name == "sft":
        path = run / "world/demonstrations.jsonl"
        return path, len(read_demonstrations(path))
    if name == "spin":
        return _contrast(run, seed, n=1)
    if name == "inverse-rl":
        return _contrast(run, seed, n=2, temperature=1.2)  # as in recipes/apprenticeship.yaml
    if name == "reward-classifier":
        return _thumbs(run), COMPLETIONS_RANKED
    return run / "comparisons/train.jsonl", COMPLETIONS_RANKED


def _contrast(run: Path, seed: int, **drawn: Any) -> tuple[Path, int]:
    """Demonstrations against the SFT policy's own answers to their prompts."""
    folder = Path(tempfile.mkdtemp())
    data = str(run / "world/demonstrations.jsonl")
    settings = {"model": str(run / "sft"), "data": data, "max_new_tokens": 64, **drawn}
    sampled = _silent("sample", settings, folder / "s", seed)
    made = {"data": data, "completions": str(sampled / "completions.jsonl")}
    return _silent("contrast", made, folder / "c", seed) / "comparisons.jsonl", len(read_demonstrations(data))


def _thumbs(run: Path) -> Path:
    """Thumbs up for the answers that an annotator put first, down for those that failed or came last."""
    judged: list[Judgement] = []
    for ranking in read_rankings(run / "collect/rankings.jsonl"):
        worst = max((rank for rank in ranking.ranks if rank is not None), default=1)
        for i, (rank, text) in enumerate(zip(ranking.ranks, ranking.texts, strict=True)):
            if text.strip() and (rank in (1, None) or rank == worst):
                judged.append(Judgement(f"{ranking.id}.{i}", ranking.prompt, text, float(rank == 1)))
    path = Path(tempfile.mkdtemp()) / "judgements.jsonl"
    write_jsonl(path, judged)
    return path


def _silent(kind: str, settings: Mapping[str, Any], out: Path, seed: int) -> Path:
    return assent.run_stage(kind, settings, out, seed=seed, say=lambda text: None, progress=NoProgress())


def measure(run: Path, name: str, seed: int) -> list[Point]:
    """One algorithm's curve, printed as it comes, and kept beside the curves of its other seeds."""
    run_one = on_policy if name in ON_POLICY else reward if name in REWARD else offline
    points: list[Point] = []
    for point in run_one(name, run, seed):
        points.append(point)
        print(name, f"seed {seed}", *(f"{k} {v}" for k, v in asdict(point).items() if v is not None), flush=True)
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    kept[str(seed)] = [{k: v for k, v in asdict(point).items() if v is not None} for point in points]
    path.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    return points


def main() -> int:
    parser = argparse.ArgumentParser(description="Learning curves of every algorithm in the quickstart's world.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("measure", help="train and write the figures")
    one.add_argument("run", type=Path, help="folder of a finished quickstart")
    one.add_argument("names", nargs="*", help="algorithms; none = all")
    one.add_argument("--seed", type=int, default=0)
    verbs.add_parser("draw", help="draw the pictures from the figures")
    given = parser.parse_args()
    if given.verb == "draw":
        from benchmarks.curve_pictures import draw

        return draw(FOLDER)
    every = {*ON_POLICY, *OFFLINE, *REWARD}
    assert every == set(ALGORITHMS), f"no curve for {sorted(set(ALGORITHMS) - every)}"
    for name in given.names or sorted(every):
        with contextlib.suppress(KeyboardInterrupt):
            measure(given.run, name, given.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
