"""Whole runs: ``assent`` as a user calls it, from the checkout's root, and recipes on the tiny models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from assent.cli import main

ROOT = Path(__file__).parents[2]


def assent(*arguments: str) -> str:
    command = [sys.executable, "-m", "assent", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def run_beside(workshop: Path, folder: Path, recipe: str) -> Path:
    """Run the recipe, as ``r.yaml``, in the ``folder``, where the workshop's models and files lie too."""
    for file in workshop.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "r.yaml").write_text(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["run", "r.yaml"]) == 0
    return folder
