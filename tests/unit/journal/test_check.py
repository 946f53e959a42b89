"""What can be known of a journal without making or changing one."""

import os

import pytest

from prefroute.errors import ConfigError
from prefroute.journal import check_database, create_key, revoke_key


def test_a_journal_that_is_not_there_yet_has_no_keys_and_is_not_made(tmp_path):
    assert check_database("sqlite:///journal.db", tmp_path) is False
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_has_no_keys_and_stays_empty(url):
    if url.startswith("sqlite"):
        pytest.skip("an empty database of SQLite is a file that is not there")

    assert check_database(url) is False
    assert check_database(url) is False


def test_a_key_that_was_revoked_counts_since_there_was_one(url, engine):
    assert check_database(url) is False

    key, _ = create_key(engine, "team")
    revoke_key(engine, key.key_id)

    assert check_database(url) is True


def test_a_folder_in_which_no_file_can_be_made_is_found_out_at_once(tmp_path, monkeypatch):
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and access(path, mode))

    with pytest.raises(ConfigError, match=r"journal.db' cannot be written: Permission denied. Mend that first."):
        check_database("sqlite:///journal.db", tmp_path)
