"""Imports point one way, a planted violation is caught, and the light packages load without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIGHT = ("types", "errors", "config", "runs", "feedback", "web", "reports")


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=root,
        env={"PYTHONPATH": str(root / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_imports_point_one_way():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("algorithms/base.py", "import assent.training", "Imports point one way"),
        ("runs/folder.py", "import assent.pipeline.recipe", "Imports point one way"),
        ("algorithms/kl.py", "import transformers", "The algorithms know no model, file or run"),
        ("reports/extract.py", "import torch", "Light packages load without torch"),
        ("rollout/local.py", "def late():\n    import ray", "Only the cluster code imports Ray"),
        ("runs/digest.py", "def late():\n    import torch", "Light packages load without torch"),
    ],
)
def test_a_planted_violation_is_caught(tmp_path, file, line, contract):
    shutil.copytree(ROOT / "src" / "assent", tmp_path / "src" / "assent", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with open(tmp_path / "src" / "assent" / file, "a") as stream:
        stream.write(f"\n\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode != 0
    assert f"{contract} BROKEN" in " ".join(done.stdout.split())


@pytest.mark.parametrize("package", LIGHT)
def test_light_packages_load_without_torch(package):
    program = (
        "import importlib, pkgutil, sys\n"
        f"package = importlib.import_module('assent.{package}')\n"
        "for item in pkgutil.walk_packages(getattr(package, '__path__', ()), package.__name__ + '.'):\n"
        "    if 'migrations' not in item.name:\n"  # Alembic runs those, in a context of its own
        "        importlib.import_module(item.name)\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
