"""What a narrow terminal shows: whole figures in fewer columns, never figures that are cut."""

from prefroute.cli.evaluate import _fitting

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
