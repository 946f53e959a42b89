"""The supervisor of several workers, over workers that do nothing."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import sys
import time
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from tests.servers.gateway import write_config

from prefroute.serve import workers
from prefroute.serve.loading import load_runtime

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no workers there")


class Sleeper:
    """A worker's process; of two, the supervisor is told to stop while the second one starts."""

    made: ClassVar[list[Sleeper]] = []

    def __init__(self, **_: object) -> None:
        self.process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
        self.made.append(self)

    def start(self) -> None:
        if len(self.made) == 2:
            signal.raise_signal(signal.SIGTERM)
        self.process.start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.process, name)


@pytest.fixture
def _signals_restored():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals_restored")
def test_a_worker_that_was_just_starting_hears_of_the_stop_too(tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", "sk-canary")
    monkeypatch.setattr(workers, "_spawn", SimpleNamespace(Process=Sleeper))
    monkeypatch.setattr(workers, "_GRACE_S", 5.0)
    monkeypatch.setattr(Sleeper, "made", [])
    path = write_config(tmp_path, "http://127.0.0.1:1/v1", server="workers: 2")
    config, _ = load_runtime(path)

    with socket.socket() as sock:
        workers._Supervisor(path, config, sock, str(tmp_path)).run()

    assert [worker.exitcode for worker in Sleeper.made] == [-signal.SIGTERM] * 2  # not killed
