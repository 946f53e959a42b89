"""`prefroute augment judge`: from the words on the line to a judge run, and what it says before and after."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefroute.cli.options import JsonTo, parse_params
from prefroute.cli.output import Bar, Output, write_text
from prefroute.errors import ConfigError, DataError

if TYPE_CHECKING:
    from prefroute.augment import ChatModel, Estimate, Judged
    from prefroute.prices import Price

__all__ = ["judge"]

_INCOMPLETE = 1  # exit code when prompts are left that the same command would go on with
_ANSWER_PARAMS = {"max_tokens": 1024}
_JUDGE_PARAMS = {"max_tokens": 512, "temperature": 0}

Prompts = Annotated[str, typer.Argument(metavar="PROMPTS", help="Prompts, as for route --file; '-' is standard input.")]
Strong = Annotated[str, typer.Option("--strong", metavar="MODEL", help="The strong model.")]
Weak = Annotated[str, typer.Option("--weak", metavar="MODEL", help="The weak model.")]
JudgeName = Annotated[str, typer.Option("--judge", metavar="MODEL", help="The model that compares.")]
Out = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="Battles to write: .parquet, .csv or .jsonl; replaced.")
]
State = Annotated[
    Path, typer.Option("--state", metavar="DIR", help="Folder that keeps every finished call; a later run goes on.")
]
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", metavar="URL", help="Endpoint of all three models. Default: from the environment."),
]
WeakBaseUrl = Annotated[
    str | None, typer.Option("--weak-base-url", metavar="URL", help="Endpoint of the weak model, if another.")
]
JudgeBaseUrl = Annotated[
    str | None, typer.Option("--judge-base-url", metavar="URL", help="Endpoint of the judge, if another.")
]
KeyFrom = Annotated[
    list[str] | None,
    typer.Option("--key-from", metavar="URL=NAME", help="Variable that holds the key for an endpoint. Repeatable."),
]
StrongAnswers = Annotated[
    str | None, typer.Option("--strong-answers", metavar="COLUMN", help="Column of PROMPTS with stored strong answers.")
]
ModeName = Annotated[
    str, typer.Option("--mode", help="pairwise: both orders; reference: 1-5 against the strong answer.")
]
AnswerParams = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="Sent with calls for answers; null drops one. Repeatable."),
]
JudgeParams = Annotated[
    list[str] | None,
    typer.Option("--judge-param", metavar="NAME=VALUE", help="Sent with calls to the judge, likewise."),
]
TokenPrices = Annotated[
    list[str] | None,
    typer.Option("--token-price", metavar="MODEL=IN,OUT", help="US dollars per million tokens. Repeatable."),
]
MaxUsd = Annotated[
    float | None, typer.Option("--max-usd", metavar="X", help="What this state folder may cost in all; never exceeded.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Start without asking.")]
Concurrency = Annotated[int, typer.Option("--concurrency", metavar="N", min=1, help="Calls in flight at once.")]
Rpm = Annotated[float | None, typer.Option("--rpm", metavar="N", help="At most N calls a minute to an endpoint.")]
Timeout = Annotated[float, typer.Option("--timeout-s", metavar="S", help="Seconds to wait for one call.")]


def judge(
    prompts: Prompts,
    strong: Strong,
    weak: Weak,
    judge_name: JudgeName,
    out: Out,
    state: State,
    base_url: BaseUrl = None,
    weak_base_url: WeakBaseUrl = None,
    judge_base_url: JudgeBaseUrl = None,
    key_from: KeyFrom = None,
    strong_answers: StrongAnswers = None,
    mode: ModeName = "pairwise",
    param: AnswerParams = None,
    judge_param: JudgeParams = None,
    token_price: TokenPrices = None,
    max_usd: MaxUsd = None,
    yes: Yes = False,
    concurrency: Concurrency = 8,
    rpm: Rpm = None,
    timeout_s: Timeout = 120.0,
    json_to: JsonTo = None,
) -> None:
    """Make battles with a judge model: missing answers are generated, then judged. Exits 1 if prompts are left.

    Shows what it will cost, and asks, before it starts. Every finished call is kept in --state at once: the same
    command goes on after an interrupt and pays for none of them twice. A report stands beside --out.

    Example: prefroute augment judge prompts.jsonl --strong big --weak small --judge big --out b.csv --state run
    """
    from prefroute.augment import JudgePlan, estimate
    from prefroute.augment import judge as run

    output = Output(json_to, {"--out": out, "The report beside --out": _report_file(out)})
    output.spare(prompts)
    if out.suffix.lower() not in (".parquet", ".csv", ".jsonl"):
        raise ConfigError(f"--out must end in .parquet, .csv or .jsonl, got {out.name!r}.")
    texts, answers = _read(prompts, strong_answers)
    models = _chat_models(
        {"strong": strong, "weak": weak, "judge": judge_name},
        {"strong": base_url, "weak": weak_base_url or base_url, "judge": judge_base_url or base_url},
        {"strong": param, "weak": param, "judge": judge_param},
        (key_from or [], token_price or []),
        timeout_s,
    )
    plan = JudgePlan.of(texts, **models, mode=mode, strong_answers=answers)  # type: ignore[arg-type]  # checks `mode`
    expected = estimate(plan, state)
    _say_estimate(output, expected, max_usd)
    if expected.n_calls and not yes:
        _ask()
    with _SpendBar("Judging") as bar:
        made = run(plan, state, max_usd=max_usd, n_parallel=concurrency, rpm=rpm, progress=bar)
    _write(output, made, out)
    if not made.is_complete:
        raise typer.Exit(_INCOMPLETE)


class _SpendBar(Bar):
    """A progress bar that shows what was spent; call it with (done, total, usd)."""

    def __call__(self, done: int, total: int, usd: float = 0.0) -> None:
        self._progress.update(self._task, completed=done, total=total, description=f"Judging, {usd:.4f} USD")


def _read(prompts: str, answers: str | None) -> tuple[list[str], list[str | None] | None]:
    """The prompts, and the stored answers where a column is named."""
    from prefroute.data import read_columns, read_prompts

    if answers is None:
        return list(read_prompts(prompts)), None
    if not Path(prompts).is_file():
        raise ConfigError(f"--strong-answers needs a table with a column `prompt`, got {prompts!r}.")
    found = read_columns(Path(prompts), ["prompt", answers])
    for name in ("prompt", answers):
        row = next((i for i, value in enumerate(found[name]) if not isinstance(value, str | None)), None)
        if row is not None:
            raise DataError(f"{prompts}, row {row + 1}, column {name!r}: not text. Bring a column of text.")
    return [prompt or "" for prompt in found["prompt"]], list(found[answers])


def _chat_models(
    names: dict[str, str],
    base_urls: dict[str, str | None],
    params: dict[str, list[str] | None],
    words: tuple[Sequence[str], Sequence[str]],
    timeout_s: float,
) -> dict[str, ChatModel]:
    """The three models by role; `words` are those of --key-from and of --token-price."""
    from prefroute.augment import ChatModel
    from prefroute.http import Endpoint
    from prefroute.prices import PRICES
    from prefroute.settings import openai_endpoint, variable

    default_url, default_key = openai_endpoint()
    keys = {default_url.rstrip("/"): default_key}
    for word in words[0]:
        url, equals, name = word.rpartition("=")
        if not equals or (key := variable(name)) is None:
            raise ConfigError(f"--key-from must be URL=NAME with a variable that is set, got {word!r}.")
        keys[url.rstrip("/")] = key
    own_prices = dict(map(_price, words[1]))
    if strangers := set(own_prices) - set(names.values()):
        raise ConfigError(f"--token-price names {min(strangers)!r}, which is none of {', '.join(names.values())}.")
    prices = {**PRICES, **own_prices}
    models = {}
    for role, name in names.items():
        # a key goes to the endpoint that it belongs to, and to no other
        url = (base_urls[role] or default_url).rstrip("/")
        endpoint = Endpoint(url, keys.get(url), timeout_s=timeout_s)
        chosen = {**(_JUDGE_PARAMS if role == "judge" else _ANSWER_PARAMS), **parse_params(params[role])}
        given = {key: value for key, value in chosen.items() if value is not None}
        models[role] = ChatModel(name, endpoint, given, prices.get(name))
    return models


def _price(word: str) -> tuple[str, Price]:
    from prefroute.prices import Price

    name, equals, value = word.rpartition("=")
    try:
        usd_in, usd_out = map(float, value.split(","))
    except ValueError:
        equals = ""
    if not equals or not name:
        raise ConfigError(f"--token-price must look like MODEL=IN,OUT, got {word!r}. Example: --token-price big=2.5,10")
    return name, Price(usd_in, usd_out, "given", "--token-price")


def _ask() -> None:
    try:
        is_wanted = typer.confirm("Start?", err=True)
    except typer.Abort as exc:  # no answer: standard input is closed, or Ctrl-C
        raise ConfigError("Nothing was sent: nobody said yes. Give --yes to start without being asked.") from exc
    if not is_wanted:
        raise ConfigError("Nothing was sent.")


def _say_estimate(output: Output, expected: Estimate, max_usd: float | None) -> None:
    calls = ", ".join(f"{n:,} to {model}" for model, n in expected.n_calls.items()) or "none"
    output.say(f"Calls to send: {calls}; {expected.n_on_disk:,} are on disk already.")
    if not expected.n_calls:
        return
    output.say(f"About {expected.tokens_in:,} tokens to read (characters / 4) and {expected.tokens_out:,} to write.")
    if set(expected.unpriced) < set(expected.n_calls):
        output.say(
            f"About {expected.usd:.4f} USD; {expected.usd_if_full:.4f} USD if every answer is as long as it may be."
        )
    if expected.unpriced:
        output.say(f"Not counted in dollars, without a known price (--token-price): {', '.join(expected.unpriced)}.")
    bound = "not bounded (--max-usd)" if max_usd is None else f"never above {max_usd:g} USD"
    output.say(f"Spent in this state folder so far: {expected.usd_spent:.4f} USD; {bound}.")


def _write(output: Output, made: Judged, out: Path) -> None:
    from prefroute.data import write_table

    report: dict[str, Any] = dict(made.report)
    write_text(_report_file(out), json.dumps(report, indent=2, allow_nan=False) + "\n")
    output.result(report)
    if len(made.battles):
        write_table(made.battles, out, made.columns)
    shares = ("unparsable_share", "tie_share", "agreement_share", "position_bias", "mean_outcome")
    said = [f"{name} {report[name]:.3f}" for name in shares if report.get(name) is not None]
    said += [f"scores {report['n_by_score']}"] if "n_by_score" in report else []
    output.say("; ".join(said) or "No verdict.")
    fates = [f"{report[f'n_{fate}']:,} {fate}" for fate in ("unparsable", "empty", "refused", "failed", "left")]
    output.say(f"Of {report['n_prompts']:,} prompts: {report['n_judged']:,} judged, {', '.join(fates)}.")
    output.say(
        f"Spent {report['usd_spent']:.4f} USD in this state folder, {report['usd_maybe_billed']:.4f} of it for "
        "attempts without an answer, counted at their most."
    )
    if made.stopped_by == "max_usd":
        output.say("Stopped: the next call could have gone above --max-usd.")
    if not made.is_complete:
        output.say("Not complete: the same command goes on from here, and sends no finished call again.")
    output.say(
        f"Wrote {len(made.battles):,} battles to {out}." if len(made.battles) else f"No battles: {out} not written."
    )
    output.say(f"Report: {_report_file(out)}")


def _report_file(out: Path) -> Path:
    return out.with_suffix(".report.json")
