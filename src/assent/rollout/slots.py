"""Continuous batching: rows in slots, where a row that ends makes room for the next one at once."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from assent.rollout.decoders.transformer import Decoder, Weights, lanes
from assent.rollout.sampling import draw
from assent.types import SamplingSettings

Prompt = tuple[int, ...]


@dataclass(frozen=True)
class Drawn:
    """What was drawn for each row, all [B, T]; what lies behind a row's first stop token means nothing."""

    tokens: Tensor
    logprobs: Tensor
    sampling_logprobs: Tensor


class SlotDecoding:
    """One call's rows, of which up to ``slots`` decode at a time.

    Rows wait in the order of their prompts' lengths.  The tokens of a prompt but its last are read once for all of its
    samples, and a copy of their keys and values goes to each slot; its last token is a row's first step.  When nobody
    waits any more, the rows that are left move together, so that those that ended cost nothing.
    """

    def __init__(
        self,
        weights: Weights,
        prompts: Sequence[Prompt],
        uniforms: Tensor,
        sampling: SamplingSettings,
        stop: Tensor,
        slots: int,
    ) -> None:
        """``prompts``: one for each row, B in all; ``uniforms`` [B, T] of T steps; ``stop``: ids that end a row."""
        self.prompts, self.sampling, self.stop = prompts, sampling, stop
        rows, steps = uniforms.shape
        self.queue = deque(sorted(range(rows), key=lambda row: (len(prompts[row]), prompts[row])))
        self.slots = min(slots, rows)
        self.lanes = lanes(self.slots)
        """Slots that a step runs: the first of them."""
        self.decoder = Decoder(weights, self.lanes, max(map(len, prompts)) + steps)
        self.read: dict[Prompt, Tensor] = {}
        """Keys and values of prompts that more rows wait for."""
        self.waiting = Counter(prompts)
        # A slot that holds no row works on a row behind the last, at position 0, and never moves on.
        self.nobody = rows
        self.uniforms = torch.cat([uniforms, uniforms.new_zeros(1, steps)])
        self.tokens = torch.zeros(rows + 1, steps, dtype=torch.long, device=uniforms.device)
        self.logprobs = torch.zeros(rows + 1, steps, device=uniforms.device)
        self.sampling_logprobs = torch.zeros_like(self.logprobs)
        self.state = torch.zeros(self.lanes, 4, dtype=torch.long, device=uniforms.device)
        """Row, tokens drawn so far, last token and its position, of each slot."""
        self.state[:, 0] = self.nobody
        self.held = [False] * self.lanes
        """Whether a slot holds a row."""

    @torch.inference_mode()
    def run(self) -> Drawn:
        """Decode all rows."""
        while self.queue or any(self.held):
            if self.queue:
                self._admit()
            else:
                self._close_ranks()
            self._step()
        return Drawn(self.tokens[:-1], self.logprobs[:-1], self.sampling_logprobs[:-1])

    def _step(self) -> None:
        row, count, token, position = (column.contiguous() for column in self.state[: self.lanes].unbind(1))
        logits = self.decoder.step(token, position, int(position.max()) + 1)
        young = count < self.sampling.min_new_tokens if self.sampling.min_new_tokens else None
        banned = None if young is None else self.stop
        drawn, logprobs, sampled = draw(logits, self.uniforms[row, count], self.sampling, banned, young)
        self.tokens[row, count] = drawn
        self.logprobs[row, count] = logprobs
        self.sampling_logprobs[row, count] = sampled
        alive = row < self.nobody
        count, position = count + alive, position + alive
        self.state[: self.lanes] = torch.stack([row, count, drawn, position], 1)
        ended = alive & (torch.isin(drawn, self.stop) | (count == self.sampling.max_new_tokens))
        for slot in ended.nonzero()[:, 0].tolist():
            self._free(slot)

    def _free(self, slot: int) -> None:
        self.held[slot] = False
        self.state[slot] = torch.tensor([self.nobody, 0, 0, 0])

    def _admit(self) -> None:
        """Fill the free slots from the queue, once there are enough of them to be worth a pass over prompts."""
        free = [slot for slot in range(self.slots) if not self.held[slot]]
        if len(free) < min(len(self.queue), max(1, self.slots // 16)):
            return
        rows = [self.queue.popleft() for _ in range(min(len(free), len(self.queue)))]
        slots_of: dict[Prompt, list[int]] = {}
        for row, slot in zip(rows, free, strict=False):
            prompt = self.prompts[row]
            slots_of.setdefault(prompt, []).append(slot)
            self.held[slot] = True
            self.state[slot] = torch.tensor([row, 0, prompt[-1], len(prompt) - 1])
        unread = [prompt for prompt in slots_of if len(prompt) > 1 and prompt not in self.read]
        self.read.update(zip(unread, self.decoder.prefill([prompt[:-1] for prompt in unread]), strict=True))
        for prompt, places in slots_of.items():
            if len(prompt) > 1:
                self.decoder.place(self.read[prompt], torch.tensor(places, device=self.state.device))
            self.waiting[prompt] -= len(places)
            if not self.waiting[prompt]:
                self.read.pop(prompt, None)

    def _close_ranks(self) -> None:
        """Move rows from the last slots to free ones before them, and run fewer slots."""
        fewer = lanes(sum(self.held))
        if fewer >= self.lanes:
            return
        source = [slot for slot in range(fewer, self.lanes) if self.held[slot]]
        target = [slot for slot in range(fewer) if not self.held[slot]][: len(source)]
        if source:
            device = self.state.device
            one, other = torch.tensor(source, device=device), torch.tensor(target, device=device)
            self.decoder.move(one, other, int(self.state[one, 3].max()) + 1)
            self.state[other] = self.state[one]
        for old, new in zip(source, target, strict=True):
            self.held[old], self.held[new] = False, True
        self.lanes = fewer
