"""Settings of programs that answer in place of people or of a language model."""

from __future__ import annotations

from pydantic import Field

from assent.config import Settings
from assent.feedback.answers import SIMULATED
from assent.feedback.simulate import SimulatedAnnotator


class AnnotatorSettings(Settings):
    """One simulated annotator."""

    name: str
    """Shown in the report; stored as simulated:NAME."""
    noise: float = Field(default=0.5, ge=0.0)
    """Scale of the noise on the true utility; 0 is a perfect reader."""
    noise_on: dict[str, float] = Field(default_factory=dict[str, float])
    """Criterion -> noise on it, where it is another."""
    tie_width: float = Field(default=0.25, ge=0.0)
    """Answers closer than this share a rank."""
    tie_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of neighbours in the order that are tied besides, the closest first."""
    fail_below: float = -2.0
    """Answers perceived below this get F."""
    fail_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the answers that get F besides, the worst first."""
    position_bias: float = 0.0
    """Utility that the first answer shown gains over the last."""
    length_bias: float = 0.0
    """Utility that an answer gains for each doubling of its length."""
    laziness: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the questions answered at random."""
    spam: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the questions answered in the order shown."""
    contrariness: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the questions answered the other way round; 1 is an adversary."""
    drift: float = Field(default=0.0, ge=0.0)
    """How much larger the noise is at the end of the work: by this factor plus one."""

    def annotator(self) -> SimulatedAnnotator:
        """What these settings are of."""
        return SimulatedAnnotator(**{**self.model_dump(), "name": f"{SIMULATED}{self.name}"})
