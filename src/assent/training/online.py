"""A reward model that learns answers one by one, in the order in which they were given.

Each answer is learned by a few gradient steps on it together with answers from before.  Which ones is a function of the
seed and of the answer's event, so that the same answers in the same order give the same bits, however they were spread
over time.  A checkpoint names the answers that its weights have learned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from assent.algorithms.batch import Batch
from assent.algorithms.reward_model import ALGORITHM, RewardModelSettings
from assent.models.scalar import RewardModel
from assent.rewards.model import score_rows
from assent.training.callbacks import Callback, StepEvent
from assent.training.loop import Training
from assent.training.objective import Objective
from assent.training.optim import LoopSettings, OptimSettings, build_optimizers
from assent.training.roles import Roles
from assent.training.sources import Example, collate
from assent.types import short_id


class OnlineSettings(OptimSettings, LoopSettings, RewardModelSettings):
    """Learning answer by answer."""

    steps: int = Field(default=2, gt=0)
    """Gradient steps on each answer."""
    replayed: int = Field(default=7, ge=0)
    """Answers from before that each of these steps is on as well."""
    lr_scheduler_type: Literal["constant"] = "constant"  # pyright: ignore[reportIncompatibleVariableOverride]
    """The learning rate stays: nobody knows how many answers there will be."""
    warmup_steps: int = Field(default=10, ge=0)
    """Steps in which the learning rate rises from zero, while Adam knows no gradients yet."""


@dataclass(frozen=True)
class Update:
    """What one answer did to the reward model."""

    accuracy: float | None
    """Share of its decided comparisons that the model ordered rightly before; ``None`` where all are ties."""
    loss: float
    """Of its last step."""
    replayed: list[int]
    """Events of the answers that its steps were on as well, in order; of those from before the run, how many: as
    negative numbers from -1 on, their places."""


class Place(Callback):
    """How far the answers are learned, as a checkpoint has it."""

    def __init__(self) -> None:
        self.upto = 0
        """Every answer up to this event is learned, or passed over."""
        self.learned: list[int] = []
        """Events of the answers learned, in order."""
        self.given = 0
        """Answers learned or left out on purpose."""
        self.files_behind: Sequence[Path] = ()

    def after_step(self, event: StepEvent) -> bool:
        return False

    def state(self) -> dict[str, Any]:
        return {"upto": self.upto, "learned": list(self.learned), "given": self.given}

    def logs(self) -> Sequence[Path]:
        return [path for path in self.files_behind if path.exists()]

    def restore(self, state: dict[str, Any], folder: Path) -> None:
        self.upto, self.learned, self.given = int(state["upto"]), list(state["learned"]), int(state["given"])


class OnlineReward:
    """See the module's docstring.  It goes on from the newest checkpoint in ``folder``."""

    def __init__(
        self,
        model: RewardModel,
        settings: OnlineSettings,
        folder: Path,
        seed: int,
        say: Callable[[str], None],
        before: Sequence[Example] = (),
    ) -> None:
        """``before``: rankings that ``model`` has learned already, to be learned again beside new ones."""
        self.model, self.settings, self.seed = model, settings, seed
        self.before = list(before)
        self.pool: dict[int, Example] = {}
        """By event, the answers learned that still stand; whoever restores a checkpoint fills it again."""
        self.place = Place()
        self._batch: Batch | None = None
        roles = Roles(reward=model)
        self.training = Training(
            objectives=[Objective(self, ALGORITHM, settings)],
            roles=roles,
            optimizers=build_optimizers(roles.trained, settings),
            optim=settings,
            loop=settings,
            total_steps=0,
            folder=folder,
            callbacks=[self.place],
            seed=seed,
            say=say,
        )
        self.training.restore()

    def batch(self, step: int) -> tuple[Batch, dict[str, float]]:
        """The batch of the answer that is being learned; see :class:`assent.training.sources.Source`."""
        assert self._batch is not None
        return self._batch, {}

    def learn(self, event: int, example: Example) -> Update:
        """Learn one answer; how it was foreseen, and what it did."""
        accuracy = self.accuracy(example)
        names = [*range(-1, -1 - len(self.before), -1), *self.pool]
        earlier = [*self.before, *self.pool.values()]
        draw = np.random.Generator(np.random.Philox(key=int(short_id(self.seed, "replay", event), 16)))
        replayed: list[int] = []
        loss = 0.0
        for _ in range(self.settings.steps):
            places = draw.choice(len(earlier), min(self.settings.replayed, len(earlier)), replace=False)
            chosen = sorted(int(place) for place in places)
            examples = [example, *(earlier[place] for place in chosen)]
            self._batch = collate(examples, int(self.model.tokenizer.pad_token_id), self.training.roles.device)
            figures, _ = self.training.one_step()
            loss = figures["loss"]
            replayed += [names[place] for place in chosen]
        self.pool[event] = example
        self.place.learned.append(event)
        return Update(accuracy, loss, replayed)

    def accuracy(self, example: Example) -> float | None:
        """Share of the example's decided comparisons that the model orders rightly, a tie of its scores half."""
        decided = [pair for pair in example.pairs if not pair.tie]
        if not decided:
            return None
        rows = [row.token_ids for row in example.rows]
        scores = score_rows(self.model, rows, self.settings.token_budget)[:, 0].tolist()
        gaps = [scores[pair.chosen] - scores[pair.rejected] for pair in decided]
        return sum(0.5 if gap == 0 else float(gap > 0) for gap in gaps) / len(gaps)
