"""`prefroute report`: what the gateway's journal says about traffic, cost, latency, errors and feedback."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from prefroute.cli.journal import JournalOf, Since, moment, open_engine, open_runtime
from prefroute.cli.options import JsonTo
from prefroute.cli.output import Output, table_of
from prefroute.errors import ConfigError

if TYPE_CHECKING:
    from prefroute.journal.summary import CostComparison, Latency, Summary

__all__ = ["report", "show_summary", "summary_of"]

_MACHINE_USD_PER_HOUR = 0.05


def report(
    journal: JournalOf,
    since: Since = None,
    machine_usd_per_hour: Annotated[
        float,
        typer.Option("--machine-usd-per-hour", metavar="USD", help="What an hour of the core that scores costs."),
    ] = _MACHINE_USD_PER_HOUR,
    json_to: JsonTo = None,
) -> None:
    """Show traffic, each model's share, cost against always-strong and always-weak, latency, errors and feedback.

    The comparison of costs needs the gateway's YAML file, which knows prices and pairs. It takes the tokens that the
    model which answered read and wrote, as many of them from a prompt cache, at the other model's prices.

    Example: prefroute report gateway.yaml --since 7d
    """
    output = Output(json_to)
    found = summary_of(journal, since, machine_usd_per_hour, output)
    output.result({"schema": 1, **found.to_json()})
    show_summary(output, found)


def summary_of(
    journal: str,
    since: str | None = None,
    machine_usd_per_hour: float = _MACHINE_USD_PER_HOUR,
    output: Output | None = None,
) -> Summary:
    """What the journal says; costs are compared where `journal` is a gateway's YAML file."""
    from prefroute.journal.summary import RoutePair, summarise

    if not 0 <= machine_usd_per_hour < float("inf"):
        raise ConfigError(f"--machine-usd-per-hour must be a number >= 0, got {machine_usd_per_hour}.")
    start = 0.0 if since is None else moment(since, "--since")
    runtime = open_runtime(journal)
    pairs, prices = {}, {}
    if runtime is not None:
        pairs = {name: RoutePair(route.strong, route.weak) for name, route in runtime.routes.items()}
        prices = {name: model.price for name, model in runtime.models.items() if model.price is not None}
    with open_engine(journal, output) as engine:
        return summarise(engine, since=start, pairs=pairs, prices=prices, machine_usd_per_hour=machine_usd_per_hour)


def show_summary(output: Output, found: Summary) -> None:
    """Print it as tables and lines."""
    if found.first_at is None or found.last_at is None:
        output.say("No requests.")
        return
    running = f", {found.n_running:,} of them running" if found.n_running else ""
    output.say(f"{found.n:,} requests from {_at(found.first_at)} to {_at(found.last_at)} UTC{running}")
    _show_shares(output, found)
    for cost in found.costs:
        output.say(_cost_line(cost, found.machine_usd_per_hour))
    if any(cost.always_strong_usd is not None or cost.always_weak_usd is not None for cost in found.costs):
        output.say("Always strong and always weak: the same tokens, as many of them cached, at that model's prices.")
    _show_caveats(output, found)
    output.say(_latency_line("Latency", found.latency))
    if found.first_token.n:
        output.say(_latency_line("First token of streams", found.first_token))
    if found.errors:
        output.say("Errors: " + ", ".join(f"{code} {n:,}" for code, n in found.errors.items()))
    failed = [f"{model} {outcome} {n:,}" for (model, outcome), n in found.attempts.items() if outcome != "ok"]
    if failed:
        output.say("Failed attempts at upstreams: " + ", ".join(failed))
    _show_feedback(output, found)


def _show_shares(output: Output, found: Summary) -> None:
    from rich.text import Text

    shown = table_of("route", "model", "requests", "share", "errors", "tokens in", "cached", "tokens out", "cost USD")
    for share in found.shares:
        shown.add_row(
            Text(share.route or ("(named)" if share.model else "(refused)")),
            Text(share.model or "-"),
            f"{share.n:,}",
            f"{share.share:.1%}",
            f"{share.n_errors:,}",
            f"{share.tokens_in:,}",
            f"{share.tokens_cached:,}",
            f"{share.tokens_out:,}",
            f"{share.cost_usd:,.4f}",
        )
    output.say(shown)


def _show_caveats(output: Output, found: Summary) -> None:
    if n_estimated := sum(share.n_estimated for share in found.shares):
        usd = sum(share.estimated_usd for share in found.shares)
        output.say(
            f"Estimated: the tokens of {n_estimated:,} requests, and so {usd:,.4f} USD of the cost. "
            "Their models did not count them, or counted fewer than the text can have."
        )
    if n_fallback := sum(share.n_fallback for share in found.shares):
        output.say(f"Fallbacks answered {n_fallback:,} requests for which another model had been chosen, and failed.")


def _cost_line(cost: CostComparison, machine_usd_per_hour: float) -> str:
    line = f"Route {cost.route}: {cost.cost_usd:,.4f} USD for {cost.n:,} requests whose cost is known"
    if cost.always_strong_usd is not None:
        line += f"; always strong {cost.always_strong_usd:,.4f}"
    if cost.always_weak_usd is not None:
        line += f"; always weak {cost.always_weak_usd:,.4f}"
    line += f"; router's own time {cost.router_usd:.2g} (at {machine_usd_per_hour:g} USD an hour)"
    if cost.saved_share is not None:
        line += f"; saved {cost.saved_share:.1%} against always strong"
    return line


def _latency_line(name: str, latency: Latency) -> str:
    parts = {"p50": latency.p50_s, "p95": latency.p95_s, "p99": latency.p99_s}
    return f"{name}: " + ", ".join(
        f"{part} {1000 * value:,.1f} ms" for part, value in parts.items() if value is not None
    )


def _show_feedback(output: Output, found: Summary) -> None:
    from rich.text import Text

    if not found.feedback:
        output.say("No feedback.")
        return
    shown = table_of("model", "scores", "mean score", "95% interval", "preferred")
    for mean in found.feedback:
        value = "-" if mean.mean is None else f"{mean.mean:.4f}"
        interval = "-" if mean.low is None else f"{mean.low:.4f} to {mean.high:.4f}"
        shown.add_row(Text(mean.model), f"{mean.n:,}", value, interval, f"{mean.n_preferred:,}")
    output.say(shown)
    output.say("Feedback is what clients chose to give, on the requests that the policy sent to each model.")


def _at(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M")
