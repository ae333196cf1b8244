"""The verbs ``assent label import``, ``export`` and ``formats``: what they take.  What they do is loaded when asked."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click


@click.command("import")
@click.argument("file", type=click.Path())
@click.option(
    "--into",
    "store",
    required=True,
    metavar="STORE",
    help="A SQLite file, made where missing, or postgresql:// address.",
)
@click.option("--format", "form", metavar="FORM", help="Told by the columns when left out.")
@click.option(
    "--annotator", metavar="NAME", help="Who answered, where the file does not say; the form's name when left out."
)
@click.option(
    "--scale", type=(int, int), metavar="LOW HIGH", help="Lowest and highest rating; the form's when left out."
)
@click.option("--project", default="default", show_default=True, help="Project of the questions.")
@click.option("--strict", is_flag=True, help="Take nothing of a file with a row that is refused.")
@click.option("--refused", metavar="FILE", help="Write every refusal there, one a line.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def label_import(**options: Any) -> None:
    """Take rankings, comparisons, judgements and demonstrations from a file into a store.

    FORM is one of those that 'assent label formats' lists.  The same file again adds nothing.
    """
    import_module("assent.pipeline.exchange").run_import(**options)


@click.command("export")
@click.argument("store")
@click.option("--out", required=True, metavar="FILE", help="Its ending says the kind of file; a folder for argilla.")
@click.option(
    "--format", "form", default="records", show_default=True, metavar="FORM", help="See 'assent label formats'."
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(["rankings", "judgements", "demonstrations"]),
    help="Write only these records; repeatable.",
)
@click.option("--criterion", metavar="NAME", help="Write only what was said on this criterion.")
@click.option("--project", metavar="NAME", help="Write only what belongs to this project.")
@click.option(
    "--plain", is_flag=True, help="Leave out the column 'assent', which keeps what the form has no place for."
)
@click.option("--strict", is_flag=True, help="Write nothing where the form cannot hold all.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def label_export(**options: Any) -> None:
    """Write the answers of a store to a file, and say what the form could not hold."""
    import_module("assent.pipeline.exchange").run_export(**options)


@click.command("formats")
def label_formats() -> None:
    """List the forms that can be imported and exported."""
    click.echo("\n".join(import_module("assent.pipeline.exchange").formats()))


VERBS = (label_import, label_export, label_formats)
