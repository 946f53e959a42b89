"""`prefroute keys`: make, list and revoke the keys of a gateway's clients."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from prefroute.cli.journal import JournalOf, open_engine
from prefroute.cli.options import JsonTo
from prefroute.cli.output import Output, table_of
from prefroute.errors import ConfigError, nearest

__all__ = ["app"]

app = typer.Typer(help="Make, list and revoke the keys of a gateway's clients.")


@app.command("create")
def create(
    journal: JournalOf,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call the key.")],
    route: Annotated[
        list[str] | None,
        typer.Option("--route", metavar="NAME", help="A route or model that it may ask for; unsaid: all. Repeatable."),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option("--requests-per-minute", metavar="N", help="At most so many; unsaid: no limit.")
    ] = None,
    right: Annotated[
        list[str] | None,
        typer.Option(
            "--right", metavar="RIGHT", help="feedback (default), explain, choose_threshold, metrics. Repeatable."
        ),
    ] = None,
    json_to: JsonTo = None,
) -> None:
    """Make a key. Its secret is shown this once; the journal keeps a hash of it.

    Example: prefroute keys create gateway.yaml search-team --route auto --requests-per-minute 600
    """
    from prefroute.journal import create_key, list_keys

    output = Output(json_to)
    _check_names(journal, route or [])
    with open_engine(journal, output, make=True) as engine:
        is_first = not list_keys(engine)
        key, secret = create_key(
            engine,
            name,
            routes=route or None,
            requests_per_minute=requests_per_minute,
            rights=("feedback",) if right is None else right,
        )
    output.result({"schema": 1, **_to_json(key), "secret": secret})
    if is_first:
        output.say("This is the first key: from now on the gateway, running or not, refuses requests without one.")
    output.say(f"Made {key.key_id} for {name!r}. Its secret is not shown again:")
    output.say(secret)


@app.command("list")
def list_all(journal: JournalOf, json_to: JsonTo = None) -> None:
    """List every key that was ever made, without secrets.

    Example: prefroute keys list gateway.yaml
    """
    from rich.text import Text

    from prefroute.journal import list_keys

    output = Output(json_to)
    with open_engine(journal, output) as engine:
        keys = list_keys(engine)
    output.result({"schema": 1, "keys": [_to_json(key) for key in keys]})
    if not keys:
        output.say("There are no keys. A gateway without keys listens on loopback only.")
        return
    shown = table_of("id", "name", "may ask for", "a minute", "rights", "made", "revoked")
    for key in keys:
        names = "everything" if key.routes is None else ", ".join(sorted(key.routes))
        limit = "-" if key.requests_per_minute is None else f"{key.requests_per_minute:,}"
        rights = ", ".join(sorted(key.rights)) or "-"
        shown.add_row(
            key.key_id, Text(key.name), Text(names), limit, rights, _day(key.created_at), _day(key.revoked_at)
        )
    output.say(shown)


@app.command("revoke")
def revoke(
    journal: JournalOf,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, or its name where only one good key has it.")],
    json_to: JsonTo = None,
) -> None:
    """Revoke a key: running gateways refuse it within a second.

    Example: prefroute keys revoke gateway.yaml search-team
    """
    from prefroute.journal import revoke_key

    output = Output(json_to)
    started = time.time()
    with open_engine(journal, output) as engine:
        revoked = revoke_key(engine, key)
    output.result({"schema": 1, **_to_json(revoked)})
    if revoked.revoked_at is not None and revoked.revoked_at < started:
        output.say(f"{revoked.key_id} ({revoked.name!r}) was revoked already, on {_day(revoked.revoked_at)} UTC.")
    else:
        output.say(f"Revoked {revoked.key_id} ({revoked.name!r}).")


def _check_names(journal: str, names: list[str]) -> None:
    """Refuse a key for what the gateway's file does not name; a URL names nothing, and is believed."""
    if "://" in journal or not names:
        return
    from prefroute.serve.config import read_gateway

    config = read_gateway(Path(journal), with_keys=False).value
    known = [*config.routes, *config.models]
    for name in names:
        if name not in known:
            raise ConfigError(f"--route: {nearest(name, known, 'route or model')}")


def _to_json(key: Any) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "routes": None if key.routes is None else sorted(key.routes),
        "requests_per_minute": key.requests_per_minute,
        "rights": sorted(key.rights),
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
    }


def _day(at: float | None) -> str:
    return "-" if at is None else datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M")
