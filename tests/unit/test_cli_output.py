"""What a narrow terminal shows: whole figures in fewer columns, never figures that are cut; and what errors say."""

import io

import pytest
from rich.console import Console

from prefroute.cli import fetch, train
from prefroute.cli.app import main
from prefroute.cli.evaluate import _fitting
from prefroute.cli.output import Output, TrainingBar, table_of
from prefroute.data import PUBLIC_SETS
from prefroute.train.progress import Look

TRAIN = ["train", "linear", "--data", "t.csv", "--strong", "big", "--weak", "small", "--out", "r"]
CELLS = [
    ["router", "APGR", "CPT80", "paper APGR", "vs random"],
    ["linear", "0.664 [0.644, 0.686]", "0.604 [0.569, 0.647]", "0.660 [0.640, 0.682]", "+0.164 [+0.144, +0.186]"],
]


def test_a_wide_terminal_shows_every_column():
    assert _fitting(CELLS, 120) == CELLS


def test_the_least_needed_columns_go_first():
    assert _fitting(CELLS, 60)[0] == ["router", "APGR", "CPT80"]


def test_the_routers_and_their_apgr_always_stay():
    assert _fitting(CELLS, 10)[0] == ["router", "APGR"]


def test_a_line_of_text_stays_one_line_where_no_terminal_shows_it(capsys):
    command = "prefroute adapt " + "--data outcomes.parquet " * 20

    Output(None).say(command)

    assert capsys.readouterr().out == command + "\n"


def test_a_name_that_looks_like_markup_is_shown_as_it_is(capsys):
    shown = table_of("[red]model[/red]", "[b]")

    Output(None).say(shown)

    assert "[red]model[/red]" in capsys.readouterr().out


def test_a_narrow_terminal_cuts_no_name_that_is_to_be_typed():
    output, shown = Output(None), io.StringIO()
    output.console = Console(file=shown, width=80)

    fetch._show(output)

    assert [name for name in PUBLIC_SETS if f"│ {name} " not in shown.getvalue()] == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    ],
)
def test_memory_that_runs_out_anywhere_is_one_line_that_says_what_to_do(monkeypatch, capsys, tmp_path, error):
    def greedy(plan):
        raise error

    monkeypatch.setattr(train, "_read", greedy)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as exit_:
        main(TRAIN)

    said = capsys.readouterr().err.splitlines()
    assert (exit_.value.code, len(said)) == (2, 1)
    assert said[0].startswith("prefroute: error: memory ran out. Use fewer rows")


def test_another_error_of_a_library_is_still_a_bug(monkeypatch, capsys, tmp_path):
    def broken(plan):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(train, "_read", broken)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as exit_:
        main(TRAIN)

    assert exit_.value.code == 1
    assert "unexpected RuntimeError; this is a bug." in capsys.readouterr().err


def test_two_question_sets_of_one_name_are_refused_before_one_overwrites_the_other(capsys, tmp_path):
    with pytest.raises(SystemExit) as exit_:
        main(f"evaluate length --benchmark a/t.csv --benchmark b/t.csv --plot {tmp_path}/curve.svg".split())

    assert exit_.value.code == 2
    assert "--benchmark 'a/t.csv' and 'b/t.csv' are both called 't' in the report." in capsys.readouterr().err


def test_a_terminal_shows_the_losses_of_the_last_look_beside_the_bar(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")

    with TrainingBar() as bar:
        bar(0, 100, Look(None, 0.7, 0.7))
        bar(1, 100, Look(0.65, 0.6, 0.6))
        bar(2, 100, None)

    said = capsys.readouterr().err
    assert "Training  train 0.6500  held-out 0.6000  best 0.6000" in said
    assert "step" not in said
