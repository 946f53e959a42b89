"""Buckets of requests: what goes in, how they refill, and that workers draw from one."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefroute.serve.rates import Rates


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(per_minute=st.integers(1, 200), gaps=st.lists(st.floats(0, 90), max_size=300))
def test_no_key_gets_more_than_its_bucket_and_what_has_flown_in(per_minute, gaps):
    clock, n_taken = Clock(), 0
    rates = Rates(clock=clock)

    for gap in gaps:
        clock.now += gap
        n_taken += rates.take("key", per_minute) == 0
        assert n_taken <= per_minute * (1 + (clock.now - 1000) / 60) + 1e-3


@given(per_minute=st.integers(1, 200), n_too_many=st.integers(0, 3))
def test_a_client_that_waits_as_it_is_told_is_served(per_minute, n_too_many):
    clock = Clock()
    rates = Rates(clock=clock)
    assert [rates.take("key", per_minute) for _ in range(per_minute)] == [0.0] * per_minute

    for _ in range(n_too_many):
        assert rates.take("key", per_minute) == pytest.approx(60 / per_minute)  # refusals cost nothing
    clock.now += 60 / per_minute

    assert rates.take("key", per_minute) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no workers there")
@pytest.mark.parametrize("per_minute", [2, 60])
def test_workers_draw_from_one_bucket_whichever_of_them_is_asked(tmp_path, per_minute):
    clock = Clock()
    workers = [Rates(tmp_path, clock) for _ in range(4)]

    by_one = sum(workers[0].take("keeps one connection", per_minute) == 0 for _ in range(100))
    by_all = sum(workers[i % 4].take("asks all", per_minute) == 0 for i in range(100))

    assert by_one == by_all == per_minute


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no workers there")
def test_processes_that_count_at_once_lose_no_request(tmp_path):
    code = (
        "import sys; from pathlib import Path; from prefroute.serve.rates import Rates\n"
        "rates = Rates(Path(sys.argv[1]), clock=lambda: 1000.0)\n"
        "print(sum(rates.take('key', 10_000) == 0 for _ in range(5_000)))"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]

    taken = [int(process.communicate(timeout=100)[0]) for process in processes]

    assert sum(taken) == 10_000


@pytest.mark.skipif(sys.platform == "win32", reason="no workers there")
def test_a_folder_that_is_gone_is_said_once_and_every_worker_counts_on(tmp_path, caplog):
    rates = Rates(tmp_path / "shared", Clock())
    (tmp_path / "shared").mkdir()
    assert rates.take("key", 2) == 0
    shutil.rmtree(tmp_path / "shared")

    with caplog.at_level(logging.ERROR, "prefroute"):
        waits = [rates.take("key", 2) for _ in range(3)]

    assert waits == [0.0, 0.0, 30.0]
    assert [record.getMessage() for record in caplog.records] == [
        f"Workers count requests apart until a restart: {tmp_path / 'shared'} (No such file or directory)."
    ]
