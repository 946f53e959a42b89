"""Pictures: the right format, the right message, nothing half-written."""

import sys

import numpy as np
import pytest

from prefroute.benchmarks import Benchmark
from prefroute.errors import ConfigError, MissingExtraError
from prefroute.evaluate import Report, evaluate
from prefroute.plot import save_plot
from prefroute.types import Outcomes

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def report():
    quality = np.column_stack([np.ones(40), np.arange(40) % 2]).astype(np.float64)
    table = Outcomes([f"prompt {'x' * i}" for i in range(40)], ("big", "small"), quality)
    return evaluate([], Benchmark("made-up", table, "big", "small", "test", "none"), n_boot=20)


def test_a_png_file_is_a_png(report, tmp_path):
    save_plot(report, tmp_path / "curve.png")

    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_an_svg_file_is_the_same_each_time(report, tmp_path):
    for name in ("one.svg", "two.svg"):
        save_plot(report, tmp_path / name)

    one = (tmp_path / "one.svg").read_text()
    assert "<svg" in one
    assert one.count("<path") == (tmp_path / "two.svg").read_text().count("<path")


def test_a_routers_line_has_its_band_and_baselines_have_none(report, tmp_path):
    first = {**report.rows[0], "router": "mine", "role": "router"}
    mine = Report([first, *report.rows], {"mine": report.bands["length"], **report.bands}, report.provenance)

    save_plot(report, tmp_path / "without.svg")
    save_plot(mine, tmp_path / "with.svg")

    count = [(tmp_path / name).read_text().count("PolyCollection") for name in ("without.svg", "with.svg")]
    assert count[1] > count[0]


def test_another_ending_is_refused(report, tmp_path):
    with pytest.raises(ConfigError, match=r"A plot is a \.png or \.svg file, got 'curve\.pdf'"):
        save_plot(report, tmp_path / "curve.pdf")


def test_nothing_else_is_left_in_the_folder(report, tmp_path):
    save_plot(report, tmp_path / "curve.png")

    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_without_matplotlib_the_extra_is_named(report, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(MissingExtraError, match=r"Plotting needs the extra 'plot'"):
        save_plot(report, tmp_path / "curve.png")
