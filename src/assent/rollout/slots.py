"""Continuous batching: rows in slots, where a row that ends makes room for the next one at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from assent.types import SamplingSettings

Prompt = tuple[int, ...]


class Decoder(Protocol):
    """A model with a cache of keys and values in slots."""

    def rows(self, count: int) -> int:
        """Rows that a step of ``count`` takes: the rest of them hold nothing."""
        ...

    def advance(self, work: Callable[[], Tensor], rows: int, reach: int) -> Tensor:
        """Do ``work``, which samples once after the first ``rows`` slots, their last tokens at ``reach`` at most.

        The same ``work`` each time: it reads and writes the same tensors, and may be recorded and replayed.  What it
        returned may be overwritten by the next call.
        """
        ...

    def sample(
        self,
        tokens: Tensor,
        positions: Tensor,
        uniforms: Tensor,
        sampling: SamplingSettings,
        stop: Tensor,
        young: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What :func:`assent.rollout.sampling.draw` gives after tokens [N] at ``positions`` [N] of the first N slots.

        ``stop``: ids that are not drawn in the rows where ``young`` [N] is true.
        """
        ...

    def read(self, prompts: Sequence[Prompt], slots: Sequence[int]) -> None:
        """Keys and values of each prompt into its slot."""
        ...

    def copy(self, source: Sequence[int], target: Sequence[int], width: int) -> None:
        """Copy the first ``width`` places of slots ``source`` to slots ``target``."""
        ...


@dataclass(frozen=True)
class Drawn:
    """What was drawn for each row, all [B, T]; what lies behind a row's last token means nothing."""

    tokens: Tensor
    logprobs: Tensor
    sampling_logprobs: Tensor
    lengths: list[int]
    """Tokens of each row."""


class SlotDecoding:
    """One call's rows, of which up to ``slots`` decode at a time.

    Rows wait in the order of their prompts' lengths.  The tokens of a prompt but its last are read once for all of its
    samples, and a copy of their keys and values goes to each slot; its last token is a row's first step.  When nobody
    waits any more, the rows that are left move together, so that those that ended cost nothing.
    """

    def __init__(
        self,
        decoder: Callable[[int], Decoder],
        prompts: Sequence[Prompt],
        uniforms: Tensor,
        sampling: SamplingSettings,
        stop: Tensor,
        slots: int,
        watch: Callable[[int, int], bool] | None = None,
    ) -> None:
        """``decoder`` of a number of slots; ``prompts``: one for each row, B in all; ``uniforms`` [B, T] of T steps;
        ``stop``: ids that end a row; ``watch``, where given, is told of each row's next token and says whether the row
        ends with it.
        """
        self.prompts, self.sampling, self.stop, self.watch = prompts, sampling, stop, watch
        rows, steps = uniforms.shape
        self.queue = deque(sorted(range(rows), key=lambda row: (len(prompts[row]), prompts[row])))
        self.slots = min(slots, rows)
        self.decoder = decoder(self.slots)
        self.lanes = self.decoder.rows(self.slots)
        """Slots that a step runs: the first of them."""
        self.last_read: tuple[Prompt, int] | None = None
        """The prompt read last, and a slot that holds it for as long as more rows of it wait."""
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
        self.row = [self.nobody] * self.lanes
        """The row that a slot holds or held last."""
        self.place = [0] * self.lanes
        """The position of a slot's last token, as in its state."""
        self.lengths = [0] * rows

    @torch.inference_mode()
    def run(self) -> Drawn:
        """Decode all rows."""
        while self.queue or any(self.held):
            if self.queue:
                self._admit()
            else:
                self._close_ranks()
            self._step()
        return Drawn(self.tokens[:-1], self.logprobs[:-1], self.sampling_logprobs[:-1], self.lengths)

    def _step(self) -> None:
        over = self.decoder.advance(self._draw, self.lanes, max(self.place[: self.lanes]))
        for slot in range(self.lanes):
            self.place[slot] += self.held[slot]
        slots = [slot for slot, ended in enumerate(over.tolist()) if ended]
        if self.watch is not None:
            tokens = self.state[: self.lanes, 2].tolist()
            seen = [slot for slot in range(self.lanes) if self.held[slot] and self.watch(self.row[slot], tokens[slot])]
            slots = sorted({*slots, *seen})
        if slots:
            self._free(slots)

    def _draw(self) -> Tensor:
        """The next token of each slot that runs; whether its row ends with it [lanes]."""
        state = self.state[: self.lanes]
        row, count, token, position = (column.contiguous() for column in state.unbind(1))
        young = count < self.sampling.min_new_tokens
        uniforms = self.uniforms[row, count]
        drawn, logprobs, sampled = self.decoder.sample(token, position, uniforms, self.sampling, self.stop, young)
        self.tokens[row, count] = drawn
        self.logprobs[row, count] = logprobs
        self.sampling_logprobs[row, count] = sampled
        alive = row < self.nobody
        count, position = count + alive, position + alive
        state.copy_(torch.stack([row, count, drawn, position], 1))
        return alive & (torch.isin(drawn, self.stop) | (count == self.sampling.max_new_tokens))

    def _free(self, slots: list[int]) -> None:
        """The rows of these slots ended; each slot waits where it spoils nothing of the prompt it holds."""
        for slot in slots:
            last = len(self.prompts[self.row[slot]]) - 1
            self.lengths[self.row[slot]] = self.place[slot] - last
            self.held[slot], self.place[slot] = False, last
        self._set(slots, [[self.nobody, 0, 0, self.place[slot]] for slot in slots])

    def _set(self, slots: list[int], states: list[list[int]]) -> None:
        self.state[slots] = torch.tensor(states, device=self.state.device)

    def _admit(self) -> None:
        """Fill the free slots from the queue, once there are enough of them to be worth a pass over prompts."""
        free = [slot for slot in range(self.slots) if not self.held[slot]]
        if len(free) < min(len(self.queue), max(1, self.slots // 16)):
            return
        unread: dict[Prompt, list[int]] = {}
        filled = free[: len(self.queue)]
        for slot in filled:
            row = self.queue.popleft()
            prompt = self.prompts[row]
            self.row[slot], self.held[slot], self.place[slot] = row, True, len(prompt) - 1
            if len(prompt) == 1:
                continue
            if self.last_read is not None and prompt == self.last_read[0]:
                # Rows of one prompt wait behind one another, so nobody has taken its slot for another prompt yet.
                if slot != self.last_read[1]:
                    self.decoder.copy([self.last_read[1]], [slot], len(prompt) - 1)
            else:
                unread.setdefault(prompt, []).append(slot)
        self._set(filled, [[self.row[s], 0, self.prompts[self.row[s]][-1], self.place[s]] for s in filled])
        if not unread:
            return
        self.decoder.read([prompt[:-1] for prompt in unread], [places[0] for places in unread.values()])
        for prompt, (first, *others) in unread.items():
            if others:
                self.decoder.copy([first] * len(others), others, len(prompt) - 1)
            self.last_read = prompt, first

    def _close_ranks(self) -> None:
        """Move rows from the last slots to free ones before them, and run fewer slots."""
        fewer = self.decoder.rows(sum(self.held))
        if fewer >= self.lanes:
            return
        source = [slot for slot in range(fewer, self.lanes) if self.held[slot]]
        target = [slot for slot in range(fewer) if not self.held[slot]][: len(source)]
        if source:
            self.decoder.copy(source, target, max(self.place[slot] for slot in source) + 1)
            self.state[target] = self.state[source]
        for old, new in zip(source, target, strict=True):
            self.held[old], self.held[new] = False, True
            self.row[new], self.place[new] = self.row[old], self.place[old]
        self.lanes = fewer
