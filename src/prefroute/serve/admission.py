"""Who may ask, for what, and how often: what stands between a request and the work for it.

The door is `Admission`. Checks stand in one order: key, rights, rate, and (a place for it) money; route and model come
when the body has been read. It must not read bodies.
"""

from __future__ import annotations

import functools
import ipaddress
import math
from urllib.parse import urlsplit

from prefroute.errors import ConfigError
from prefroute.journal import Journal, Key, list_keys
from prefroute.serve.call import Call
from prefroute.serve.faults import Fault
from prefroute.serve.rates import Rates

__all__ = ["Admission", "is_loopback", "may", "may_ask", "permission_denied", "require_keys"]

_BEARER = b"bearer"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on an address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def permission_denied(message: str, param: str | None = None) -> Fault:
    """403: the key is good, but not for this."""
    return Fault(403, "permission_denied", message, type_="permission_error", param=param)


def require_keys(has_keys: bool, host: str | None) -> bool:
    """Whether keys are asked for: as soon as one was ever made.

    Args:
        has_keys: Whether one was.
        host: Where the server listens; None for an application that is called in the process.

    Raises:
        ConfigError: If the server can be reached from other machines and no key was ever made.
    """
    if has_keys:
        return True
    if host is not None and not is_loopback(host):
        raise ConfigError(
            f"Anybody who reaches {host!r} could use your models: there is no key yet. Make one "
            "(prefroute keys create CONFIG NAME), or listen on 127.0.0.1."
        )
    return False


class Admission:
    """Checks keys and their limits.

    Where no key was ever made, everybody on this machine may do everything.

    Args:
        journal: Holds the keys.
        host: Where the server listens; None for an application that is called in the process.
        rates: Counts requests; None for a count of this process alone.

    Raises:
        ConfigError: If the server can be reached from other machines and there is no key.
    """

    def __init__(self, journal: Journal, host: str | None = None, rates: Rates | None = None) -> None:
        self._keys = journal.keys
        self._rates = Rates() if rates is None else rates
        # Once there was a key, there always is one to show: revoking the last must not open the gate.
        self._needs_key = require_keys(bool(list_keys(journal.engine)), host)
        self._host = host

    def check_key(self, call: Call) -> None:
        """Find out who asks.

        Args:
            call: Its `key` is set.

        Raises:
            Fault: 401, the same for no key, an unknown and a revoked one; 403 for a request to an open gateway that a
                web page sent through a name of its own.
        """
        said = call.headers(b"authorization")
        if not self._needs_key and not len(self._keys):
            self._check_host(call)
            return
        self._needs_key = True
        scheme, _, secret = said[0].partition(b" ") if len(said) == 1 else (b"", b"", b"")
        key = self._keys.find(secret.strip()) if scheme.lower() == _BEARER else None
        if key is None:
            # OpenAI's own first words, by which clients know a 401 from other bad requests
            message = (
                "Incorrect API key provided, or none. Send `Authorization: Bearer KEY` with a key of this gateway."
            )
            raise Fault(401, "invalid_api_key", message, headers={"www-authenticate": "Bearer"})
        call.key = key

    def _check_host(self, call: Call) -> None:
        """A web page can have its own name point at this machine; the browser then says that name."""
        if self._host is not None and not _names_this_machine(call.header(b"host")):
            raise permission_denied("Without keys this gateway answers to localhost only. Ask there, or make a key.")

    def check_rate(self, key: Key | None) -> None:
        """Count a request.

        Args:
            key: Who asks.

        Raises:
            Fault: 429 that says when to come again.
        """
        if key is None or key.requests_per_minute is None:
            return
        wait_s = self._rates.take(key.key_id, key.requests_per_minute)
        if wait_s > 0:
            message = f"This key may ask {key.requests_per_minute} times a minute. Wait."
            retry = {"retry-after": str(min(60, max(1, math.ceil(wait_s))))}
            raise Fault(429, "rate_limit_exceeded", message, type_="rate_limit_error", headers=retry)


@functools.lru_cache(maxsize=64)
def _names_this_machine(host: bytes) -> bool:
    try:
        name = urlsplit("//" + host.decode("latin-1")).hostname
    except ValueError:
        return False
    return name is None or is_loopback(name)


def may(key: Key | None, right: str) -> bool:
    """Whether a key has a right; without keys everybody has all."""
    return key is None or key.may(right)


def may_ask(key: Key | None, name: str) -> bool:
    """Whether a key may ask for a route or model; without keys everybody may ask for all."""
    return key is None or key.may_ask(name)
