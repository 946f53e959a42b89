import sqlite3

import pytest

from prefroute.augment.ledger import Answer, Ledger
from prefroute.errors import ConfigError, DataError

ANSWER = Answer("hello", is_cut=False, tokens_in=3, tokens_out=2, usd=0.25)


def test_a_finished_call_is_there_for_the_next_process(tmp_path):
    with Ledger(tmp_path / "state") as ledger:
        ledger.finish(ledger.reserve("k", 1.0), "k", "answer", "m", ANSWER)

    with Ledger(tmp_path / "state") as ledger:
        assert ledger.get("k") == ANSWER
        assert ledger.get("other") is None
        assert (ledger.usd, ledger.usd_lost) == (0.25, 0.0)


def test_what_is_in_flight_counts_at_its_most_until_it_is_finished(tmp_path):
    with Ledger(tmp_path) as ledger:
        reservation = ledger.reserve("k", 1.0)
        in_flight = ledger.usd
        ledger.finish(reservation, "k", "answer", "m", ANSWER)

        assert (in_flight, ledger.usd) == (1.0, 0.25)


def test_a_refused_attempt_costs_nothing_and_a_lost_one_its_most(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.release(ledger.reserve("a", 1.0))
        ledger.lose(ledger.reserve("b", 2.0))

        assert (ledger.usd, ledger.usd_lost) == (2.0, 2.0)


def test_what_was_in_flight_when_the_process_died_counts_as_lost(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.reserve("k", 1.0)
    ledger._db.close()  # as the death of the process does

    with Ledger(tmp_path) as after:
        assert (after.usd, after.usd_lost, after.get("k")) == (1.0, 1.0, None)


def test_a_second_user_of_the_folder_is_refused(tmp_path):
    with Ledger(tmp_path), pytest.raises(ConfigError, match="is in use by another process"):
        Ledger(tmp_path)

    Ledger(tmp_path).__exit__()


def test_a_file_that_is_no_state_is_refused(tmp_path):
    (tmp_path / "calls.sqlite").write_bytes(b"something else" * 100)

    with pytest.raises(ConfigError, match="is not a state of prefroute"):
        Ledger(tmp_path)


@pytest.mark.parametrize("version", [1, 9])
def test_a_state_of_another_version_is_refused(tmp_path, version):
    Ledger(tmp_path).__exit__()
    db = sqlite3.connect(tmp_path / "calls.sqlite")
    db.execute(f"PRAGMA user_version = {version}")
    db.close()

    with pytest.raises(ConfigError, match=f"format version {version}, wanted 2. Use another --state folder"):
        Ledger(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot be made"):
        Ledger(tmp_path / "file" / "state")


def test_a_full_disk_stops_with_what_is_finished_intact(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.finish(ledger.reserve("k", 1.0), "k", "answer", "m", ANSWER)
        pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
        ledger._db.execute(f"PRAGMA max_page_count = {pages}")
        long = Answer("x" * 100_000, is_cut=False, tokens_in=1, tokens_out=1, usd=0.1)
        with pytest.raises(DataError, match="full"):
            ledger.finish(ledger.reserve("l", 1.0), "l", "answer", "m", long)

    with Ledger(tmp_path) as ledger:
        assert ledger.get("k") == ANSWER
        assert ledger.get("l") is None
        assert ledger.usd_lost == 1.0
