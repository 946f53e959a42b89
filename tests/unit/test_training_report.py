"""The training report: calibration figures by hand, and a page that is whole, safe and fetches nothing."""

import json
from typing import Any

import numpy as np
import pytest

from prefroute.errors import DataError
from prefroute.train.calibration import (
    brier_score,
    expected_calibration_error,
    fit_temperature,
    reliability,
    softmax,
)
from prefroute.train.report import Calibration, TrainingReport, save_training_report, training_html

PREDICTED = np.array([0.1, 0.1, 0.8, 1.0])
OBSERVED = np.array([0.0, 0.5, 1.0, 1.0])


def report(**changes):
    given: dict[str, Any] = {
        "kind": "bert",
        "params": {"base": "<b>tiny</b>", "steps": 4},
        "n_train": 90,
        "n_held_out": 10,
        "history": [
            {"step": 2, "train_loss": 1.0, "held_out_loss": 1.1},
            {"step": 4, "train_loss": 0.9, "held_out_loss": None},
        ],
        "calibration": Calibration.of(PREDICTED, PREDICTED, OBSERVED, 1.5),
    }
    return TrainingReport(**(given | changes))


def test_reliability_is_the_mean_of_each_bin():
    points = reliability(PREDICTED, OBSERVED, n_bins=5)

    # bins [0, .2) holds rows 0, 1; [.8, 1] holds rows 2, 3: the last bin takes 1.0 too
    assert [(p.n, p.predicted, p.observed) for p in points] == [(2, 0.1, 0.25), (2, 0.9, 1.0)]


def test_calibration_error_weighs_bins_by_size():
    # 2/4 * |.1 - .25| + 2/4 * |.9 - 1| = .125
    assert expected_calibration_error(PREDICTED, OBSERVED, n_bins=5) == pytest.approx(0.125)


def test_brier_score_is_the_mean_squared_distance():
    # (.01 + .16 + .04 + 0) / 4
    assert brier_score(PREDICTED, OBSERVED) == pytest.approx(0.0525)


def test_calibration_of_nothing_is_refused():
    with pytest.raises(DataError, match=r"must have one shape \(n,\) with n > 0, got \(0,\) and \(0,\)"):
        reliability(np.array([]), np.array([]))


def test_temperature_of_calibrated_logits_is_one():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    labels = np.array([rng.choice(3, p=row) for row in softmax(logits)])

    assert fit_temperature(logits, np.eye(3)[labels], np.ones(len(labels))) == pytest.approx(1.0, abs=0.1)


def test_temperature_mends_logits_that_are_three_times_too_sure():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    labels = np.array([rng.choice(3, p=row) for row in softmax(logits)])

    assert fit_temperature(3 * logits, np.eye(3)[labels], np.ones(len(labels))) == pytest.approx(3.0, abs=0.3)


def test_temperature_stays_within_bounds_where_every_row_is_right():
    assert 0.2 <= fit_temperature(np.array([[5.0, 0.0]]), np.array([[1.0, 0.0]]), np.ones(1)) < 0.21


def test_prior_is_the_brier_score_of_the_mean():
    # mean .625; squared distances .390625, .015625, .140625, .140625
    assert report().calibration.brier_prior == pytest.approx(0.171875)


def test_saved_report_reads_back(tmp_path):
    figures = {f"{name}{end}": 0.61 for name in ("apgr", "cpt50", "cpt80") for end in ("", "_low", "_high")}
    row = {"router": "bert", "n": 10, "warnings": ["<few> rows"]} | figures | {"apgr_low": 0.5, "cpt80_low": None}
    made = report(evaluation=[row])

    json_path, html_path = save_training_report(made, tmp_path / "run")

    content = json.loads(json_path.read_text())
    assert (content["schema"], content["n_train"], content["calibration"]["temperature"]) == (1, 90, 1.5)
    assert content["history"][0] == {"step": 2, "train_loss": 1.0, "held_out_loss": 1.1}
    page = html_path.read_text()
    assert "<td>0.610 [0.500, 0.610]</td><td>0.610</td><td>0.610</td>" in page
    assert "&lt;few&gt; rows" in page
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["training.html", "training.json"]


def test_page_escapes_what_it_shows_and_fetches_nothing():
    page = training_html(report())

    assert "&lt;b&gt;tiny&lt;/b&gt;" in page
    assert "<b>tiny" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_page_draws_one_point_for_each_recorded_loss():
    page = training_html(report(calibration=None))

    assert page.count("<circle") == 3  # two training losses and one held-out loss


def test_page_of_a_training_without_losses_says_so():
    assert "No loss was recorded." in training_html(report(history=[], calibration=None))


def test_loss_that_is_not_a_number_is_refused(tmp_path):
    with pytest.raises(DataError, match="must hold finite numbers only"):
        save_training_report(report(history=[{"step": 1, "train_loss": float("nan")}]), tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(DataError, match="Could not write the training report to"):
        save_training_report(report(), tmp_path / "file")
