"""Keys of the gateway's clients: made, listed and revoked here, and looked up in memory by the server.

The door is `create_key`, `list_keys`, `revoke_key` for people and `KeyRing` for a server. A secret is shown once, when
it is made; what is stored is its SHA-256. A secret has 192 random bits, so that a plain hash is as good as a slow one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, Row, insert, select, update

from prefroute.errors import ConfigError, nearest
from prefroute.journal.tables import api_keys, revisions

__all__ = ["RIGHTS", "Key", "KeyRing", "create_key", "list_keys", "revoke_key"]

RIGHTS: Mapping[str, str] = {
    "feedback": "give feedback on its own requests",
    "explain": "see win rates and reasons in headers, and ask /v1/route",
    "choose_threshold": "name a threshold in the model, as in router-mf-0.116",
    "metrics": "read /metrics, which tells of everybody's requests",
}
"""What a key may do beyond asking; a new key has "feedback" unless told otherwise."""

_PREFIX = "pr-"
_MAX_SECRET = 200  # bytes: what is longer is not hashed to find out that it is wrong
_REVISION = "keys"


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key, its secret aside.

    Attributes:
        key_id: Names it in the journal and to `revoke_key`; not secret.
        name: What people call it.
        routes: Names that it may ask for as `model`, routes and models alike; None for all.
        requests_per_minute: At most so many; None for no limit.
        rights: Of `RIGHTS`.
        created_at: Wall-clock time, seconds since 1970, UTC.
        revoked_at: Likewise; None while it is good.
    """

    key_id: str
    name: str
    routes: frozenset[str] | None
    requests_per_minute: int | None
    rights: frozenset[str]
    created_at: float
    revoked_at: float | None = None

    def may(self, right: str) -> bool:
        """Whether the key has a right of `RIGHTS`."""
        return right in self.rights

    def may_ask(self, name: str) -> bool:
        """Whether the key may ask for a route or model of this name."""
        return self.routes is None or name in self.routes


class KeyRing:
    """The good keys, in memory, as they stood at the last `refresh`.

    Args:
        engine: Of the journal.

    Example:
        ring = KeyRing(engine)
        key = ring.find(b"pr-...")  # None: answer 401
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._revision = -1
        self._by_digest: Mapping[bytes, tuple[bytes, Key]] = {}
        self.refresh()

    def __len__(self) -> int:
        """Number of good keys."""
        return len(self._by_digest)

    def find(self, secret: bytes) -> Key | None:
        """The key of a secret; None for one that is unknown or revoked, whatever it holds.

        The secret is compared as its hash: how long a look-up takes says nothing about how much of it was right.
        """
        if len(secret) > _MAX_SECRET:
            return None
        digest = hashlib.sha256(secret).digest()
        stored, key = self._by_digest.get(digest, (b"", None))
        return key if hmac.compare_digest(stored, digest) else None

    def refresh(self) -> None:
        """Read the keys again if they have changed; one cheap query if they have not.

        Raises:
            DBAPIError: If the database cannot be asked; the keys stay as they were.
        """
        with self._engine.connect() as connection:
            query = select(revisions.c.n).where(revisions.c.name == _REVISION)
            revision = connection.execute(query).scalar_one()
            if revision == self._revision:
                return
            rows = connection.execute(select(api_keys).where(api_keys.c.revoked_at.is_(None))).all()
        self._by_digest = {bytes(row.digest): (bytes(row.digest), _key(row)) for row in rows}
        self._revision = revision


def create_key(
    engine: Engine,
    name: str,
    *,
    routes: Sequence[str] | None = None,
    requests_per_minute: int | None = None,
    rights: Sequence[str] = ("feedback",),
) -> tuple[Key, str]:
    """Make a key.

    Args:
        engine: Of the journal.
        name: What people call it, 1 to 100 characters; need not be unique.
        routes: Names that it may ask for; None for all.
        requests_per_minute: At most so many, >= 1; None for no limit.
        rights: Of `RIGHTS`.

    Returns:
        The key, and its secret, which is kept nowhere.

    Raises:
        ConfigError: If an argument is not valid.
    """
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise ConfigError(f"A key's name must be 1 to 100 printable characters, got {len(name)}. Choose another.")
    if requests_per_minute is not None and not 1 <= requests_per_minute <= 1_000_000:
        raise ConfigError(f"Requests per minute must be from 1 to 1,000,000, got {requests_per_minute}.")
    for right in rights:
        if right not in RIGHTS:
            raise ConfigError(nearest(right, RIGHTS, "right"))
    secret = _PREFIX + secrets.token_urlsafe(24)
    key = Key(
        key_id=f"key_{secrets.token_hex(6)}",
        name=name,
        routes=None if routes is None else frozenset(routes),
        requests_per_minute=requests_per_minute,
        rights=frozenset(rights),
        created_at=time.time(),
    )
    values = {
        "key_id": key.key_id,
        "name": key.name,
        "digest": hashlib.sha256(secret.encode()).digest(),
        "routes": None if key.routes is None else orjson.dumps(sorted(key.routes)).decode(),
        "requests_per_minute": key.requests_per_minute,
        "rights": orjson.dumps(sorted(key.rights)).decode(),
        "created_at": key.created_at,
    }
    with engine.begin() as connection:
        connection.execute(insert(api_keys).values(values))
        _changed(connection)
    return key, secret


def list_keys(engine: Engine) -> list[Key]:
    """Every key that was ever made, oldest first."""
    with engine.connect() as connection:
        return [_key(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.created_at))]


def revoke_key(engine: Engine, key_id: str) -> Key:
    """End a key; servers refuse it within a second.

    Args:
        engine: Of the journal.
        key_id: Of the key; its name does too where only one key that is good has it, or else one key in all.

    Raises:
        ConfigError: If there is no such key, or several have that name.
    """
    keys = list_keys(engine)
    found = [key for key in keys if key.key_id == key_id]
    found = found or [key for key in keys if key.name == key_id and key.revoked_at is None]
    found = found or [key for key in keys if key.name == key_id]
    if not found:
        raise ConfigError(f"There is no key {key_id!r}. See: prefroute keys list")
    if len(found) > 1:
        ids = ", ".join(key.key_id for key in found)
        raise ConfigError(f"{len(found)} keys have the name {key_id!r}. Name one by its id: {ids}.")
    with engine.begin() as connection:
        connection.execute(
            update(api_keys)
            .where(api_keys.c.key_id == found[0].key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=time.time())
        )
        _changed(connection)
    return next(key for key in list_keys(engine) if key.key_id == found[0].key_id)


def _changed(connection: Connection) -> None:
    """Tell every server, in the transaction of the change itself."""
    connection.execute(update(revisions).where(revisions.c.name == _REVISION).values(n=revisions.c.n + 1))


def _key(row: Row[Any]) -> Key:
    return Key(
        key_id=row.key_id,
        name=row.name,
        routes=None if row.routes is None else frozenset(orjson.loads(row.routes)),
        requests_per_minute=row.requests_per_minute,
        rights=frozenset(orjson.loads(row.rights)),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
