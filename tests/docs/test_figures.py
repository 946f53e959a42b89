"""What README and how-to say of the shipped router is what was measured (docs/shipped-router.json)."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from prefroute.cli.app import app
from prefroute.prices import PRICES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MEASURED: dict[str, Any] = json.loads((ROOT / "docs" / "shipped-router.json").read_text(encoding="utf-8"))
HELD_OUT = {part["benchmark"]: part for part in MEASURED["held_out"]}
NAMES = {"mmlu": "MMLU", "gsm8k": "GSM8K", "routerbench": "RouterBench", "mmlu-pro": "MMLU-Pro", "mt-bench": "MT-Bench"}


def brief(value: float) -> str:
    """Three decimals without the zero in front."""
    return f"{value:.3f}".removeprefix("0")


def at_60_percent(benchmark: str) -> dict[str, Any]:
    """What the threshold does that is named for 60% of strong calls."""
    return next(row for row in HELD_OUT[benchmark]["thresholds"] if row["share"] == "0.6")


def test_readme_shows_what_route_prints():
    shown = re.findall(r"^\$ prefroute (route .*)\n(\w+  win rate .*)$", README, re.MULTILINE)

    printed = [CliRunner().invoke(app, shlex.split(words)).stdout.strip() for words, _ in shown]

    assert len(shown) == 2
    assert printed == [line for _, line in shown]


def test_readme_says_what_is_saved_on_mmlu():
    row = at_60_percent("mmlu")
    gap, low, high = row["pgr"]
    share, usd = row["strong_share"][0], row["usd_per_1000"]
    strong_usd = 1000 * PRICES["gpt-4-1106-preview"].request_usd()

    assert f"recovers {gap:.0%} [{100 * low:.0f}, {100 * high:.0f}] of the quality gap" in README
    assert f"with {share:.0%} of the calls to GPT-4" in README
    assert f"cost ${usd[0]:.2f} [{usd[1]:.2f}, {usd[2]:.2f}] in place of ${strong_usd:.2f}" in README
    assert f"draws lots would recover {share:.0%}" in README


@pytest.mark.parametrize("benchmark", NAMES)
def test_readme_has_the_row_of_every_benchmark(benchmark):
    part = HELD_OUT[benchmark]
    apgr, low, high = map(brief, part["apgr"])

    assert f"| {NAMES[benchmark]} | {part['n']:,} | {apgr} [{low}, {high}] | {brief(part['length'][0])} |" in README


def test_readme_says_what_helps_the_figure_and_how_little_a_threshold_travels():
    mmlu = HELD_OUT["mmlu"]
    n_rows = next(source["rows"] for source in MEASURED["training_data"] if source["name"].startswith("mmlu,"))
    shares = [at_60_percent(name)["strong_share"][0] for name in ("mmlu", "mmlu-pro")]

    assert f"saw {n_rows:,} of MMLU's other questions" in README
    assert f"({mmlu['without']['subject']}) the shipped router has {mmlu['without']['apgr'][0]:.2f}" in README.replace(
        " has .", " has 0."
    )
    assert "sends {:.0%} of MMLU to the strong model sends {:.0%} of MMLU-Pro".format(*shares) in README


def test_readme_calls_no_benchmark_better_than_length_that_is_not():
    behind = [NAMES[name] for name, part in HELD_OUT.items() if part["minus_length"][1] <= 0]

    assert behind == ["GSM8K"]
    assert "on GSM8K the shipped one does not" in README


def test_choose_page_and_adapt_page_have_the_medians_of_other_models():
    pools = {pool["benchmark"]: pool["all"] for pool in MEASURED["transfer"]["pools"]}
    as_it_is, numbers, outcomes = (
        [f"{pools[name][how]['median']:.2f}".removeprefix("0") for name in ("mmlu-pro", "routerbench")]
        for how in ("as it is", "numbers", "outcomes")
    )
    choose, adapt = ((ROOT / "docs/how-to" / f"{name}.md").read_text() for name in ("choose-a-router", "adapt"))

    assert "a median of {} on MMLU-Pro and {} on RouterBench".format(*as_it_is) in choose
    assert "the same pairs: {} and {} |".format(*numbers) in choose
    assert "the same pairs: {} and {} |".format(*outcomes) in choose
    assert f"worse than at random ({numbers[1]})" in adapt
