"""`prefroute demo`: the router that ships, on about twenty prompts of different kinds, and what the batch costs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from prefroute.cli.opening import open_router, saved_threshold
from prefroute.cli.options import JsonTo
from prefroute.cli.output import Output, own_command, shorten

if TYPE_CHECKING:
    from prefroute.checkpoint import Checkpoint
    from prefroute.policy import Threshold

__all__ = ["demo"]

# The router that ships was trained on several pairs, whose models it calls by their class; this pair stands for them.
_STANDS_FOR = {"strong": "gpt-4-1106-preview", "weak": "mixtral-8x7b-instruct-v0.1"}
_CHARS_PER_TOKEN = 4  # the usual rule of thumb for English; the demo says that its costs are estimates
_LONG = 1000  # characters from which a prompt's length is shown
_PROMPT_WIDTH = 46  # columns of the terminal
_KIND_WIDTH = 11
_OTHER_COLUMNS = 39  # what kind, win rate, model and the lines between take
_NEXT = """\
Next:
  {command} route "Your own prompt"
  {command} calibrate default --prompts FILE --strong-share 0.3
  {command} train linear --data FILE --strong A --weak B --out runs/linear
  {command} data fetch routellm-benchmarks
  {command} evaluate default --benchmark mmlu --data data/routellm-benchmarks
  {command} --help"""


@dataclass(frozen=True, slots=True)
class _Routed:
    kind: str
    prompt: str
    win_rate: float
    is_strong: bool


def demo(json_to: JsonTo = None) -> None:
    """Route about twenty prompts of different kinds with the router that ships, and show what the batch costs.

    Example: prefroute demo
    """
    output = Output(json_to)
    checkpoint = open_router("default")
    policy = saved_threshold(checkpoint)
    prompts = [(item["kind"], item["prompt"] * item.get("repeat", 1)) for item in _packaged()]
    win_rates = checkpoint.router.win_rate([prompt for _, prompt in prompts])
    chosen = policy.choose(win_rates)
    routed = [
        _Routed(kind, prompt, float(win_rate), bool(is_strong))
        for (kind, prompt), win_rate, is_strong in zip(prompts, win_rates, chosen, strict=True)
    ]
    cost_usd = _costs(checkpoint, routed)
    output.result(_as_json(checkpoint, policy, routed, cost_usd))
    _show(output, checkpoint, policy, routed, cost_usd)


def _packaged() -> list[dict[str, Any]]:
    text = (files("prefroute.cli") / "demo_prompts.json").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(text)
    return rows


def _costs(checkpoint: Checkpoint, routed: list[_Routed]) -> dict[str, float] | None:
    """Estimated cost of the batch, US dollars, routed and with one model for all; None without prices."""
    from prefroute.prices import PRICES

    priced = _priced_as(checkpoint)
    if any(model not in PRICES for model in priced):
        return None
    strong, weak = (
        [PRICES[model].request_usd(tokens_in=len(row.prompt) / _CHARS_PER_TOKEN) for row in routed] for model in priced
    )
    routed_usd = sum(s if row.is_strong else w for row, s, w in zip(routed, strong, weak, strict=True))
    return {"routed": routed_usd, "always_strong": sum(strong), "always_weak": sum(weak)}


def _priced_as(checkpoint: Checkpoint) -> tuple[str, str]:
    """The models whose prices the demo takes for strong and weak."""
    router = checkpoint.router
    return _STANDS_FOR.get(router.strong, router.strong), _STANDS_FOR.get(router.weak, router.weak)


def _as_json(
    checkpoint: Checkpoint, policy: Threshold, routed: list[_Routed], cost_usd: dict[str, float] | None
) -> dict[str, Any]:
    router = checkpoint.router
    return {
        "schema": 1,
        "router": "default",
        "fingerprint": checkpoint.fingerprint,
        "strong": router.strong,
        "weak": router.weak,
        "threshold": policy.alpha,
        "cost_usd": cost_usd,
        "results": [
            {
                "kind": row.kind,
                "n_chars": len(row.prompt),
                "win_rate": row.win_rate,
                "model": router.strong if row.is_strong else router.weak,
            }
            for row in routed
        ],
    }


def _show(
    output: Output,
    checkpoint: Checkpoint,
    policy: Threshold,
    routed: list[_Routed],
    cost_usd: dict[str, float] | None,
) -> None:
    from rich.table import Table
    from rich.text import Text

    from prefroute.prices import MEAN_TOKENS_OUT

    router = checkpoint.router
    room = min(_PROMPT_WIDTH, max(output.width - _OTHER_COLUMNS, _KIND_WIDTH))  # columns for the prompt
    table = Table(title=f"{router.strong} or {router.weak}?", title_justify="left")
    table.add_column("kind", no_wrap=True, min_width=_KIND_WIDTH)
    table.add_column("prompt", no_wrap=True, overflow="ellipsis", max_width=room)
    table.add_column("win rate", justify="right", no_wrap=True, min_width=len("win rate"))
    table.add_column("goes to", no_wrap=True, min_width=len("goes to"))
    for row in routed:
        size = f"({len(row.prompt):,} characters) " if len(row.prompt) > _LONG else ""
        shown = size + shorten(row.prompt, room) or "(nothing)"
        model = router.strong if row.is_strong else router.weak
        style = "bold" if row.is_strong else "dim"
        table.add_row(row.kind, Text(shown), f"{row.win_rate:.3f}", Text(model, style=style))
    output.say(table)
    n_strong = sum(row.is_strong for row in routed)
    output.say(
        f"Win rate: the router's estimate that the strong answer is preferred, ties half. Strong from "
        f"{policy.alpha:.3f} on: {n_strong} of {len(routed)} prompts.\n"
    )
    if cost_usd is not None:
        saved_share = 1 - cost_usd["routed"] / cost_usd["always_strong"]
        output.say(
            f"Cost of this batch, estimated: routed ${cost_usd['routed']:.4f}, always strong "
            f"${cost_usd['always_strong']:.4f}, always weak ${cost_usd['always_weak']:.4f} "
            f"({saved_share:.0%} below always strong)."
        )
        strong, weak = _priced_as(checkpoint)
        output.say(
            f"(Priced as {strong} and {weak}, 2024-06; {_CHARS_PER_TOKEN} characters a token in, "
            f"{MEAN_TOKENS_OUT} tokens out.)\n"
        )
    output.say(
        "These prompts show how it works, not how good it is: no answer was made or judged here. The router's model "
        "card says what it was trained on; prefroute evaluate measures it.\n"
    )
    output.say(_NEXT.format(command=own_command()))
