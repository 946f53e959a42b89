"""What a narrow terminal shows: whole figures in fewer columns, never figures that are cut."""

import io

from rich.console import Console

from prefroute.cli import fetch
from prefroute.cli.evaluate import _fitting
from prefroute.cli.output import Output, table_of
from prefroute.data import PUBLIC_SETS

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
