"""Stage ``report``: one HTML page and one JSON file about the run."""

from __future__ import annotations

from pydantic import Field

from assent.config import Settings
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.reports.page import write_report


class ReportSettings(Settings):
    """Report."""

    inputs: list[str] = Input("folder", description="The stages that the report tells of")
    title: str = Field(default="assent run")
    """Heading of the page."""
    hourly_price: float | None = Field(default=None, ge=0.0)
    """What an hour of the machine costs; unset = the page says nothing of costs."""
    currency: str = "USD"
    """What the price is in."""


def run(settings: ReportSettings, context: Context) -> Metrics:
    price, currency = settings.hourly_price, settings.currency
    figures = write_report(context.run_dir, context.out, settings.title, hourly_price=price, currency=currency)
    return {name: value for name, value in figures.items() if isinstance(value, (int, float))}


STAGE = Stage(kind="report", summary="Write the HTML report of the run", Settings=ReportSettings, run=run, verb=False)
