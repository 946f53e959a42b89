"""Rates, and which addresses need no key."""

from __future__ import annotations

import pytest

from prefroute.errors import ConfigError
from prefroute.journal import create_key, open_journal, revoke_key
from prefroute.serve.admission import Admission, is_loopback
from prefroute.serve.call import Call
from prefroute.serve.faults import Fault
from prefroute.serve.rates import Rates


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def journal(tmp_path):
    with open_journal(f"sqlite:///{tmp_path / 'journal.db'}") as opened:
        yield opened


def call(*headers: tuple[bytes, bytes]) -> Call:
    return Call({"method": "POST", "path": "/", "headers": list(headers)}, None, None)  # type: ignore[arg-type]


def key_of(journal, **limits):
    key, secret = create_key(journal.engine, "test", **limits)
    journal.keys.refresh()
    return key, secret.encode()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_key(journal, host):
    assert is_loopback(host)
    Admission(journal, host).check_key(call())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "gateway.example"])
def test_other_addresses_do(journal, host):
    with pytest.raises(ConfigError, match="there is no key yet"):
        Admission(journal, host)


@pytest.mark.parametrize(
    ("host", "is_open"),
    [
        (b"localhost:8000", True),
        (b"127.0.0.1", True),
        (b"[::1]:8000", True),
        (b"", True),
        (b"evil.example", False),
        (b"127.0.0.1.evil.example:80", False),
        (b"[", False),
    ],
)
def test_an_open_gateway_answers_to_names_of_this_machine_only(journal, host, is_open):
    admission = Admission(journal, "127.0.0.1")

    if is_open:
        admission.check_key(call((b"host", host)))
    else:
        with pytest.raises(Fault, match="localhost only"):
            admission.check_key(call((b"host", host)))


def test_a_gateway_whose_last_key_was_revoked_stays_closed(journal):
    key, _ = key_of(journal)
    revoke_key(journal.engine, key.key_id)
    journal.keys.refresh()

    with pytest.raises(Fault, match="Incorrect API key provided"):
        Admission(journal, "127.0.0.1").check_key(call())


def test_a_key_made_while_serving_closes_the_gateway(journal):
    admission = Admission(journal, "127.0.0.1")
    admission.check_key(call())
    _, secret = key_of(journal)

    with pytest.raises(Fault, match="Incorrect API key provided"):
        admission.check_key(call())
    asked = call((b"authorization", b"bearer  " + secret))
    admission.check_key(asked)
    assert asked.key is not None


def test_two_authorization_headers_are_none(journal):
    _, secret = key_of(journal)
    header = (b"authorization", b"Bearer " + secret)

    with pytest.raises(Fault, match="Incorrect API key provided"):
        Admission(journal).check_key(call(header, header))


def test_a_rate_refills_evenly(journal):
    clock = Clock()
    key, _ = key_of(journal, requests_per_minute=6)
    admission = Admission(journal, rates=Rates(clock=clock))
    for _ in range(6):
        admission.check_rate(key)

    with pytest.raises(Fault) as caught:
        admission.check_rate(key)
    assert caught.value.headers == {"retry-after": "10"}  # 6 a minute: one each 10 s
    clock.now += 10
    admission.check_rate(key)
    with pytest.raises(Fault):
        admission.check_rate(key)


def test_keys_do_not_share_a_rate(journal):
    first, _ = key_of(journal, requests_per_minute=1)
    second, _ = key_of(journal, requests_per_minute=1)
    admission = Admission(journal, rates=Rates(clock=Clock()))
    admission.check_rate(first)

    admission.check_rate(second)
    admission.check_rate(None)
