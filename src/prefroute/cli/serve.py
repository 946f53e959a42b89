"""`prefroute serve` and `prefroute reload`: the gateway, started, checked, and told to read its file again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefroute.cli.options import JsonTo
from prefroute.cli.output import Output, table_of
from prefroute.errors import ConfigError

if TYPE_CHECKING:
    from prefroute.policy import Policy
    from prefroute.serve.config import GatewayConfig
    from prefroute.serve.runtime import Model, Route, Runtime

__all__ = ["reload", "serve"]

GatewayFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file (see 'prefroute init --gateway').")]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on, in place of the file's.")]
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="Port, in place of the file's; 0: any free one.")
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, max=256, help="Processes, in place of the file's.")]


def serve(
    config: GatewayFile,
    check: Annotated[
        bool, typer.Option("--check", help="Check the file, checkpoints, journal and keys, and serve nothing.")
    ] = False,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    json_to: JsonTo = None,
) -> None:
    """Serve an OpenAI-compatible API that sends each request to the model that its route chooses.

    SIGHUP, or prefroute reload, makes it read the file again; SIGTERM lets running requests finish, then stops it.

    Example: prefroute init --gateway && prefroute serve gateway.yaml --check

    Example: prefroute serve gateway.yaml
    """
    from prefroute.serve.loading import load_runtime

    if json_to is not None and not check:
        raise ConfigError("--json goes with --check: a gateway that serves has no result to write.")
    read, runtime = load_runtime(config)
    given = {"host": host, "port": port, "workers": workers}
    server = read.server.model_copy(update={name: value for name, value in given.items() if value is not None})
    read = read.model_copy(update={"server": server})
    if check:
        from prefroute.journal import check_database
        from prefroute.serve.admission import require_keys

        require_keys(check_database(read.journal.url), read.server.host)
        output = Output(json_to)  # only here: its libraries are memory that a server can do without
        output.spare(config)
        output.result(_summary(config, read, runtime))
        _show(output, config, runtime)
        return
    from prefroute.serve.server import run

    run(config, read, runtime)


def reload(
    config: GatewayFile,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=1, help="How long to wait for the gateway.")
    ] = 60.0,
    json_to: JsonTo = None,
) -> None:
    """Make a running gateway read its file again, and wait until it serves it; a bad file leaves the old one serving.

    Example: prefroute reload gateway.yaml
    """
    from prefroute.serve.reload import reload_gateway

    output = Output(json_to)
    output.spare(config)
    served = reload_gateway(config, timeout_s=timeout)
    needs_restart = sorted({key for status in served for key in status.needs_restart})
    output.result(
        {
            "schema": 1,
            "digest": served[0].digest,
            "pids": [status.pid for status in served],
            "needs_restart": needs_restart,
        }
    )
    who = "1 worker serves" if len(served) == 1 else f"{len(served)} workers serve"
    restart = f" Not taken over without a restart: {', '.join(needs_restart)}." if needs_restart else ""
    output.say(f"{who} {config} (configuration {served[0].digest[:12]}).{restart}")


def _summary(path: Path, config: GatewayConfig, runtime: Runtime) -> dict[str, Any]:
    """What would be served, as JSON values, without keys."""
    return {
        "schema": 1,
        "config": str(path),
        "digest": runtime.digest,
        "server": config.server.model_dump(),
        "models": {name: _model(model) for name, model in runtime.models.items()},
        "routes": {name: _route(route) for name, route in runtime.routes.items()},
    }


def _model(model: Model) -> dict[str, Any]:
    return {
        "model": model.upstream_name,
        "base_url": model.base_url,
        "has_key": bool(model.headers),
        "usd_per_mtok_in": model.price and model.price.usd_per_mtok_in,
        "usd_per_mtok_out": model.price and model.price.usd_per_mtok_out,
        "context_tokens": model.context_tokens,
        "capabilities": sorted(model.capabilities),
    }


def _route(route: Route) -> dict[str, Any]:
    return {
        "router": route.router.kind,
        "fingerprint": route.fingerprint,
        "policy": route.policy.to_dict(),
        "candidates": list(route.candidates),
        "strong": route.strong,
        "weak": route.weak,
        "fallbacks": list(route.fallbacks),
        "default": route.default,
        "epsilon": route.epsilon,
        "sticky": route.is_sticky,
        "deadline_ms": 1000 * route.deadline_s,
    }


def _show(output: Output, path: Path, runtime: Runtime) -> None:
    models = table_of("model", "endpoint", "called there", "key", "USD per Mtok", "context", "takes")
    for name, model in runtime.models.items():
        price = f"{model.price.usd_per_mtok_in:g} in, {model.price.usd_per_mtok_out:g} out" if model.price else "-"
        context = f"{model.context_tokens:,}" if model.context_tokens else "-"
        takes = ", ".join(["text", *sorted(model.capabilities)])
        key = "yes" if model.headers else "none"
        models.add_row(name, model.base_url, model.upstream_name, key, price, context, takes)
    routes = table_of("route", "router", "policy", "candidates", "fallbacks", "when scoring fails")
    for name, route in runtime.routes.items():
        routes.add_row(
            name,
            f"{route.router.kind} {route.fingerprint[:12]}",
            _policy_words(route.policy),
            _candidate_words(route),
            ", ".join(route.fallbacks) or "none",
            route.default,
        )
    output.say(models)
    if runtime.routes:
        output.say(routes)
    output.say(f"{path} can be served (configuration {runtime.digest[:12]}).")


def _policy_words(policy: Policy) -> str:
    from prefroute.policy import Threshold

    if isinstance(policy, Threshold):
        return f"strong from win rate {policy.alpha:.4g}"
    return f"quality - {policy.usd_weight:g} x USD"


def _candidate_words(route: Route) -> str:
    roles = {route.strong: " (strong)", route.weak: " (weak)"}
    return ", ".join(f"{name}{roles.get(name, '')}" for name in route.candidates)
