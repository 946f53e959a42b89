"""The HTML report: self-contained, escaped, complete."""

import json
import re
import sys

import numpy as np
import pytest

from prefroute.benchmarks import Benchmark
from prefroute.data import PromptKeys
from prefroute.errors import MissingExtraError
from prefroute.evaluate import Fitted, evaluate
from prefroute.report import report_html, save_report
from prefroute.routers.base import Router, RouterState
from prefroute.types import Outcomes

pytest.importorskip("plotly")

EVIL = "</script><img src=x onerror=alert(1)>"


class Long(Router):
    kind = "long"
    strong, weak = "big", "small"

    def fit(self, data):
        return self

    def win_rate(self, prompts):
        return np.array([len(prompt) / 100 for prompt in prompts])

    def state(self):
        return RouterState()

    def restore(self, state):
        return self


@pytest.fixture(scope="module")
def report():
    quality = np.column_stack([np.ones(40), np.arange(40) % 2]).astype(np.float64)
    table = Outcomes([f"prompt {'x' * i}" for i in range(40)], ("big", "small"), quality)
    benchmark = Benchmark("made-up", table, "big", "small", EVIL, "none")
    return evaluate([Fitted(EVIL, Long(), PromptKeys.of([]))], benchmark, n_boot=20, date="2026-01-02")


@pytest.fixture(scope="module")
def page(report):
    return report_html(report)


@pytest.fixture(scope="module")
def own(page):
    """The page without plotly.js."""
    from plotly.offline import get_plotlyjs

    return page.replace(get_plotlyjs(), "")


def test_nothing_is_fetched_from_anywhere(own):
    assert not re.search(r"<(script|img|iframe)[^>]*\bsrc|<link|@import|url\(|https?://|fetch\(", own, re.I)
    assert "default-src 'none'" in own


def test_names_cannot_become_tags(own):
    assert "<img" not in own
    assert "&lt;img" in own


def test_the_figure_is_json_with_a_band_and_a_line_for_the_router(own):
    found = re.search(r'id="figure">(.*?)</script>', own, re.S)
    assert found is not None
    figure = json.loads(found[1])

    names = [trace.get("name") for trace in figure["data"]]
    assert len([name for name in names if name]) == 4  # the router, random, length, oracle
    assert names.count(None) == 2  # the two edges of the router's band


def test_every_row_of_the_report_is_in_the_table(own):
    rows = re.findall(r'<tr class="(\w+)"', own)

    assert sorted(rows) == ["baseline", "baseline", "baseline", "baseline", "bound", "router"]


def test_it_says_how_intervals_were_made_and_when(own):
    assert "routers are not refitted" in own
    assert "<dd>2026-01-02</dd>" in own


def test_it_is_written_whole(report, tmp_path, monkeypatch):
    monkeypatch.setattr("prefroute.report.report_html", lambda _: "page")

    save_report(report, tmp_path / "page.html")

    assert (tmp_path / "page.html").read_text() == "page"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_without_plotly_the_extra_is_named(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)

    with pytest.raises(MissingExtraError, match=r"The HTML report needs the extra 'plot'"):
        report_html(report)
