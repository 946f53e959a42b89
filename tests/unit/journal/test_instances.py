"""Who serves: dead processes are told from slow ones, and corrected when that was wrong."""

import os
import socket
import subprocess
import sys

import pytest
from sqlalchemy import insert

from prefroute.journal import RequestRow, Storing
from prefroute.journal import instances as instances_module
from prefroute.journal.instances import DEAD_S, Roll
from prefroute.journal.statements import write_rows
from prefroute.journal.tables import instances, requests


@pytest.fixture
def clock(monkeypatch):
    """Monotonic time that the test moves."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    fake = Clock()
    monkeypatch.setattr(instances_module, "time", fake)
    return fake


@pytest.fixture
def beat(engine):
    def beat(roll):
        with engine.begin() as connection:
            roll.beat(connection)

    return beat


def add(engine, instance, *, host="elsewhere", pid=1, beats=1):
    """An instance with one request that runs."""
    with engine.begin() as connection:
        connection.execute(insert(instances).values(instance=instance, host=host, pid=pid, beats=beats))
        row = RequestRow(f"of-{instance}", 1e9, "chat")
        write_rows(connection, [], [row], instance=instance, storing=Storing())


def running(engine, rows_of):
    return {row["request_id"]: row["error"] for row in rows_of(engine, requests)}


def test_a_process_that_stands_still_is_dead_after_half_a_minute(engine, rows_of, beat, clock):
    add(engine, "far")
    roll = Roll()
    beat(roll)
    clock.now += DEAD_S - 1
    beat(roll)
    assert running(engine, rows_of) == {"of-far": None}

    clock.now += 1
    beat(roll)

    assert running(engine, rows_of) == {"of-far": "interrupted"}
    assert [row["instance"] for row in rows_of(engine, instances)] == [roll.instance]


def test_a_process_that_beats_lives_however_long(engine, rows_of, beat, clock):
    add(engine, "far")
    roll = Roll()
    for beats in range(2, 6):
        beat(roll)
        clock.now += DEAD_S - 1
        with engine.begin() as connection:
            connection.execute(instances.update().where(instances.c.instance == "far").values(beats=beats))
    beat(roll)

    assert running(engine, rows_of) == {"of-far": None}


@pytest.fixture
def gone():
    """A process id that nobody has."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no telling")
def test_a_process_of_this_host_whose_id_is_gone_is_dead_at_once(engine, rows_of, beat, gone):
    roll = Roll()
    add(engine, "before", host=roll._host, pid=gone)

    beat(roll)

    assert running(engine, rows_of) == {"of-before": "interrupted"}


@pytest.mark.parametrize("name", ["{host}", "{host} another-boot pid:[4026531836]"])
def test_a_container_with_the_name_of_this_one_is_not_judged_by_its_process_id(engine, rows_of, beat, gone, name):
    add(engine, "twin", host=name.format(host=socket.gethostname()), pid=gone)

    beat(Roll())

    assert running(engine, rows_of) == {"of-twin": None}


def test_two_journals_of_one_process_leave_each_others_requests_alone(engine, rows_of, beat):
    first, second = Roll(), Roll()
    beat(first)
    with engine.begin() as connection:
        row = RequestRow("runs", 1e9, "chat")
        write_rows(connection, [], [row], instance=first.instance, storing=Storing())

    beat(second)
    beat(first)

    assert running(engine, rows_of) == {"runs": None}
    assert {row["instance"] for row in rows_of(engine, instances)} == {first.instance, second.instance}


def test_a_neighbour_that_lives_is_left_alone(engine, rows_of, beat):
    roll = Roll()
    add(engine, "parent", host=roll._host, pid=os.getppid())

    beat(roll)

    assert running(engine, rows_of) == {"of-parent": None}


def test_a_slow_process_that_was_buried_corrects_it_when_its_request_ends(engine, rows_of, beat, clock):
    add(engine, "slow")
    roll = Roll()
    beat(roll)
    clock.now += DEAD_S
    beat(roll)
    assert running(engine, rows_of) == {"of-slow": "interrupted"}

    row = RequestRow("of-slow", 1e9, "chat", status=200)
    with engine.begin() as connection:
        write_rows(connection, [row], [], instance="slow", storing=Storing())

    (stored,) = rows_of(engine, requests)
    assert (stored["status"], stored["error"]) == (200, None)
