"""Stage ``evaluate``: policies against each other on held-out prompts, by a judge that trained none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from assent.data.jsonl import write_completions, write_jsonl
from assent.data.readers import read_comparisons, read_judgements, read_prompts, read_rankings
from assent.errors import ModelError, RecipeError
from assent.evaluation.kl import token_log_ratios
from assent.evaluation.standard_tasks import standard_tasks
from assent.models.device import pick_device
from assent.models.load import load_policy
from assent.models.policy import Policy
from assent.pipeline.portions import Portions
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages import contests, frontier
from assent.pipeline.stages.evidence import classifier_quality, feedback_quality, reward_model_quality
from assent.pipeline.stages.measured import Measuring, Sampled, given_answers
from assent.rewards.load import load_reward
from assent.rewards.model import same_tokenizer
from assent.rewards.rule import FunctionReward, load_function
from assent.rewards.source import RewardSource
from assent.rollout.settings import SamplingOptions
from assent.runs.folder import atomic_write_json
from assent.training.snapshots import snapshots_of
from assent.types import Prompt


class EvaluateSettings(SamplingOptions):
    """Evaluation."""

    model: str | None = Input("model", None, "The model to evaluate, where policies are not named")
    against: str | None = Input("model", None, "The model it is compared with; unset = figures of the one alone")
    policies: dict[str, str] = Input("model", {}, "Name -> model folder or hub name, to compare several")
    data: str = Input("data", description="Held-out prompts")
    preambles: dict[str, str] = Field(default_factory=dict[str, str])
    """Policy -> text before each of its prompts, such as instructions or examples; the judge does not see it."""
    reference: str = "sft"
    """Among policies, the one that the others are compared with: wins against it, and KL from it."""
    judge: str | None = Input(
        "model",
        None,
        "Reward model, or folder of another source of reward, that judges; it must not be the one trained against",
    )
    judge_function: str | None = Input(
        "code", None, "A function of prompt and text that judges instead, as module:function or path.py:function"
    )
    judge_name: str = "the judge"
    """What the report calls the judge."""
    judge_kind: Literal["simulated", "classifier", "model", "function"] = "model"
    """What the report says it is: the world's own simulated preference, a classifier whose sign counts (the share of
    positive completions leads), a reward model, or a function."""
    judges: dict[str, str] = Input("model", {}, "Name -> further source of reward, whose win rates are shown beside")
    reward: str | None = Input("model", None, "The reward model, or folder of another source, that was trained against")
    checkpoints: dict[str, str] = Input(
        "folder", {}, "Policy -> folder of its training stage, whose snapshots make a curve of reward against KL"
    )
    best_of_n: int | None = Field(default=None, ge=2)
    """Draw so many answers of the reference to each prompt, and show what the best of 2, 4, ... of them by the reward
    model would gain; unset = no such curve."""
    answers: str | None = Input("data", None, "answers.jsonl of an earlier evaluation, judged again")
    verdicts: dict[str, str] = Input(
        "data", {}, "Name -> rankings of those answers, by people or by a judge, who did not see whose they are"
    )
    base: str | None = Input("model", None, "Model that perplexity is measured under, usually the pretrained one")
    base_text: str | None = Input("data", None, "Held-out text; each policy's perplexity on it shows what was lost")
    comparisons: str | None = Input("data", None, "Held-out comparisons that the reward model is measured on")
    judgements: str | None = Input("data", None, "Held-out labels that a classifier reward model is measured on")
    references: str | None = Input(
        "data", None, "Demonstrations that nobody trained on: each policy answers their prompts too (extra metrics)"
    )
    toxicity_model: str | None = Input(
        "model", None, "Classifier whose score above 0 says toxic, as the reward stage trains one; unset = rules"
    )
    group_samples: int = Field(default=1, ge=0)
    """Answers to each of the paired prompts that differ in the name of a group alone; 0 = no figures of bias."""
    standard_tasks: list[str] = Field(default_factory=list[str])
    """Tasks of lm-evaluation-harness (extra lmeval) that each policy is put to, such as hellaswag."""
    standard_tasks_folder: str | None = Input("folder", None, "Task files of one's own for lm-evaluation-harness")
    standard_tasks_limit: int | None = Field(default=None, gt=0)
    """Rows of each standard task; unset = all."""
    rankings: str | None = Input("data", None, "Rankings to report agreement and annotators of")
    empty: Literal["error", "skip"] = "error"
    """What to do with a row whose prompt is empty: stop, or leave it out."""
    truncate_prompts: Literal["left"] | None = None
    """Cut prompts that leave no room for max_new_tokens on the left; unset = such a prompt is an error."""
    max_prompts: int | None = Field(default=None, gt=0)
    """Use the first so many prompts; unset = all."""
    tie_width: float = Field(default=0.0, ge=0.0)
    """Scores of the judge closer than this are a tie."""
    shown: int = Field(default=40, ge=0)
    """Prompts whose completions are shown in the report."""
    exploited: int = Field(default=10, ge=0)
    """Prompts of each policy shown where it gained most reward and lost most by the judge."""


def run(settings: EvaluateSettings, context: Context) -> Metrics:
    policies, reference = _policies(settings)
    prompts = read_prompts(settings.data, empty=settings.empty)[: settings.max_prompts]
    measuring = _measuring(settings, policies[reference], prompts, context.seed)
    given = given_answers(settings.answers, list(policies), prompts) if settings.answers else {}
    snapshots = _snapshots(settings)
    context.progress.start("evaluating", len(policies) + sum(map(len, snapshots.values())))
    portions = Portions(context.out)
    sampled: dict[str, Sampled] = {}
    tokenizers: dict[str, Any] = {}
    for name in [reference, *(n for n in policies if n != reference)]:
        policy = measuring.reference if name == reference else load_policy(policies[name], pick_device())
        _check_tokenizers(settings, measuring, policy, name, policies, context)
        said = given.get(name)
        sampled[name] = _taken_up(portions, name, lambda p=policy, n=name, s=said: measuring.measure(p, n, s))
        if settings.standard_tasks:
            sampled[name].figures |= portions.get(
                f"{name}: standard tasks", lambda n=name: _tasks(settings, policies[n])
            )
        tokenizers[name] = policy.tokenizer
        context.progress.advance()
    steps = {name: _measured_steps(name, folders, portions, measuring, context) for name, folders in snapshots.items()}
    context.progress.stop()
    result = _result(settings, reference, measuring, sampled, steps)
    result |= _curves(settings, reference, measuring, sampled, steps, portions)
    result |= _evidence(settings, measuring.reward, measuring.judge)
    atomic_write_json(context.out / "evaluation.json", result)
    write_jsonl(context.out / "samples.jsonl", _samples(tokenizers, prompts, sampled, settings.shown))
    answers = ((prompt, item.completions[i]) for i, prompt in enumerate(prompts) for item in sampled.values())
    write_completions(context.out / "answers.jsonl", answers)
    return _headline(result)


def _policies(settings: EvaluateSettings) -> tuple[dict[str, str], str]:
    """The policies by name, and the name of the reference."""
    if bool(settings.policies) == (settings.model is not None):
        raise RecipeError("evaluate: give either model (and against), or policies")
    if settings.model is not None:
        named = {"model": settings.model} | ({"against": settings.against} if settings.against else {})
        return named, "against" if settings.against else "model"
    if settings.reference not in settings.policies:
        raise RecipeError(f"evaluate: reference '{settings.reference}' is none of {', '.join(settings.policies)}")
    if lost := next((name for name in settings.preambles if name not in settings.policies), None):
        raise RecipeError(f"evaluate: a preamble of '{lost}', which is none of the policies; add it there")
    if strange := next((name for name in settings.policies if ":" in name or "@" in name), None):
        raise RecipeError(f"evaluate: policy '{strange}': a name has no ':' and no '@', which lead back from answers")
    return settings.policies, settings.reference


def _snapshots(settings: EvaluateSettings) -> dict[str, dict[str, Path]]:
    """Policy -> step -> model folder."""
    found: dict[str, dict[str, Path]] = {}
    for name, folder in settings.checkpoints.items():
        if name not in settings.policies:
            raise RecipeError(f"evaluate: checkpoints of '{name}', which is none of the policies; add it there")
        found[name] = snapshots_of(Path(folder))
        if not found[name]:
            raise RecipeError(f"evaluate: checkpoints: {folder} has no snapshots; train it with snapshot_steps")
    if (found or settings.best_of_n) and settings.reward is None:
        raise RecipeError("evaluate: reward against KL needs reward, the reward model that was trained against")
    return found


def _measuring(settings: EvaluateSettings, reference: str, prompts: Sequence[Prompt], seed: int) -> Measuring:
    return Measuring(
        prompts=prompts,
        reference=load_policy(reference, pick_device()),
        judge=_judge(settings),
        judge_is_model=settings.judge is not None,
        reward=load_reward(settings.reward) if settings.reward else None,
        others={name: load_reward(source) for name, source in settings.judges.items()},
        base=load_policy(settings.base, pick_device()) if settings.base else None,
        toxicity_model=load_reward(settings.toxicity_model) if settings.toxicity_model else None,
        settings=settings,
        seed=seed,
    )


def _judge(settings: EvaluateSettings) -> RewardSource | None:
    if settings.judge is not None and settings.judge_function is not None:
        raise RecipeError("evaluate: give judge (a model) or judge_function, not both")
    if settings.judge_function:
        return FunctionReward(load_function(settings.judge_function), settings.judge_name)
    return load_reward(settings.judge) if settings.judge else None


def _check_tokenizers(
    settings: EvaluateSettings,
    measuring: Measuring,
    policy: Policy,
    name: str,
    policies: Mapping[str, str],
    context: Context,
) -> None:
    base = measuring.base
    if base is not None and not same_tokenizer(policy.tokenizer, base.tokenizer):
        raise ModelError(f"{settings.base}: base has another tokenizer than {policies[name]}; leave base out")
    if not same_tokenizer(policy.tokenizer, measuring.reference.tokenizer):
        context.say(f"{name} has another tokenizer than the reference, so there is no KL between them")


def _tasks(settings: EvaluateSettings, model: str) -> dict[str, float]:
    folder, limit = settings.standard_tasks_folder, settings.standard_tasks_limit
    return standard_tasks(model, settings.standard_tasks, limit, folder)


def _taken_up(portions: Portions, name: str, measure: Callable[[], Sampled]) -> Sampled:
    """A policy measured now, or as a killed attempt kept it."""
    return Sampled.taken_up(portions.get(name, lambda: measure().to_keep()))


def _measured_steps(
    name: str, folders: Mapping[str, Path], portions: Portions, measuring: Measuring, context: Context
) -> dict[str, Sampled]:
    """Step -> what the policy of that step wrote."""
    found: dict[str, Sampled] = {}
    for step, folder in folders.items():
        policy, label = load_policy(folder, pick_device()), f"{name}@{step}"
        found[step] = _taken_up(portions, label, lambda p=policy, n=label: measuring.measure_snapshot(p, n))
        context.progress.advance()
    return found


def _result(
    settings: EvaluateSettings,
    reference: str,
    measuring: Measuring,
    sampled: Mapping[str, Sampled],
    steps: Mapping[str, Mapping[str, Sampled]],
) -> dict[str, Any]:
    base = sampled[reference]
    for item in sampled.values():
        for share in ("perplexity", "distinct_2", "words"):
            if base.figures.get(share) and share in item.figures:
                item.figures[f"{share}_ratio"] = item.figures[share] / base.figures[share]
    arena = contests.Arena([prompt.id for prompt in measuring.prompts], reference, contests.lengths_of(sampled))
    every = dict(sampled)
    every |= {f"{name}@{step}": item for name, found in steps.items() for step, item in found.items()}
    decide = contests.deciding(measuring, measuring.judge, every, lambda item: item.utilities, settings.tie_width)
    out: dict[str, Any] = {
        "judge": settings.judge_name,
        "judge_kind": settings.judge_kind,
        "reference": reference,
        "prompts": len(measuring.prompts),
        "policies": {name: item.figures for name, item in sampled.items()},
        "win_rates": arena.win_rates(decide, list(sampled)),
        "judges": _other_judges(settings, arena, measuring, sampled),
        "detectable": contests.detectable(len(measuring.prompts)),
    }
    if bias := [row for item in sampled.values() for row in item.bias]:
        out["group_bias"] = bias
    if accuracy := contests.reward_accuracy(arena, sampled, steps):
        out["reward_accuracy"] = accuracy
    rated = arena.ratings(decide, list(sampled if measuring.compares else every))
    return out if rated is None else {**out, "bradley_terry": rated}


def _other_judges(
    settings: EvaluateSettings, arena: contests.Arena, measuring: Measuring, sampled: Mapping[str, Sampled]
) -> list[dict[str, Any]]:
    """Win rates by everything else that can judge: people, further sources, and the reward that was optimised."""
    found: list[dict[str, Any]] = []
    for name, source in settings.verdicts.items():
        rankings = read_rankings(source)
        rows = contests.verdicts(rankings, arena.reference, list(sampled))
        found.append({"judge": name, "kind": contests.kind_of_judges(rankings), "win_rates": rows})
    for name, judge in measuring.others.items():
        decide = contests.deciding(measuring, judge, sampled, lambda item, n=name: item.others.get(n), 0.0)
        found.append({"judge": name, "kind": "model", "win_rates": arena.win_rates(decide, list(sampled))})
    if measuring.reward is not None:
        decide = contests.deciding(measuring, measuring.reward, sampled, lambda item: item.rewards, 0.0)
        rows, name = arena.win_rates(decide, list(sampled)), "the reward that was optimised"
        found.append({"judge": name, "kind": "proxy", "win_rates": rows})
    return found


def _curves(
    settings: EvaluateSettings,
    reference: str,
    measuring: Measuring,
    sampled: Mapping[str, Sampled],
    steps: Mapping[str, Mapping[str, Sampled]],
    portions: Portions,
) -> dict[str, Any]:
    """Reward against KL, and the prompts on which the reward was exploited."""
    others = [name for name in sampled if name != reference]
    curves = []
    for name in others:
        curve = frontier.curve_of(sampled[reference], {**steps.get(name, {}), "end": sampled[name]})
        if curve is not None:
            curves.append(frontier.curve_record(name, curve, "rl"))
    if settings.best_of_n is not None:
        curve = frontier.best_of_n_curve(measuring, measuring.reference, settings.best_of_n, portions.get)
        curves.append(frontier.curve_record("best-of-n", curve, "best-of-n"))
    ids = list(measuring.prompts)
    worst = [row for name in others for row in frontier.exploited(name, reference, ids, sampled, settings.exploited)]
    return {"curves": curves, "exploited": worst}


def _evidence(settings: EvaluateSettings, reward: RewardSource | None, judge: RewardSource | None) -> dict[str, Any]:
    out: dict[str, Any] = {}
    truth = judge if settings.judge_function else None
    if reward is not None and settings.comparisons:
        out["reward_model"] = reward_model_quality(reward, read_comparisons(settings.comparisons), truth)
    elif reward is not None and settings.judgements:
        out["reward_model"] = classifier_quality(reward, read_judgements(settings.judgements))
    if settings.rankings:
        out["feedback"] = feedback_quality(read_rankings(settings.rankings), truth)
    return out


def _samples(
    tokenizers: dict[str, Any], prompts: Sequence[Prompt], sampled: Mapping[str, Sampled], shown: int
) -> list[dict[str, Any]]:
    rows = []
    for i, prompt in enumerate(prompts[:shown]):
        columns: dict[str, Any] = {}
        for name, item in sampled.items():
            completion = item.completions[i]
            columns[name] = {
                "text": completion.text,
                "tokens": [tokenizers[name].decode([token]) for token in completion.token_ids],
            }
            if item.logprobs is not None and item.ref_logprobs is not None:
                columns[name]["token_kl"] = token_log_ratios(item.logprobs[i], item.ref_logprobs[i])
            if item.utilities is not None:
                columns[name]["utility"] = item.utilities[i]
            if item.rewards is not None:
                columns[name]["reward"] = item.rewards[i]
        rows.append({"prompt": prompt.shown(), "completions": columns})
    return rows


def _headline(result: dict[str, Any]) -> dict[str, float]:
    out: dict[str, float] = {}
    for rate in result["win_rates"]:
        if rate["against"] == result["reference"]:
            out |= {f"win_rate/{rate['policy']}": rate["rate"], f"win_rate_low/{rate['policy']}": rate["low"]}
    for name, figures in result["policies"].items():
        kept = ("kl", "positive_rate", "distinct_2", "perplexity")
        out |= {f"{key}/{name}": figures[key] for key in kept if key in figures}
    if "reward_model" in result:
        out["reward_model_accuracy"] = result["reward_model"]["accuracy"]
    for curve in result["curves"]:
        if "alarm" in curve:
            out[f"alarm/{curve['name']}"] = int(curve["alarm"]["raised_at"] is not None)
    return out


STAGE = Stage(
    kind="evaluate", summary="Evaluate policies on held-out prompts", Settings=EvaluateSettings, run=run, version=2
)
