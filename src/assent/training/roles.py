"""The models of one training run by their roles, and what an algorithm may ask of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from assent.algorithms.batch import Batch, Outputs
from assent.models.fused import can_fuse
from assent.models.packing import check_packing
from assent.models.policy import Policy
from assent.models.scalar import Critic, RewardModel, ValueHead


@dataclass
class Roles:
    """Policy, reference, critic and reward model; each is ``None`` where the algorithm does not use it.

    ``trained`` names the modules that have an optimiser of their own; the others are frozen.
    """

    policy: Policy | None = None
    reference: Policy | None = None
    critic: Critic | ValueHead | None = None
    """A critic with its own trunk, or a value head on the policy's."""
    reward: RewardModel | None = None
    temperature: float = 1.0
    """The sampling temperature: logits are divided by it in the engine and here alike."""
    bf16: bool = False
    """Matmuls in bfloat16 under autocast; weights, reductions and optimiser state stay in float32."""
    packing: bool = False
    """Whether rows are packed rather than padded; set by :meth:`use_packing`."""
    sampled_by_reference: bool = False
    """Whether the rows were sampled before training, by the policy as the reference keeps it, and not just now."""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        named = {"policy": self.policy, "critic": self.critic, "reward": self.reward}
        return {name: module for name, module in named.items() if module is not None}

    @property
    def device(self) -> torch.device:
        return next(next(iter(self.trained.values())).parameters()).device

    def use_packing(self, wanted: bool) -> None:
        """Pack rows in every model here.  Raises :class:`ModelError` for a model that would mix them up."""
        self.packing = wanted
        for model in (self.policy, self.reference, self.critic, self.reward) if wanted else ():
            if model is not None and not isinstance(model, ValueHead):
                check_packing(model.trunk)
                model.packing = True

    @property
    def unpadded(self) -> bool:
        """Whether no model here reads padding, so that a microbatch's size is its real tokens."""
        models = [m for m in (self.policy, self.reference, self.critic, self.reward) if m is not None]
        trunks = [model.trunk for model in models if not isinstance(model, ValueHead)]
        return self.packing or all(can_fuse(trunk, self.device) for trunk in trunks)

    def forward(self, batch: Batch, wanted: frozenset[str]) -> Outputs:
        """The fields of :class:`Outputs` that are ``wanted``, with gradient; the trunk runs once for all it serves."""
        none = torch.zeros(0, device=batch.tokens.device)
        logprobs, entropy, values, scores = none, none, none, none
        with self._autocast():
            if "scores" in wanted:
                assert self.reward is not None, "this algorithm trains a reward model, and there is none"
                scores = self.reward.scores(batch.tokens, batch.mask)
            hidden = None
            if {"logprobs", "entropy"} & wanted:
                assert self.policy is not None, "this algorithm trains a policy, and there is none"
                hidden = self.policy.hidden(batch.tokens, batch.mask, batch.completion_mask)
                logprobs, entropy = self.policy.token_logprobs(
                    hidden, batch.tokens, batch.completion_mask, self.temperature, "entropy" in wanted
                )
            if "values" in wanted:
                values = self._values(batch, hidden)
        return Outputs(logprobs=logprobs, entropy=entropy, values=values, scores=scores)

    @torch.no_grad()
    def column(self, name: str, batch: Batch) -> Tensor:
        """A column that an algorithm ``needs``, computed without gradient: [b, T]."""
        with self._autocast():
            if name == "values":
                return self._values(batch, None)
            by_reference = name == "ref_logprobs" or self.sampled_by_reference
            model = self.reference if by_reference else self.policy
            assert model is not None, f"column '{name}' needs a model that this run does not have"
            hidden = model.hidden(batch.tokens, batch.mask, batch.completion_mask)
            return model.token_logprobs(hidden, batch.tokens, batch.completion_mask, self.temperature)[0]

    def _values(self, batch: Batch, hidden: Tensor | None) -> Tensor:
        if isinstance(self.critic, Critic):
            values = self.critic.values(batch.tokens, batch.mask, batch.completion_mask)
        else:
            assert isinstance(self.critic, ValueHead), "this algorithm trains a critic, and there is none"
            assert self.policy is not None, "a value head needs the policy's trunk"
            if hidden is None:
                hidden = self.policy.hidden(batch.tokens, batch.mask, batch.completion_mask)
            values = self.critic(hidden)
        return values * batch.completion_mask

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()
