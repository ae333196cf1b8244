"""A rule: whether the code in the completion passes the prompt's unit tests."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pydantic import Field

from assent.config import Settings
from assent.errors import DataError
from assent.rewards.kinds import SourceKind
from assent.rewards.sandbox import Limits, run_tests
from assent.rewards.source import Scores
from assent.rewards.text import fenced
from assent.types import Completion, Prompt


class CodeSettings(Settings):
    """Reward by unit tests of Python code, run in a sandbox."""

    column: str = "tests"
    """Column of the prompts' file with the tests: a piece of Python, or a list of them, that fails by an exception."""
    setup: str | None = None
    """Column with Python that comes before the completion's code, such as imports; unset = nothing does."""
    partial: bool = False
    """The score is the share of tests passed; unset = 1 where all are, else 0."""
    seconds: float = Field(default=10.0, gt=0.0)
    """Time for one completion's code with all its tests."""
    memory_mb: int = Field(default=512, gt=0)
    """Memory of a process."""
    at_once: int = Field(default=2, gt=0, json_schema_extra={"identity": False})
    """Sandboxes at a time."""


class CodeReward:
    """The code is that of the completion's ``` blocks marked as Python or not marked, joined; without such a block, the
    whole completion.  See :mod:`assent.rewards.sandbox` for what the sandbox promises and what it does not."""

    def __init__(self, settings: CodeSettings) -> None:
        self.settings = settings
        self._limits = Limits(settings.seconds, settings.memory_mb)

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Scores:
        """Raises :class:`DataError` for a prompt without tests."""
        programs = [self._program(p, c) for p, c in zip(prompts, completions, strict=True)]
        tests = [self._tests(prompt) for prompt in prompts]
        with ThreadPoolExecutor(self.settings.at_once) as pool:
            passed = list(pool.map(lambda *job: run_tests(job[0], job[1], self._limits), programs, tests))
        shares = [sum(one) / len(one) for one in passed]
        return Scores(tuple(shares if self.settings.partial else [float(share == 1.0) for share in shares]))

    def _program(self, prompt: Prompt, completion: Completion) -> str:
        before = str(prompt.metadata.get(self.settings.setup, "")) + "\n" if self.settings.setup else ""
        blocks = fenced(completion.text, "python") or fenced(completion.text, "py")
        return before + ("\n".join(blocks) if blocks else completion.text)

    def _tests(self, prompt: Prompt) -> list[str]:
        found = prompt.metadata.get(self.settings.column)
        given = found if isinstance(found, list) else [found]
        tests = [test for test in given if isinstance(test, str) and test.strip()]
        if not tests or len(tests) < len(given):
            raise DataError(
                f"prompt '{prompt.id}' has no tests in column '{self.settings.column}'; expected Python, or a list of "
                "it"
            )
        return tests


KIND = SourceKind("code", "Reward by unit tests of code", CodeSettings, CodeReward)
