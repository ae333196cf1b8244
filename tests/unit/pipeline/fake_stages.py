"""Light stages for tests of the pipeline; what they did is written to CALLS."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from assent.config import Settings
from assent.errors import DataError
from assent.pipeline.stage import Context, Input, Stage, Waiting

CALLS: list[str] = []


class Inner(Settings):
    depth: int = 1


class MakeSettings(Settings):
    rows: int = Field(default=3, gt=0)
    """Rows to write."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Steps' size."""
    schedule: Literal["linear", "cosine"] = "linear"
    note: str | None = None
    inner: Inner = Inner()
    sizes: list[int] = []  # noqa: RUF012
    packing: bool = False
    device: str = Field(default="cpu", json_schema_extra={"identity": False})

    @model_validator(mode="after")
    def _rows_and_rate(self) -> MakeSettings:
        if self.rows == 13:
            raise ValueError("13 rows bring bad luck")
        return self


def make(settings: MakeSettings, context: Context):
    CALLS.append("make")
    context.progress.start("make", settings.rows)
    with open(context.out / "rows.jsonl", "w") as stream:
        for row in range(settings.rows):
            context.progress.advance(loss=1.0)
            stream.write(json.dumps({"row": row, "seed": context.seed}) + "\n")
    context.progress.stop()
    return {"rows": settings.rows, "loss": float("nan")}


class UseSettings(Settings):
    data: str = Input("data", description="What to read")
    model: str | None = Input("model", None)
    others: list[str] = Input("folder", [])
    named: dict[str, str] = Input("model", {})
    store: str | None = Input("store", None)
    rule: str | None = Input("code", None)


def use(settings: UseSettings, context: Context):
    CALLS.append("use")
    (context.out / "seen.json").write_text(settings.model_dump_json())
    (context.out / "report.json").write_text(json.dumps({"rows": len(Path(settings.data).read_text().splitlines())}))
    (context.out / "report.html").write_text("<p>report</p>")
    return {}


class FailSettings(Settings):
    how: str = "waiting"
    leave: str = ""
    people: bool = False


def fail(settings: FailSettings, context: Context):
    """Fails in the way asked for, once; with its own checkpoint there it goes on and finishes."""
    CALLS.append(f"fail {settings.how}")
    checkpoint = context.out / "checkpoint.txt"
    if checkpoint.exists() and checkpoint.read_text():
        return {"resumed": 1}
    checkpoint.write_text(settings.leave)
    if settings.how == "waiting":
        raise Waiting("3 of 10 rankings are in; label at http://127.0.0.1:8321/")
    if settings.how == "interrupt":
        raise KeyboardInterrupt
    if settings.how == "terminate":
        os.kill(os.getpid(), 15)
    if settings.how == "kill":
        os.kill(os.getpid(), 9)
    if settings.how == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    if settings.how == "full elsewhere":
        raise RuntimeError("Error while serializing: No space left on device (os error 28)")
    if settings.how == "data":
        raise DataError("column 'prompt' is missing", "x.jsonl", 3)
    if settings.how == "bug":
        raise ZeroDivisionError("a fault")
    return {}


MAKE = Stage("make", "Make rows", MakeSettings, make)
USE = Stage("use", "Use rows", UseSettings, use)
FAIL = Stage("fail", "Fail", FailSettings, fail, verb=False)
TABLE = {"make": "fake_stages:MAKE", "use": "fake_stages:USE", "fail": "fake_stages:FAIL"}


def install() -> None:
    """Put these stages in place of the real ones, for this process."""
    from assent.pipeline import schema, stages

    stages.STAGES.clear()
    stages.STAGES.update(TABLE)
    table = schema.from_table(schema.generate())
    schema.stage_schemas = lambda: table


if __name__ == "__main__":  # 'python fake_stages.py run r.yaml' is the command line over the fake stages
    import sys

    from assent.cli import main

    install()
    sys.exit(main())
