"""What this machine has, and what would be used.  The one light module that loads torch, and only when asked."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import asdict
from importlib import import_module, metadata, util
from typing import Any

import assent
from assent.data.hub import hub_answers
from assent.runs.machine import cpu_name, read_peak

PACKAGES = ("transformers", "tokenizers", "safetensors", "huggingface-hub", "datasets", "pyarrow", "pydantic",
            "sqlalchemy", "fastapi", "matplotlib", "scipy")  # fmt: skip
EXTRAS = {
    "postgres": ("psycopg", "feedback in PostgreSQL"),
    "vllm": ("vllm", "fast rollouts on a GPU"),
    "ray": ("ray", "several machines"),
}


def examine() -> dict[str, Any]:
    """The machine and the installation as plain JSON types; memory and disk in bytes."""
    found: dict[str, Any] = {
        "assent": assent.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": memory(),
        "disk_free": shutil.disk_usage(".").free,
        "packages": {name: _version(name) for name in PACKAGES},
        "extras": {name: util.find_spec(module) is not None for name, (module, _) in EXTRAS.items()},
        "hub": {
            "offline": os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "TRUE", "YES"),
            "answers": hub_answers("a name on the hub"),
            "token": bool(os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")),
        },
    }
    found.update(_torch())
    return found


def memory() -> dict[str, int]:
    """Bytes of main memory: ``total``, and ``available`` where the system says it."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            rows = dict(line.split(":", 1) for line in stream)
        names = {"total": "MemTotal", "available": "MemAvailable"}
        return {name: int(rows[key].split()[0]) * 1024 for name, key in names.items()}
    except (OSError, KeyError, ValueError):
        try:
            return {"total": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")}
        except (AttributeError, ValueError, OSError):
            return {}


def as_text(found: dict[str, Any]) -> str:
    """The findings as lines for people."""
    gib = 2**30
    figures = {name: f"{size / gib:.1f} GiB {name}" for name, size in found["memory"].items()}
    lines = [
        f"assent           {found['assent']}",
        f"python           {found['python']}",
        f"system           {found['system']}, {found['cores']} cores",
        f"memory           {', '.join(figures.values()) or 'unknown'}",
        f"disk             {found['disk_free'] / gib:.1f} GiB free here",
    ]
    torch = found["torch"]
    if "error" in torch:
        lines.append(f"torch            cannot be imported: {torch['error']}")
    else:
        lines.append(f"torch            {torch['version']}, {torch['threads']} threads")
        lines += [f"gpu              {gpu['name']}, {gpu['memory'] / gib:.0f} GiB" for gpu in torch["gpus"]]
        if not torch["gpus"]:
            lines.append("gpu              none that torch can use")
    lines += [f"{name:<16} {version or 'not installed'}" for name, version in found["packages"].items()]
    for name, present in found["extras"].items():
        lines.append(f"{name:<16} {'installed' if present else 'not installed'} (optional: {EXTRAS[name][1]})")
    hub = found["hub"]
    token = "with a token" if hub["token"] else "without a token in HF_TOKEN (gated models need one)"
    state = "switched off by HF_HUB_OFFLINE" if hub["offline"] else "answers" if hub["answers"] else "does not answer"
    lines.append(f"hub              {state}, {token}")
    lines.append(f"would use        {found['would_use']}")
    peak = found["peak"]
    lines.append("peak             " + (_rates(peak) if peak else "not measured ('assent doctor --measure' does)"))
    return "\n".join(lines)


def _rates(peak: dict[str, Any]) -> str:
    return (
        f"{peak['float32'] / 1e9:,.0f} GFLOP/s float32, {peak['bfloat16'] / 1e9:,.0f} bfloat16, "
        f"{peak['bandwidth'] / 1e9:.1f} GB/s copied (measured {peak['measured']})"
    )


def _torch() -> dict[str, Any]:
    try:
        torch = import_module("torch")
    except (ImportError, OSError) as error:
        return {"torch": {"error": str(error)}, "would_use": "nothing: torch must be installed first", "peak": None}
    gpus: list[dict[str, Any]] = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            gpus.append({"name": properties.name, "memory": properties.total_memory})
    threads = torch.get_num_threads()
    use = f"cuda: {gpus[0]['name']}" if gpus else f"cpu with {threads} threads"
    peak = read_peak(gpus[0]["name"] if gpus else cpu_name())
    return {
        "torch": {"version": torch.__version__, "threads": threads, "gpus": gpus},
        "would_use": use,
        "peak": None if peak is None else asdict(peak),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
