"""The command ``assent``: few verbs, each a thin call.

Nothing heavy is imported before a verb needs it: help, ``plan`` and a recipe with a typo answer at once.
Exit status: 0 done, 1 a fault of ours, 2 the user's mistake, 3 waiting for people, 4 a release that did not pass, 130
stopped by Ctrl-C.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from assent import __version__
from assent.errors import AssentError, nearest, one_line
from assent.pipeline.label_verbs import label

WAITING = 3
REFUSED = 4


class Verbs(click.Group):
    """The static verbs below, and one for each kind of stage that can run alone."""

    sections = (
        ("The whole loop", ("init", "run", "plan", "status", "report", "compare", "lineage")),
        ("People and models", ("label", "chat", "release")),
        ("This installation", ("doctor", "schema")),
    )

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *(kind for kind in self.stage_verbs() if kind not in self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        from assent.pipeline.verbs import stage_command

        kind = cmd_name.replace("_", "-")
        return stage_command(kind, _run_stage) if kind in self.stage_verbs() else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"no verb '{args[0]}'{nearest(args[0], self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in self.sections:
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(90)) for name in names])
        with formatter.section("One stage alone"):
            formatter.write_dl([(kind, summary) for kind, summary in self.stage_verbs().items()])

    @staticmethod
    def stage_verbs() -> dict[str, str]:
        from assent.pipeline import schema

        return {kind: stage.summary for kind, stage in schema.stage_schemas().items() if stage.verb}


def _normalised(name: str) -> str:
    return name.replace("_", "-")


CONTEXT = {"help_option_names": ["-h", "--help"], "token_normalize_func": _normalised, "max_content_width": 110}


@click.group(cls=Verbs, context_settings=CONTEXT, invoke_without_command=True)
@click.version_option(__version__, message="assent %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Turn a language model, demonstrations and people's rankings into an aligned model, and show the evidence."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


# --- the whole loop --------------------------------------------------------------------------------------------------


@cli.command()
@click.argument("folder", type=click.Path())
def init(folder: str) -> None:
    """Make a new project from the template."""
    from assent.pipeline.project import init_project

    for path in init_project(folder):
        click.echo(path)
    click.echo(f"next: cd {folder}, read README.md, then 'assent run recipe.yaml'")


def _recipe_options(function: Any) -> Any:
    for option in (
        click.option("--people", is_flag=True, help="Ask people wherever a stage could also simulate them."),
        click.option(
            "--from-manifest",
            is_flag=True,
            help="RECIPE is a finished stage's folder: make it again from its manifest.",
        ),
        click.option("--out", metavar="FOLDER", help="The run's folder; runs/NAME when left out."),
        click.option("--seed", type=click.IntRange(min=0), help="Seed of every stage that sets none of its own."),
        click.option(
            "--set", "overrides", multiple=True, metavar="STAGE.SETTING=VALUE", help="Override the recipe; repeatable."
        ),
        click.argument("recipe", type=click.Path()),
    ):
        function = option(function)
    return function


def _load(
    recipe: str,
    overrides: Sequence[str],
    seed: int | None,
    out: str | None,
    people: bool,
    from_manifest: bool,
    wait: bool = False,
) -> Any:
    from assent.pipeline.rebuild import recipe_of_manifest
    from assent.pipeline.recipe import load_recipe

    every = [*overrides]
    every += [f"seed={seed}"] if seed is not None else []
    every += [f"out={out}"] if out is not None else []
    return (recipe_of_manifest if from_manifest else load_recipe)(recipe, every, people=people, wait=wait)


@cli.command()
@_recipe_options
@click.option("--wait", is_flag=True, help="Serve what people answer in, and go on when their answers are in.")
@click.option(
    "--nproc",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that run the stages that train together: one for each GPU, or for some cores.",
)
def run(recipe: str, from_manifest: bool, nproc: int, **options: Any) -> int | None:
    """Run a recipe; again = go on where it stopped."""
    loaded = _load(recipe, from_manifest=from_manifest, **options)
    from assent.pipeline.plan import plan as make_plan

    make_plan(loaded)  # a missing input is told before anything heavy is imported
    if nproc > 1 and not _launched():
        return _launch(nproc)
    from assent.pipeline.run import run_recipe

    folder = run_recipe(loaded)
    if from_manifest:
        from assent.pipeline.rebuild import compared, manifest_at

        manifest = manifest_at(recipe)
        click.echo(compared(manifest, folder / manifest.stage))
    page = folder / "report.html"
    click.echo(f"report: {page}" if page.exists() else f"run: {folder}")
    return None


@cli.command()
@_recipe_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plan(recipe: str, as_json: bool, **options: Any) -> None:
    """Say what a run would do, and why."""
    from assent.pipeline import plan as planning

    planned = planning.plan(_load(recipe, **options))
    click.echo(_json(planning.as_json(planned)) if as_json else planning.as_text(planned))


@cli.command()
@click.argument("run_folder", metavar="[RUN]", required=False, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(run_folder: str | None, as_json: bool) -> None:
    """Say how a run stands; the latest under runs/ when none is named."""
    from assent.pipeline import outcome
    from assent.pipeline import status as standing

    found = standing.status(run_folder or outcome.latest_run())
    click.echo(_json(found) if as_json else standing.as_text(found))


@cli.command()
@click.argument("run_folder", metavar="[RUN]", required=False, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print the figures.")
@click.option("--open", "browse", is_flag=True, help="Open the page in a browser.")
@click.option("--again", is_flag=True, help="Draw it anew, also where it is newer than every stage.")
@click.option("--hourly-price", type=click.FloatRange(min=0), help="What an hour of the machine costs: shows costs.")
@click.option("--currency", default="USD", show_default=True, help="What the price is in.")
def report(run_folder: str | None, as_json: bool, browse: bool, **options: Any) -> None:
    """Print where a run's report is, drawn as far as the run has come; or its figures."""
    from assent.pipeline import outcome

    page = import_module("assent.pipeline.reporting").report(
        Path(run_folder) if run_folder else outcome.latest_run(), **options
    )
    click.echo(page.with_suffix(".json").read_text(encoding="utf-8").rstrip() if as_json else str(page))
    if browse:
        click.launch(str(page))


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print the figures.")
@click.option("--out", default=".", type=click.Path(), help="Folder for compare.html and compare.json; here if unset.")
@click.option("--open", "browse", is_flag=True, help="Open the page in a browser.")
def compare(runs: tuple[str, ...], as_json: bool, out: str, browse: bool) -> None:
    """Put runs on the same axes, on one page."""
    page = import_module("assent.pipeline.reporting").compare(runs, Path(out))
    click.echo(page.with_suffix(".json").read_text(encoding="utf-8").rstrip() if as_json else str(page))
    if browse:
        click.launch(str(page))


@cli.command()
@click.argument("artifact", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--svg", metavar="FILE", help="Draw it into this file.")
@click.option("--forget-annotator", metavar="NAME", help="List what must be made again without this person's answers.")
def lineage(artifact: str, as_json: bool, svg: str | None, forget_annotator: str | None) -> None:
    """Trace a folder or file back to everything and everyone that shaped it."""
    from assent.pipeline import ancestry
    from assent.runs import lineage as tracing
    from assent.runs.folder import atomic_write_text

    if forget_annotator is not None:
        found = ancestry.forget(artifact, forget_annotator)
        click.echo(_json(ancestry.forgetting_as_json(found)) if as_json else ancestry.forgetting_as_text(found))
        return
    nodes = tracing.trace(artifact)
    if svg is not None:
        atomic_write_text(svg, ancestry.as_svg(nodes))
        click.echo(svg)
        return
    if as_json:
        behind = [{"people": ancestry.people_as_json(ancestry.people([node]))} for node in nodes]
        click.echo(_json([tracing.as_json(node) | who for node, who in zip(nodes, behind, strict=True)]))
    else:
        people = ancestry.people_as_text(ancestry.people(nodes))
        click.echo("\n".join(filter(None, (tracing.as_text(nodes), people))))


# --- people and models -----------------------------------------------------------------------------------------------


cli.add_command(label)


@cli.command()
@click.argument("model")
@click.option("--against", metavar="MODEL", help="A second model that answers the same.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=64, show_default=True, help="Length of answers.")
@click.option("--temperature", type=click.FloatRange(min=0.0), default=0.7, show_default=True, help="0 is greedy.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the sampling.")
@click.option("--blind", is_flag=True, help="Hide which model is which until you have said which answer is better.")
@click.option("--store", metavar="STORE", help="Feedback store that keeps your verdicts.")
@click.option("--name", help="Whose verdicts they are; your login when left out.")
def chat(model: str, against: str | None, **options: Any) -> None:
    """Talk to a model, or to two side by side."""
    import_module("assent.pipeline.chat").chat(model, against, **options)


@cli.command()
@click.argument("checkpoint")
@click.option("--against", required=True, metavar="MODEL", help="The model that is released now.")
@click.option("--suite", required=True, type=click.Path(), help="What is measured, and the limits: a YAML file.")
@click.option("--out", required=True, metavar="FOLDER", help="Where the evidence goes and, if it passes, the model.")
@click.option("--overwrite", is_flag=True, help="Replace what is in --out.")
def release(checkpoint: str, against: str, suite: str, out: str, overwrite: bool) -> int:
    """Put a checkpoint to the release gate; only one that passes is exported."""
    passed, folder = import_module("assent.pipeline.release").release(suite, checkpoint, against, out, overwrite)
    click.echo(f"passed: {folder / 'model'}" if passed else f"refused: the evidence is in {folder / 'release.json'}")
    return 0 if passed else REFUSED


# --- this installation -----------------------------------------------------------------------------------------------


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--measure", is_flag=True, help="Measure its peak rates first, and keep them: runs are set against them.")
def doctor(as_json: bool, measure: bool) -> None:
    """Say what this machine has, and what would be used."""
    from assent.pipeline import doctor as examining

    if measure:
        from assent.runs.machine import write_peak

        write_peak(import_module("assent.pipeline.measure").measure())
    found = examining.examine()
    click.echo(_json(found) if as_json else examining.as_text(found))


@cli.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from assent.pipeline.schema import recipe_schema

    click.echo(_json(recipe_schema()))


# --- running and failing ---------------------------------------------------------------------------------------------


def _run_stage(kind: str, settings: dict[str, Any], out: str, seed: int, overwrite: bool, nproc: int) -> int | None:
    from assent.pipeline.run import run_stage, stage_spec

    if nproc > 1 and not _launched():
        stage_spec(kind, settings, seed)  # a mistake is told before anything is started
        return _launch(nproc)
    run_stage(kind, settings, out, seed=seed, overwrite=overwrite)
    return None


def _launched() -> bool:
    """Whether a launcher (``torchrun``, or ``--nproc``) started this process as one of several."""
    return "RANK" in os.environ and bool(import_module("assent.pipeline.ranks").launched())


def _launch(nproc: int) -> int:
    """This very command line in several processes."""
    return import_module("assent.pipeline.ranks").launch(click.get_current_context().find_root().obj, nproc)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    if not _launched():
        return _main(arguments)
    ranks = import_module("assent.pipeline.ranks")
    if ranks.follows():
        return ranks.follow()
    try:
        return _main(arguments)
    finally:
        ranks.dismiss()


def _main(arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return int(cli.main(given, prog_name="assent", standalone_mode=False, obj=given) or 0)
    except click.UsageError as error:
        verb = error.ctx.command_path if error.ctx else "assent"
        return _say(f"{error.format_message().rstrip('.')} (see '{verb} --help')", 2)
    except click.ClickException as error:
        return _say(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        return _say("stopped; what was finished or saved is kept, and the same command goes on from there", 130)
    except BrokenPipeError:  # 'assent plan | head': the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except AssentError as error:
        if os.environ.get("ASSENT_DEBUG"):
            import traceback

            traceback.print_exc()
        return _say(str(error), getattr(error, "exit_status", 1))
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    waiting = sys.modules.get("assent.pipeline.stage")  # without it nothing can have been waited for
    if waiting is not None and isinstance(error, waiting.Waiting):
        return _say(str(error), WAITING)
    import traceback

    traceback.print_exception(error)
    return _say("this is a fault of assent, not yours; please report it with the lines above", 1)


def _say(message: str, exit_status: int) -> int:
    print(f"assent: {one_line(message)}" if exit_status in (1, 2) else message, file=sys.stderr)
    return exit_status


if __name__ == "__main__":
    raise SystemExit(main())
