"""The verbs of ``assent label``: to serve the labelling app, and to look into a store."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from assent.errors import RecipeError, RunError
from assent.pipeline.exchange_verbs import VERBS as EXCHANGE


@click.group()
def label() -> None:
    """Ask people, and look at what they said."""


@label.command()
@click.argument("store")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines in.")
@click.option("--port", type=click.IntRange(0, 65535), default=8321, show_default=True, help="0 takes any free one.")
@click.option("--root-path", default="", metavar="PATH", help="Prefix under which a proxy serves it, such as /label.")
@click.option("--https", is_flag=True, help="People reach it through HTTPS only: mark the cookie as secure.")
@click.option("--open", "open_registration", is_flag=True, help="Anyone may become an annotator; else by invitation.")
@click.option("--name", help="Who the printed address lets in, once, as administrator; your login when left out.")
@click.option("--instructions", type=click.Path(), help="Markdown shown to annotators; unchanged when left out.")
@click.option("--title", default="assent", show_default=True, help="Name at the top of the page.")
def serve(store: str, instructions: str | None, **options: Any) -> None:
    """Serve the labelling app over a store: a SQLite file or postgresql:// address."""
    text = None if instructions is None else _text(instructions)
    import_module("assent.web.serve").serve(
        store,
        instructions=text,
        ready=lambda address: click.echo(f"label at {address} (Ctrl-C stops; answers are kept)"),
        **options,
    )


@label.command()
@click.argument("store")
@click.option("--role", type=click.Choice(["annotator", "viewer", "admin"]), default="annotator", show_default=True)
@click.option("--name", help="The only name it lets in, known before or not; anyone new when left out.")
@click.option("--hours", type=float, default=72.0, show_default=True, help="How long it is good for.")
@click.option("--queue", "queues", multiple=True, help="A queue to work in; all when left out.")
@click.option("--address", default="http://127.0.0.1:8321/", show_default=True, help="Where people reach the app.")
def invite(store: str, role: str, name: str | None, hours: float, queues: tuple[str, ...], address: str) -> None:
    """Print a link that lets one person into the labelling app, once."""
    with _open_store(store) as opened:
        token = opened.people.invite(role, "the command line", hours, name, queues)
    click.echo(f"{address.rstrip('/')}/join/{token}")


@label.command("status")
@click.argument("store")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def label_status(store: str, as_json: bool) -> None:
    """Count questions and answers in a store."""
    with _open_store(store) as opened:
        found = opened.summary()
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else _summary_text(found))


def _summary_text(found: dict[str, Any]) -> str:
    lines = [f"{found['questions']} questions, {found['answers']} answers, {found['skips']} skipped"]
    for name, project in found["projects"].items():
        left = "" if project["budget"] is None else f", {project['budget_left']} of {project['budget']} answers left"
        lines.append(
            f"  project {name}: {project['questions']} questions, {project['untouched']} untouched, "
            f"{project['closed']} complete{left}"
        )
    lines += [f"  {name}: {count}" for name, count in found["annotators"].items()]
    return "\n".join(lines)


@label.command("agreement")
@click.argument("store")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def label_agreement(store: str, as_json: bool) -> None:
    """Say how far annotators agree, and how far each can be relied on."""
    from assent.pipeline import agreement

    with _open_store(store) as opened:
        found = agreement.examine(opened)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        agreement.show(found)


for verb in EXCHANGE:
    label.add_command(verb)


def _open_store(store: str) -> Any:
    if "://" not in store and not Path(store).is_file():
        raise RunError(f"{store}: there is no such feedback store")
    return import_module("assent.feedback.store").FeedbackStore.open(store)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as text: {error}") from None
