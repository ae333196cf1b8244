"""The kinds of stages, one file each.  Light: a module loads only when a stage of its kind really runs."""

from __future__ import annotations

STAGES: dict[str, str] = {
    kind: f"assent.pipeline.stages.{kind.replace('-', '_')}:STAGE"
    for kind in (
        "world",
        "sst2",
        "task-world",
        "split",
        "pretrain",
        "sft",
        "sample",
        "score",
        "filter",
        "join",
        "select",
        "collect",
        "live",
        "judge",
        "revise",
        "comparisons",
        "judgements",
        "contrast",
        "reward",
        "combined-reward",
        "inverse-rl",
        "spin",
        "dpo",
        "kto",
        "orpo",
        "simpo",
        "cpo",
        "ppo",
        "reinforce",
        "rloo",
        "grpo",
        "ppo-sequence",
        "kl-control",
        "rebel",
        "rejection",
        "expert-iteration",
        "online-dpo",
        "train",
        "merge",
        "drift",
        "evaluate",
        "reward-bench",
        "release",
        "report",
    )
} | {
    f"{name}-reward": f"assent.pipeline.stages.sources:{name.upper()}"
    for name in ("pattern", "length", "json", "answer", "code", "function", "classifier", "judge", "human")
}
"""Kind -> ``module:ATTRIBUTE`` of its :class:`~assent.pipeline.stage.Stage`.

Adding one is its file, one line here, and ``python -m assent.pipeline.schema``.
"""
