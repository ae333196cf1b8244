"""Records what TRL's trainers make of small fixed inputs: ``python tests/golden/record_trl.py`` (see README.md).

Each case calls the trainer's own loss method.  The trainer is made without its constructor, which would want a model,
a tokenizer and a dataset; its model is a table of token log-probabilities, so that the gradient of the loss with
respect to each of them can be read off the table.  Nothing of TRL's formulas is written down here.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator
from fixture import HERE, VOCABULARY, Rows, by_row, masks, padded, random_numbers, random_rows, write_fixture
from torch import Tensor, nn
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RewardTrainer, RLOOTrainer, SFTTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

ACCELERATOR = Accelerator(cpu=True)


class Table(nn.Module):
    """A "model" that answers with a row of its table [N, T]: which one, the first token of the input says.

    It gives the fused outputs of TRL (log-probabilities shifted by one, zero where the label is ignored) or, for the
    trainers that take logits, logits whose log-softmax is the table.
    """

    is_gradient_checkpointing = False

    def __init__(self, rows: Rows, name: str = "logprobs") -> None:
        super().__init__()
        self.table = nn.Parameter(padded(rows, name))

    def forward(self, input_ids: Tensor, labels: Tensor | None = None, fused_lm_head: bool = False, **_: Any) -> Any:
        logprobs = self.table[input_ids[:, 0], : input_ids.shape[1]][:, 1:]
        if not fused_lm_head:
            return SimpleNamespace(logits=self._logits(input_ids, logprobs))
        mask = labels[:, 1:] != -100
        zeros = torch.zeros_like(logprobs)
        return SimpleNamespace(
            log_probs=logprobs.masked_fill(~mask, 0.0),
            label_mask=mask,
            entropy=zeros,
            mean_logits=zeros,
            is_top1=mask & False,
        )

    def _logits(self, input_ids: Tensor, logprobs: Tensor) -> Tensor:
        """log p of the token that comes, and log (1 - p) / (V - 1) of every other one."""
        others = torch.log(-torch.expm1(logprobs)) - torch.log(torch.tensor(VOCABULARY - 1.0, dtype=torch.float64))
        here = nn.functional.one_hot(input_ids[:, 1:], VOCABULARY).bool()
        logits = torch.where(here, logprobs[..., None], others[..., None])
        return torch.cat([logits, logits[:, :1]], dim=1)  # what follows the last token is asked for and not used


class Scores(nn.Module):
    """A reward "model" whose scores [N] are its parameters."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores, dtype=torch.float64))

    def forward(self, **_: Any) -> Any:
        return SimpleNamespace(logits=self.scores[:, None])


def trainer(kind: type, model: nn.Module, **settings: Any) -> Any:
    """A trainer of this kind with these attributes (those of its ``args`` under ``args``) and no constructor run."""
    made = object.__new__(kind)
    args = {"gradient_checkpointing_kwargs": None, "report_to": [], "device": torch.device("cpu")}
    given = {"args": SimpleNamespace(**{**args, **settings.pop("args", {})}), **settings}
    common = {
        "model": model,
        "accelerator": ACCELERATOR,
        "aux_loss_enabled": False,
        "_metrics": {"train": defaultdict(list)},
        "_stored_metrics": defaultdict(lambda: defaultdict(list)),
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    vars(made).update({**common, **given})
    return made


def token_ids(rows: Rows) -> Tensor:
    """[B, T] ids whose first is the number of the row; the others are of no account."""
    real = masks(rows)[0]
    ids = (torch.arange(real.numel()).view(real.shape) * 7) % VOCABULARY
    ids[:, 0] = torch.arange(len(ids))
    return ids * real


def case(name: str, function: Any, inputs: str, settings: dict[str, Any], **results: Any) -> dict[str, Any]:
    called = f"{function.__module__}.{function.__qualname__}"
    return {"name": name, "function": called, "inputs": inputs, "settings": settings, **results}


def of_tokens(loss: Tensor, model: Table, rows: Rows) -> dict[str, Any]:
    loss.backward()
    return {"loss": loss.item(), "gradient": by_row(model.table.grad, rows)}


def fused_inputs(rows: Rows) -> dict[str, Tensor]:
    real, completion = masks(rows)
    return {"input_ids": token_ids(rows), "attention_mask": real.long(), "completion_mask": completion.long()}


def sft(inputs: dict[str, Rows]) -> list[dict[str, Any]]:
    rows = inputs["demonstrations"]
    model = Table(rows)
    ids, (real, completion) = token_ids(rows), masks(rows)
    given = {"input_ids": ids, "attention_mask": real.long(), "labels": ids.masked_fill(~completion, -100)}
    args = {"loss_type": "nll", "average_tokens_across_devices": False}
    made = trainer(SFTTrainer, model, args=args, compute_loss_func=None, label_smoother=None)
    loss = made.compute_loss(model, given)
    return [case("sft", SFTTrainer.compute_loss, "demonstrations", {}, **of_tokens(loss, model, rows))]


def dpo(inputs: dict[str, Rows]) -> list[dict[str, Any]]:
    chosen = {
        "dpo-sigmoid": ("preferences", {"loss_types": ["sigmoid"], "beta": 0.3}),
        "dpo-hinge": ("preferences", {"loss_types": ["hinge"], "beta": 1.6}),
        "dpo-ipo": ("preferences", {"loss_types": ["ipo"], "beta": 0.4}),
        "dpo-robust": ("preferences", {"loss_types": ["robust"], "beta": 0.3, "label_smoothing": 0.2}),
        "dpo-sigmoid-norm": ("preferences", {"loss_types": ["sigmoid_norm"], "beta": 2.0}),
        # With log-ratios that stand in order already, sorting changes nothing, and "aot_unpaired" is conservative DPO,
        # which TRL has under no other name.
        "dpo-smoothed": ("sorted_preferences", {"loss_types": ["aot_unpaired"], "beta": 0.3, "label_smoothing": 0.2}),
    }
    cases = []
    for name, (source, settings) in chosen.items():
        rows = inputs[source]
        model = Table(rows)
        fixed = {"loss_weights": [1.0], "ld_alpha": None, "f_divergence_type": "reverse_kl", "label_smoothing": 0.0}
        fixed |= {"use_weighting": False, "precompute_ref_logps": False, "ref_model": Table(rows, "ref_logprobs")}
        loss = trainer(DPOTrainer, model, **{**fixed, **settings})._compute_loss(model, fused_inputs(rows), False)
        cases.append(case(name, DPOTrainer._compute_loss, source, settings, **of_tokens(loss, model, rows)))
    return cases


def kto(inputs: dict[str, Rows]) -> list[dict[str, Any]]:
    cases = []
    even = {"beta": 0.3, "desirable_weight": 1.0, "undesirable_weight": 1.0}
    for name, source, settings in (
        ("kto", "judged", even),
        ("kto-weighted", "judged", {**even, "desirable_weight": 1.3, "undesirable_weight": 0.7}),
        ("kto-baseline-at-zero", "judged_below", even),
    ):
        rows = inputs[source]
        model = Table(rows)
        given = fused_inputs(rows)
        own = [b for b, other in enumerate(rows["mismatched"]) if not other]
        others = [b for b, other in enumerate(rows["mismatched"]) if other]
        batch = {k: v[own] for k, v in given.items()} | {f"KL_{k}": v[others] for k, v in given.items()}
        batch["label"] = torch.tensor([bool(rows["labels"][b]) for b in own])
        fixed = {"loss_type": "kto", "calculate_KL": True, "precompute_ref_logps": False}
        made = trainer(KTOTrainer, model, ref_model=Table(rows, "ref_logprobs"), **fixed, **settings)
        results = of_tokens(made._compute_loss(model, batch, False), model, rows)
        kl = made._metrics["train"]["kl"][0]
        cases.append(case(name, KTOTrainer._compute_loss, source, settings, kl=kl, **results))
    return cases


def concatenated(rows: Rows) -> dict[str, Tensor]:
    """Inputs of the trainers that keep chosen and rejected apart."""
    real, completion = masks(rows)
    ids = token_ids(rows)
    labels = ids.masked_fill(~completion, -100)
    half = len(ids) // 2
    return {
        f"{side}_{key}": value[rows_of]
        for side, rows_of in (("chosen", slice(None, half)), ("rejected", slice(half, None)))
        for key, value in (("input_ids", ids), ("attention_mask", real.long()), ("labels", labels))
    }


def without_reference(inputs: dict[str, Rows]) -> list[dict[str, Any]]:
    """CPO, SimPO (which TRL has as a loss type of CPO) and ORPO."""
    cases = []
    for name, kind, source, settings in (
        ("cpo", CPOTrainer, "preferences", {"loss_type": "sigmoid", "beta": 0.3, "cpo_alpha": 1.0}),
        (
            "cpo-smoothed",
            CPOTrainer,
            "preferences",
            {"loss_type": "sigmoid", "beta": 0.3, "cpo_alpha": 0.5, "label_smoothing": 0.1},
        ),
        ("simpo", CPOTrainer, "preferences", {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.0}),
        (
            "simpo-smoothed",
            CPOTrainer,
            "preferences",
            {"loss_type": "simpo", "beta": 2.5, "simpo_gamma": 0.6, "cpo_alpha": 0.0, "label_smoothing": 0.1},
        ),
        # TRL's ORPO takes the likelihood of the prompt too; a prompt of one token has none.
        ("orpo", ORPOTrainer, "bare_preferences", {"beta": 0.25}),
    ):
        rows = inputs[source]
        model = Table(rows)
        fixed = {"label_smoothing": 0.0, "alpha": 0.0, "is_encoder_decoder": False, "pad_token_id": 0}
        fixed |= {"padding_value": 0, "_peft_has_been_casted_to_bf16": False}
        loss = trainer(kind, model, **{**fixed, **settings}).compute_loss(model, concatenated(rows))
        cases.append(case(name, kind.compute_loss, source, settings, **of_tokens(loss, model, rows)))
    return cases


def reward(inputs: dict[str, Rows]) -> list[dict[str, Any]]:
    rows = inputs["scored_preferences"]
    half = len(rows["scores"]) // 2
    cases = []
    for name, settings in (
        ("reward", {"center_rewards_coefficient": None, "margin": False}),
        ("reward-centred", {"center_rewards_coefficient": 0.05, "margin": False}),
        ("reward-margin", {"center_rewards_coefficient": 0.05, "margin": True}),
    ):
        model = Scores(rows["scores"])
        given = {"attention_mask": torch.ones(2 * half, 1)}
        if settings["margin"]:
            given["margin"] = torch.tensor(rows["margins"], dtype=torch.float64)
        args = {"center_rewards_coefficient": settings["center_rewards_coefficient"]}
        loss = trainer(RewardTrainer, model, args=args).compute_loss(model, given)
        loss.backward()
        results = {"loss": loss.item(), "gradient": model.scores.grad.tolist()}
        cases.append(case(name, RewardTrainer.compute_loss, "scored_preferences", settings, **results))
    return cases


def rollouts(kind: type, rows: Rows, **settings: Any) -> tuple[Any, dict[str, Tensor]]:
    """A trainer on rollouts, and what it made of them: old log-probabilities and advantages."""
    ids, prompt = token_ids(rows), rows["prompt_lengths"][0]
    starts = [row[:prompt].tolist() for row in ids]
    ends = [row[prompt : prompt + n].tolist() for row, n in zip(ids, rows["completion_lengths"], strict=True)]
    made = trainer(
        kind,
        Table(rows, "old_logprobs"),
        ref_model=Table(rows, "ref_logprobs"),
        _tokenizer=SimpleNamespace(pad_token_id=0),
        **settings,
        **{
            "num_generations": rows["group_size"],
            "pad_to_multiple_of": None,
            "mask_truncated_completions": False,
            "current_gradient_accumulation_steps": 1,
            "reward_weights": torch.ones(1, dtype=torch.float64),
            "reward_func_names": ["score"],
            "_logs": {
                "prompt": [],
                "completion": [],
                "advantages": [],
                "rewards": defaultdict(list),
                "extra": defaultdict(list),
            },
            "_pending_extra_logs": {},
            "_pending_metrics": {},
        },
    )
    made._calculate_rewards = lambda *_: torch.tensor(rows["scores"], dtype=torch.float64)[:, None]
    texts = ["" for _ in ends]
    six = (starts, ends, None, texts, None, {}, None, None)
    made._generate = lambda prompts: six if kind is GRPOTrainer else (starts, ends, texts)
    made.model.train()
    return made, made._generate_and_score_completions([{"prompt": ""} for _ in starts])


_ROLLOUT_ARGS = {"per_device_train_batch_size": 64, "steps_per_generation": 1, "gradient_accumulation_steps": 1}


def grpo(inputs: dict[str, Rows]) -> list[dict[str, Any]]:
    plain = {"loss_type": "grpo", "scale_rewards": "group", "beta": 0.0, "epsilon_low": 0.2, "epsilon_high": 0.2}
    plain |= {"importance_sampling_level": "token", "max_completion_length": 6}
    narrow = {"importance_sampling_level": "sequence", "epsilon_low": 0.03, "epsilon_high": 0.04}
    cases = []
    for name, changed in (
        ("grpo", {"beta": 0.04}),
        ("grpo-no-kl", {}),
        ("grpo-bnpo", {"loss_type": "bnpo", "scale_rewards": "batch", "beta": 0.1}),
        ("grpo-dapo", {"loss_type": "dapo", "epsilon_high": 0.28}),
        ("grpo-dr", {"loss_type": "dr_grpo", "scale_rewards": "none", "beta": 0.04}),
        ("grpo-gspo", narrow),
    ):
        rows = inputs["rollouts"]
        settings = {**plain, **changed}
        fixed = {"top_entropy_quantile": 1.0, "off_policy_mask_threshold": None, "use_vllm": False, "tools": None}
        fixed |= {"environment_factories": None, "environments": None, "_entropy_bonus_enabled": False}
        fixed |= {"vllm_importance_sampling_correction": False, "num_iterations": 2, "reward_funcs": [None]}
        fixed |= {"multi_objective_aggregation": "sum_then_normalize", "log_multimodal": False}
        args = {**_ROLLOUT_ARGS, "delta": None, "use_bias_correction_kl": False}
        made, given = rollouts(GRPOTrainer, rows, args=args, **fixed, **settings)
        model = Table(rows)
        results = of_tokens(made._compute_loss(model, given), model, rows)
        results["advantages"] = given["advantages"].tolist()
        cases.append(case(name, GRPOTrainer._compute_loss, "rollouts", settings, **results))
    return cases


def rloo(inputs: dict[str, Rows]) -> list[dict[str, Any]]:
    plain = {"beta": 0.05, "epsilon_low": 0.2, "epsilon_high": 0.2}
    plain |= {"normalize_advantages": False, "reward_clip_range": None}
    cases = []
    for name, changed in (
        ("rloo", {}),
        ("rloo-no-kl", {"beta": 0.0, "epsilon_high": 0.3}),
        ("rloo-normalised", {"normalize_advantages": True, "reward_clip_range": (-1.0, 1.0)}),
    ):
        rows = inputs["rollouts"]
        settings = {**plain, **changed}
        made, given = rollouts(RLOOTrainer, rows, args=_ROLLOUT_ARGS, **settings)
        model = Table(rows)
        results = of_tokens(made._compute_loss(model, given), model, rows)
        results["advantages"] = given["advantages"].tolist()
        cases.append(case(name, RLOOTrainer._compute_loss, "rollouts", settings, **results))
    return cases


def preferences(seed: int, prompts: list[int], lengths: list[int]) -> Rows:
    """Rows of the chosen answers, then those of the rejected ones."""
    return random_rows(seed, prompts, lengths, ref_logprobs=0.6)


def in_order(rows: Rows) -> Rows:
    """The same rows, chosen among themselves and rejected among themselves sorted by log pi / ref."""
    gap = (padded(rows, "logprobs") - padded(rows, "ref_logprobs")).sum(1)
    half = len(gap) // 2
    order = [*gap[:half].argsort().tolist(), *(half + gap[half:].argsort()).tolist()]
    return {name: [values[b] for b in order] for name, values in rows.items()}


def judged(seed: int, ref_shift: float) -> Rows:
    """Rows with a thumb up (1) or down (0), then as many mismatched ones that only measure the KL."""
    lengths = [3, 5, 2, 4, 1, 3, 5, 2, 4, 1]
    rows = random_rows(seed, [2, 1, 3, 2, 1, 1, 3, 2, 1, 2], lengths, ref_logprobs=0.5)
    rows["ref_logprobs"] = [[round(v + ref_shift, 4) for v in row] for row in rows["ref_logprobs"]]
    return {**rows, "labels": [1, 0, 1, 1, 0] + [0] * 5, "mismatched": [0] * 5 + [1] * 5}


def main() -> None:
    prompts, lengths = [2, 3, 1, 2, 2, 3, 1, 2], [4, 2, 5, 3, 3, 6, 1, 4]
    scores = [*random_numbers(31, 6, 1.2), 0.5, 0.5, 0.5]
    inputs: dict[str, Any] = {
        "demonstrations": random_rows(1, [2, 1, 3], [4, 6, 1]),
        "preferences": preferences(2, prompts, lengths),
        "sorted_preferences": in_order(preferences(3, prompts, lengths)),
        "bare_preferences": preferences(4, [1] * 8, lengths),
        "judged": judged(5, -0.3),
        "judged_below": judged(6, 0.1),
        "scored_preferences": {"scores": random_numbers(7, 8, 1.5), "margins": [0.5, 1.0, 0.0, 2.0]},
        "rollouts": {
            **random_rows(52, [2] * 9, [4, 6, 2, 5, 1, 3, 4, 2, 6], old_logprobs=0.3, ref_logprobs=0.4),
            "scores": scores,  # the last group's are alike
            "group_size": 3,
        },
    }
    cases = [c for of in (sft, dpo, kto, without_reference, reward, grpo, rloo) for c in of(inputs)]
    write_fixture(HERE / "trl-1.16.0.json", ("trl", "transformers", "accelerate", "torch"), inputs, cases)


if __name__ == "__main__":
    main()
