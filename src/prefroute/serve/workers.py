"""Several workers on one port: started, watched, started again when one dies.

The door is `supervise`. The workers are processes of their own that accept from one socket; the supervisor serves
nothing and passes signals on. When it is gone, they stop by themselves.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from prefroute.errors import PrefrouteError
from prefroute.journal import list_keys, open_database
from prefroute.serve.admission import require_keys
from prefroute.serve.config import GatewayConfig
from prefroute.serve.logs import Lines
from prefroute.settings.environment import share_metrics

__all__ = ["supervise"]

_log = logging.getLogger(__name__)

_POLL_S = 0.2
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 30.0
_WELL_S = 10.0  # a worker that lived so long was well
_GRACE_S = 15.0  # beyond the drain

_spawn = multiprocessing.get_context("spawn")  # a fork would copy threads' locks as they stand


def supervise(path: Path, config: GatewayConfig, sock: socket.socket) -> None:
    """Run the workers until told to stop.

    Args:
        path: The configuration file, which every worker reads.
        config: What it holds, with what the command line put in its place.
        sock: Bound; all workers accept from it.

    Raises:
        ConfigError: If the address needs keys and there are none.
    """
    engine = open_database(config.journal.url)  # before the workers, so that they do not all migrate it
    try:
        require_keys(bool(list_keys(engine)), config.server.host)
    finally:
        engine.dispose()
    shared = tempfile.mkdtemp(prefix="prefroute-workers-")
    share_metrics(shared)
    try:
        with Lines(config.server.log) as lines:
            logger = logging.getLogger("prefroute")
            logger.handlers, logger.propagate = [lines], False
            logger.setLevel(logging.INFO)
            _Supervisor(path, config, sock, shared).run()
    finally:
        shutil.rmtree(shared, ignore_errors=True)


class _Slot:
    """A place for one worker after the other."""

    def __init__(self) -> None:
        self.process: Any = None  # multiprocessing's SpawnProcess
        self.started = 0.0
        self.pause_s = 0.0
        self.due = 0.0


class _Supervisor:
    def __init__(self, path: Path, config: GatewayConfig, sock: socket.socket, shared: str) -> None:
        self._path = path
        self._config = config
        self._sock = sock
        self._shared = shared
        self._slots = [_Slot() for _ in range(config.server.workers)]
        self._is_stopping = False

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        if sys.platform != "win32":
            signal.signal(signal.SIGHUP, self._pass_on)
        while not self._is_stopping:
            for slot in self._slots:
                self._keep(slot)
            alive = [slot.process.sentinel for slot in self._slots if slot.process is not None]
            wait(alive, timeout=_POLL_S)
        deadline = time.monotonic() + self._config.server.drain_s + _GRACE_S
        for slot in self._slots:
            if slot.process is not None:
                slot.process.join(max(0.0, deadline - time.monotonic()))
                slot.process.kill()  # nothing to a process that has ended
                slot.process.join()

    def _keep(self, slot: _Slot) -> None:
        """Start the slot's worker if there is none and it is time."""
        now = time.monotonic()
        if slot.process is not None:
            if slot.process.is_alive():
                return
            self._bury(slot, now)
        if now < slot.due or self._is_stopping:
            return
        server = self._config.server
        kept = {"host": server.host, "port": server.port, "workers": server.workers, "log": server.log}
        slot.process = _spawn.Process(
            target=_work, args=(self._path, kept, self._sock, self._shared), name="prefroute-worker"
        )
        with _held_back():
            slot.process.start()
        slot.started = now
        if self._is_stopping:  # told so meanwhile, when there was nobody yet to pass it on to
            slot.process.terminate()

    def _bury(self, slot: _Slot, now: float) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        process = slot.process
        mark_process_dead(process.pid, self._shared)  # type: ignore[no-untyped-call]  # untyped there
        was_well = now - slot.started > _WELL_S
        slot.pause_s = _FIRST_PAUSE_S if was_well else min(_MAX_PAUSE_S, max(_FIRST_PAUSE_S, 2 * slot.pause_s))
        slot.due = now + slot.pause_s
        slot.process = None
        _log.error("Worker %s ended with %s; another starts.", process.pid, process.exitcode)

    def _stop(self, number: int, frame: object) -> None:
        self._is_stopping = True
        self._pass_on(signal.SIGTERM, frame)

    def _pass_on(self, number: int, frame: object) -> None:
        for slot in self._slots:
            if slot.process is not None and slot.process.is_alive():
                os.kill(slot.process.pid, number)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """A worker starts with SIGHUP held back, until it can reload: the default is to die of it."""
    if sys.platform == "win32":
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def _work(path: Path, server: dict[str, Any], sock: socket.socket, shared: str) -> None:
    """A worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to everybody; the supervisor passes it on
    from prefroute.serve.loading import load_runtime
    from prefroute.serve.server import serve_on

    parent = multiprocessing.parent_process()
    assert parent is not None
    try:
        config, runtime = load_runtime(path)
        config = config.model_copy(update={"server": config.server.model_copy(update=server)})
        serve_on(sock, path, config, runtime, shared=shared, parent=parent.sentinel)
    except PrefrouteError as exc:
        sys.stderr.write(f"prefroute: error: {exc}\n")
        sys.exit(exc.exit_code)
