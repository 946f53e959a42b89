"""How long the gateway takes over a key says nothing about the key."""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
import string
import time
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from sqlalchemy import Engine, insert, select
from tests.servers.gateway import in_process, make_key

from prefroute.journal import KeyRing, create_key, open_database, revoke_key
from prefroute.journal.tables import api_keys

pytestmark = pytest.mark.slow

ALPHABET = string.ascii_letters + string.digits + "-_"
RNG = random.Random(0)
N_SAMPLES = 20_000
N_TRIES = 3  # what leaks, leaks every time
LARGEST_T = 4.5  # what leakage tests of cryptographic code commonly allow


def times(find: Callable[[bytes], object], draws: Mapping[str, Callable[[], bytes]]) -> dict[str, np.ndarray]:
    """Nanoseconds over many secrets of each kind, which are all made before and come in a random order."""
    kinds = list(draws) * N_SAMPLES
    RNG.shuffle(kinds)  # before the secrets are made: where they lie in memory must not tell them apart
    secrets = [(kind, draws[kind]()) for kind in kinds]
    taken: dict[str, list[int]] = {kind: [] for kind in draws}
    for kind, secret in secrets:
        begin = time.perf_counter_ns()
        find(secret)
        end = time.perf_counter_ns()
        taken[kind].append(end - begin)
    return {kind: np.array(each) for kind, each in taken.items()}


def welch_t(a: np.ndarray, b: np.ndarray) -> float:
    """Of two samples without their slowest tenth, which is the machine's and not the key's."""
    a, b = (np.sort(each)[: int(0.9 * len(each))] for each in (a, b))
    return float((a.mean() - b.mean()) / math.sqrt(a.var() / len(a) + b.var() / len(b)))


def almost(secret: str, n_right: int) -> bytes:
    """A wrong secret of which the first characters are right, and at least one of the others is not."""
    wrong = secret
    while wrong == secret:
        wrong = secret[:n_right] + "".join(RNG.choices(ALPHABET, k=len(secret) - n_right))
    return wrong.encode()


def revoked_secrets(engine: Engine, n: int) -> list[str]:
    """Of keys that were good once; made in one statement, since there are many."""
    key, secret = create_key(engine, "revoked")
    revoke_key(engine, key.key_id)
    secrets = [almost(secret, 3).decode() for _ in range(n)]
    with engine.begin() as connection:
        row = connection.execute(select(api_keys).where(api_keys.c.key_id == key.key_id)).mappings().one()
        digests = [hashlib.sha256(secret.encode()).digest() for secret in secrets]
        rows = [{**row, "key_id": f"key_{i}", "digest": digest} for i, digest in enumerate(digests)]
        connection.execute(insert(api_keys), rows)
    return [secret, *secrets]


def test_how_much_of_a_wrong_key_is_right_does_not_show_in_the_time(tmp_path):
    """Many of each kind: a single one may have an unlucky place in a table, which says nothing about what is right."""
    engine = open_database(f"sqlite:///{tmp_path / 'journal.db'}")
    good = [create_key(engine, "good")[1] for _ in range(30)]
    revoked = revoked_secrets(engine, 5000)
    ring = KeyRing(engine)
    engine.dispose()
    assert len(ring) == 30
    n_but_one = len(good[0]) - 1
    draws: dict[str, Callable[[], bytes]] = {
        "none right": lambda: almost(RNG.choice(good), 0),
        "half right": lambda: almost(RNG.choice(good), 20),
        "all but one right": lambda: almost(RNG.choice(good), n_but_one),
        "revoked, all but one right": lambda: almost(RNG.choice(revoked), n_but_one),
        "revoked": lambda: RNG.choice(revoked).encode(),
    }

    for _ in range(N_TRIES):
        taken = times(ring.find, draws)
        found = {kind: round(welch_t(taken["none right"], each), 1) for kind, each in taken.items()}
        told = {kind: t for kind, t in found.items() if abs(t) >= LARGEST_T}
        if not told:
            break

    assert told == {}


def test_an_unknown_a_revoked_and_no_key_get_the_same_answer(tmp_path):
    _, good = make_key(tmp_path)

    async def ask(secrets):
        async with in_process(tmp_path, "http://127.0.0.1:9/v1") as gateway:
            return [await gateway.get("/v1/models", key=secret) for secret in secrets]

    engine = open_database(f"sqlite:///{tmp_path / 'journal.db'}")
    revoked, *_ = revoked_secrets(engine, 1)
    engine.dispose()
    known, *refused = asyncio.run(ask([good, almost(good, 20).decode(), revoked, "", None]))

    assert known.status == 200
    assert [reply.status for reply in refused] == [401] * 4
    assert len({reply.body for reply in refused}) == 1
