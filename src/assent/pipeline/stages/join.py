"""Stage ``join``: files of rows as one, such as the answers of all rounds so far."""

from __future__ import annotations

from assent.config import Settings
from assent.data.jsonl import write_jsonl
from assent.data.rows import read_rows
from assent.errors import DataError
from assent.pipeline.stage import Context, Input, Metrics, Stage


class JoinSettings(Settings):
    """Joining files."""

    data: list[str] = Input("data", description="Files of rows (JSON Lines, CSV and so on), in the order they are put")


def run(settings: JoinSettings, context: Context) -> Metrics:
    """Writes ``rows.jsonl``, every row of every file."""
    if not settings.data:
        raise DataError("join: no file is given in data", "data")
    every = (row.values for source in settings.data for row in read_rows(source))
    return {"files": len(settings.data), "rows": write_jsonl(context.out / "rows.jsonl", every)}


STAGE = Stage(kind="join", summary="Put files of rows together", Settings=JoinSettings, run=run)
