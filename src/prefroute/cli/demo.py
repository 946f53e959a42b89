"""`prefroute demo`: a gateway before two stand-ins, about twenty prompts sent through it, and what its journal says."""

from __future__ import annotations

import asyncio
import json
import tempfile
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefroute.cli.demo_gateway import ROUTE, STRONG, WEAK, DemoGateway, running_gateway
from prefroute.cli.options import JsonTo
from prefroute.cli.output import Output, own_command, shorten
from prefroute.cli.report import show_summary, summary_of
from prefroute.errors import ConfigError

if TYPE_CHECKING:
    from prefroute.journal.summary import Summary

__all__ = ["demo"]

_LONG = 1000  # characters from which a prompt's length is shown
_PROMPT_WIDTH = 40  # columns of the terminal
_KIND_WIDTH = 11
_OTHER_COLUMNS = 47  # what kind, win rate, model and the lines between take
_STREAMED = "Tell me in one sentence what you are."
_HONESTY = """\
The stand-ins say the same to everyone: this shows how it works, not how good it is. They are priced as GPT-4 Turbo and
Mixtral 8x7B were in 2024-06. What the router was trained on is in its model card; prefroute evaluate measures it.
"""
_NEXT = """\
Next:
  {command} demo --serve
  {command} route "Your own prompt"
  {command} init --gateway
  {command} train linear --data FILE --strong A --weak B --out runs/linear
  {command} data fetch routellm-benchmarks
  {command} evaluate default --benchmark mmlu --data data/routellm-benchmarks
  {command} --help"""
_TRY = """\
A gateway is listening on {url} before two stand-ins. Try, in another terminal:

  curl {url}/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "{route}", "messages": [{{"role": "user", "content": "Prove that 2 is prime."}}]}}'
  curl -N {url}/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "{route}", "stream": true, "messages": [{{"role": "user", "content": "Hi!"}}]}}'
  curl {url}/route -H 'content-type: application/json' \\
    -d '{{"model": "{route}", "messages": [{{"role": "user", "content": "Hi!"}}]}}'
  {command} report {config}

Or point an OpenAI client at base_url={url} with any key. Ctrl-C stops it."""


@dataclass(frozen=True, slots=True)
class _Routed:
    kind: str
    prompt: str
    model: str
    reason: str
    win_rate: float | None


def demo(
    serve: Annotated[
        bool, typer.Option("--serve", help="Leave the gateway running for your own requests, until Ctrl-C.")
    ] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of the gateway; 0 takes a free one.")] = 0,
    json_to: JsonTo = None,
) -> None:
    """Send about twenty prompts of different kinds through a gateway with the router that ships, and show its journal.

    Everything stays on this machine: the two models are stand-ins that answer at once.

    Example: prefroute demo

    Example: prefroute demo --serve --port 8000
    """
    if serve and json_to is not None:
        raise ConfigError("--json goes without --serve: a gateway that is left running has no result to write.")
    output = Output(json_to)
    with tempfile.TemporaryDirectory(prefix="prefroute-demo-") as name:
        folder = Path(name)
        if serve:
            asyncio.run(_leave_running(output, folder, port))
            return
        routed, decision = asyncio.run(_routed(output, folder, port))
        summary = summary_of(str(folder / "gateway.yaml"))
    output.result(_as_json(routed, decision, summary))
    output.say("\nWhat the journal says (prefroute report):")
    show_summary(output, summary)
    output.say(_HONESTY)
    output.say(_NEXT.format(command=own_command()))


async def _leave_running(output: Output, folder: Path, port: int) -> None:
    async with running_gateway(folder, port) as gateway:
        output.say(_TRY.format(url=gateway.base_url, route=ROUTE, config=gateway.config, command=own_command()))
        await gateway.until_stopped()


async def _routed(output: Output, folder: Path, port: int) -> tuple[list[_Routed], dict[str, Any]]:
    """Every prompt through the gateway, one of them streamed; and one decision in full."""
    async with running_gateway(folder, port) as gateway:
        routed = [await _ask(gateway, item["kind"], item["prompt"] * item.get("repeat", 1)) for item in _packaged()]
        decision = await gateway.decision(routed[0].prompt)
        _show(output, routed, decision["threshold"])
        output.say(f"A streamed answer to {_STREAMED!r}:")
        async for piece in gateway.stream(_STREAMED):
            output.console.print(piece, end="", markup=False, emoji=False)
        output.say()
    return routed, decision


def _packaged() -> list[dict[str, Any]]:
    text = (files("prefroute.cli") / "demo_prompts.json").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(text)
    return rows


async def _ask(gateway: DemoGateway, kind: str, prompt: str) -> _Routed:
    headers = await gateway.ask(prompt)
    win_rate = headers.get("x-prefroute-win-rate")
    return _Routed(
        kind=kind,
        prompt=prompt,
        model=headers["x-prefroute-model"],
        reason=headers["x-prefroute-reason"],
        win_rate=None if win_rate is None else float(win_rate),
    )


def _as_json(routed: list[_Routed], decision: dict[str, Any], summary: Summary) -> dict[str, Any]:
    results = []
    for row in routed:
        shown = asdict(row)
        results.append(shown | {"n_chars": len(shown.pop("prompt"))})
    return {
        "schema": 1,
        "router": "default",
        "fingerprint": decision["router"],
        "strong": STRONG,
        "weak": WEAK,
        "threshold": decision["threshold"],
        "results": results,
        "report": summary.to_json(),
    }


def _show(output: Output, routed: list[_Routed], threshold: float) -> None:
    from rich.table import Table
    from rich.text import Text

    room = min(_PROMPT_WIDTH, max(output.width - _OTHER_COLUMNS, _KIND_WIDTH))  # columns for the prompt
    table = Table(title="Where the gateway sent each prompt", title_justify="left")
    table.add_column("kind", no_wrap=True, min_width=_KIND_WIDTH)
    table.add_column("prompt", no_wrap=True, overflow="ellipsis", max_width=room)
    table.add_column("win rate", justify="right", no_wrap=True, min_width=len("win rate"))
    table.add_column("answered by", no_wrap=True, min_width=len(STRONG))
    for row in routed:
        size = f"({len(row.prompt):,} characters) " if len(row.prompt) > _LONG else ""
        shown = size + shorten(row.prompt, room) or "(nothing)"
        rate = "-" if row.win_rate is None else f"{row.win_rate:.3f}"
        table.add_row(row.kind, Text(shown), rate, Text(row.model, style="bold" if row.model == STRONG else "dim"))
    output.say(table)
    n_strong = sum(row.model == STRONG for row in routed)
    output.say(
        f"Win rate: the router's estimate that the strong answer is preferred, ties half. Strong from {threshold:.3f} "
        f"on: {n_strong} of {len(routed)} prompts.\n"
    )
