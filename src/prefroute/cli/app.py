"""The commands put together, and the boundary where every error becomes a line or a few and an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn, cast

import typer

from prefroute.cli import (
    adapt,
    adding,
    augment,
    calibrate,
    data,
    demo,
    evaluate,
    exporting,
    importing,
    init,
    journal,
    keys,
    report,
    route,
    serve,
    train,
)
from prefroute.cli.output import printable
from prefroute.errors import ConfigError, PrefrouteError, is_out_of_memory

__all__ = ["app", "main"]

app = typer.Typer(
    name="prefroute",
    help="Route each prompt to the cheapest model that will answer it well, learned from preference data.",
    epilog="Start with: prefroute demo",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("demo", short_help="Route twenty prompts with the shipped router.")(demo.demo)
app.add_typer(data.app, name="data", short_help="Fetch, inspect, split and check tables.")
app.add_typer(augment.app, name="augment", short_help="Make battles from grades or a judge.")
app.command("train", short_help="Train a router, save a checkpoint.")(train.train)
app.command("adapt", short_help="Make a router for your own models.")(adapt.adapt)
app.command("add-model", short_help="Add a model to an mf router.")(adding.add_model)
app.add_typer(importing.app, name="import", short_help="Take over routers trained elsewhere.")
app.add_typer(exporting.app, name="export", short_help="Make a bert router that needs no PyTorch.")
app.command("evaluate", short_help="Measure routers, with intervals.")(evaluate.evaluate)
app.command("calibrate", short_help="Choose the threshold on your own data.")(calibrate.calibrate)
app.command("route", short_help="Say which model a prompt goes to.")(route.route)
app.command("serve", short_help="Serve an OpenAI-compatible gateway.")(serve.serve)
app.command("reload", short_help="Make a gateway read its file again.")(serve.reload)
app.add_typer(keys.app, name="keys", short_help="Make, list and revoke clients' keys.")
app.command("report", short_help="Traffic, cost, latency and feedback.")(report.report)
app.add_typer(journal.app, name="journal", short_help="Prune, delete and redact the journal.")
app.command("init", short_help="Write a commented file to start from.")(init.init)

# Recent typers carry a copy of click of their own, and export only this subclass of its usage errors.
_USAGE_ERROR = cast(type[Exception], typer.BadParameter.__mro__[1])
_INTERRUPTED = 130  # 128 + SIGINT, what a shell expects
_NO_MEMORY = (
    "memory ran out. Use fewer rows, a smaller `batch_size` or network where the kind has them (--param), or a machine "
    "with more memory."
)


def _print_version(value: bool) -> None:
    if value:
        from prefroute import __version__

        typer.echo(f"prefroute {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the trace of an error and log more; goes anywhere on the line.")
    ] = False,
) -> None:
    del version, debug  # `version` acts in its callback, `debug` is taken off the line by `main`
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0 when it worked, 1 when something failed, 2 when the user can mend it, 130 on Ctrl-C.

    Args:
        arguments: The command line without the program's name; None takes it from the process.
    """
    line = list(sys.argv[1:] if arguments is None else arguments)
    end_of_options = line.index("--") if "--" in line else len(line)
    debug = "--debug" in line[:end_of_options]
    line = [word for place, word in enumerate(line) if word != "--debug" or place > end_of_options]
    logging.basicConfig(format="prefroute: %(message)s", level=logging.DEBUG if debug else logging.WARNING)
    try:
        sys.exit(app(line, prog_name="prefroute", standalone_mode=False))
    except _USAGE_ERROR as error:
        _fail(error.format_message(), exit_code=2)  # type: ignore[attr-defined]  # of click's own class
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except PrefrouteError as error:
        if debug:
            raise
        _fail(*(error.lines if isinstance(error, ConfigError) else [str(error)]), exit_code=error.exit_code)
    except OSError as error:
        if debug:
            raise
        _fail(str(error), exit_code=1)
    except Exception as error:  # the boundary: whatever else escapes is a bug, and its text may hold a prompt
        if debug:
            raise
        if is_out_of_memory(error):
            _fail(_NO_MEMORY, exit_code=2)
        bug = f"unexpected {type(error).__name__}; this is a bug. Run again with --debug and report the trace."
        _fail(bug, exit_code=1)


def _fail(*lines: str, exit_code: int) -> NoReturn:
    typer.echo("prefroute: error: " + "\n".join(map(printable, lines)), err=True)
    sys.exit(exit_code)
