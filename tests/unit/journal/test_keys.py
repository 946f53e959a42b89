"""Keys: shown once, stored hashed, found whole or not at all, refused soon after they are revoked."""

import hashlib
import time

import pytest

from prefroute.errors import ConfigError
from prefroute.journal import KeyRing, create_key, list_keys, open_journal, revoke_key
from prefroute.journal.tables import api_keys


def test_a_key_is_found_by_its_secret(engine):
    key, secret = create_key(engine, "team", routes=["auto"], requests_per_minute=60, rights=["explain"])

    found = KeyRing(engine).find(secret.encode())

    assert found == key
    assert (found.may("explain"), found.may("feedback")) == (True, False)
    assert (found.may_ask("auto"), found.may_ask("gpt")) == (True, False)


def test_a_new_key_may_ask_for_everything_and_give_feedback(engine):
    key, _ = create_key(engine, "team")

    assert key.may_ask("anything")
    assert key.rights == {"feedback"}


def test_only_the_hash_of_a_secret_is_stored(engine, rows_of):
    _, secret = create_key(engine, "team")

    (stored,) = rows_of(engine, api_keys)

    assert secret.startswith("pr-")
    assert len(secret) == len("pr-") + 32  # 24 random bytes, 6 bits a letter
    assert stored["digest"] == hashlib.sha256(secret.encode()).digest()
    assert secret not in repr(stored)


def test_what_is_not_a_secret_finds_nothing(engine):
    _, secret = create_key(engine, "team")
    ring = KeyRing(engine)
    good = secret.encode()

    wrong = [b"", good[:-1], good + b"x", good.swapcase(), b"\xff" * 35, "ключ".encode(), b"x" * 1_000_000, b" " + good]

    assert [ring.find(word) for word in wrong] == [None] * len(wrong)


def test_two_keys_never_mix(engine):
    keys = dict(create_key(engine, f"k{i}") for i in range(20))
    ring = KeyRing(engine)

    assert [ring.find(secret.encode()) for secret in keys.values()] == list(keys)


def test_a_revoked_key_is_refused_within_a_second(url):
    with open_journal(url) as journal:
        key, secret = create_key(journal.engine, "team")
        deadline = time.monotonic() + 10
        while journal.keys.find(secret.encode()) is None:
            assert time.monotonic() < deadline, "a new key is never seen"
            time.sleep(0.01)

        revoke_key(journal.engine, key.key_id)
        revoked = time.monotonic()
        while journal.keys.find(secret.encode()) is not None:
            assert time.monotonic() < revoked + 10, "the revoked key is still good"
            time.sleep(0.01)


def test_keys_that_did_not_change_are_not_read_again(engine):
    create_key(engine, "team")
    ring = KeyRing(engine)
    before = ring._by_digest

    ring.refresh()
    assert ring._by_digest is before

    create_key(engine, "more")
    ring.refresh()
    assert len(ring) == 2


def test_a_key_can_be_revoked_by_a_name_that_only_it_has(engine):
    create_key(engine, "team")
    twin, _ = create_key(engine, "twin")
    create_key(engine, "twin")

    assert revoke_key(engine, "team").revoked_at is not None
    with pytest.raises(ConfigError, match=r"2 keys have the name 'twin'\. Name one by its id: key_"):
        revoke_key(engine, "twin")
    revoke_key(engine, twin.key_id)
    revoke_key(engine, "twin")

    assert [key.revoked_at is None for key in list_keys(engine)] == [False] * 3


def test_revoking_what_is_not_there_says_so(engine):
    with pytest.raises(ConfigError, match=r"^There is no key 'nobody'\. See: prefroute keys list$"):
        revoke_key(engine, "nobody")


def test_revoking_twice_keeps_the_first_time(engine):
    key, _ = create_key(engine, "team")

    first = revoke_key(engine, key.key_id).revoked_at

    assert revoke_key(engine, key.key_id).revoked_at == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "name must be 1 to 100 printable characters, got 0"),
        ({"name": "a\nb"}, "printable"),
        ({"name": "x", "requests_per_minute": 0}, "must be from 1 to 1,000,000, got 0"),
        ({"name": "x", "rights": ["explian"]}, "Unknown right 'explian'. Did you mean 'explain'?"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(engine, arguments, message):
    with pytest.raises(ConfigError) as caught:
        create_key(engine, **arguments)

    assert message in str(caught.value)
    assert list_keys(engine) == []
