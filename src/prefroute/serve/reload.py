"""A new configuration for a running gateway: loaded beside the old one, and swapped in only when it is whole.

The doors are `Reloader` in each worker and `reload_gateway` for whoever asks from outside. Nothing here knows how
requests are served: what a swap means is the caller's.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from prefroute.errors import ConfigError, PrefrouteError
from prefroute.serve.config import GatewayConfig
from prefroute.serve.loading import load_runtime
from prefroute.serve.runtime import Runtime
from prefroute.serve.status import Status, StatusFile, live_statuses

__all__ = ["Reloader", "reload_gateway"]

_logger = logging.getLogger(__name__)

_AT_START = {"server": ("host", "port", "workers", "log"), "journal": None}  # None: the whole section
_POLL_S = 0.05

Swap = Callable[[GatewayConfig, Runtime], None]


class Reloader:
    """Loads the configuration again when asked, one load at a time, without keeping the event loop from its work.

    Args:
        path: The configuration file.
        config: What is served now, with what the command line put in its place.
        runtime: What is served now.
        swap: Called on the event loop with what is to be served from now on. Settings that are read at a start only
            are as they were.
        prepare: Called in the loading thread before the swap, for what would keep the event loop from its work.

    Attributes:
        error: Why the last load failed, for `/readyz`; None where it did not.
    """

    def __init__(
        self,
        path: Path,
        config: GatewayConfig,
        runtime: Runtime,
        swap: Swap,
        prepare: Callable[[Runtime], None] = lambda runtime: None,
    ) -> None:
        self.error: str | None = None
        self._path = path
        self._config = config
        self._runtime = runtime
        self._swap = swap
        self._prepare = prepare
        self._status: StatusFile | None = None
        self._n_loads = 0
        self._needs_restart: tuple[str, ...] = ()
        self._is_wanted = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Say in the status file what is served, so that `prefroute reload` finds this process; on the event loop.

        Not on Windows, which has no SIGHUP to find it for.
        """
        if sys.platform == "win32":
            return
        self._status = StatusFile(self._path)
        self._tell(is_loading=False)
        if _sha256(self._path) != self._runtime.file_sha256:  # changed since it was read; no signal came this far yet
            self.request()

    def request(self) -> None:
        """Load again soon; call it on the event loop, as a signal's handler. Requests during a load become one more."""
        self._is_wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._load_while_wanted())

    async def close(self) -> None:
        """Wait for a load that runs, then leave no status behind."""
        self._is_wanted = False
        if self._task is not None:
            await self._task
        if self._status is not None:
            self._status.close()
            self._status = None

    async def _load_while_wanted(self) -> None:
        while self._is_wanted:
            self._is_wanted = False
            self._tell(is_loading=True)
            await self._load()
            self._n_loads += 1
            self._tell(is_loading=False)

    async def _load(self) -> None:
        try:
            fresh, runtime = await asyncio.to_thread(self._loaded)
            config, needs_restart = _taken_over(fresh, self._config)
            self._swap(config, runtime)
        except PrefrouteError as exc:
            self.error = str(exc)
        except Exception as exc:  # whatever is wrong with what is new, what is old goes on
            _logger.debug("Loading failed.", exc_info=exc)
            self.error = f"unexpected {type(exc).__name__}; this is a bug. Run: prefroute serve --check --debug"
        else:
            self.error = None
            self._config, self._runtime, self._needs_restart = config, runtime, needs_restart
            _logger.info("Serving configuration %s.", runtime.digest[:12])
            return
        _logger.error("The old configuration stays: %s", self.error)

    def _loaded(self) -> tuple[GatewayConfig, Runtime]:
        config, runtime = load_runtime(self._path, previous=self._runtime)
        self._prepare(runtime)
        return config, runtime

    def _tell(self, *, is_loading: bool) -> None:
        if self._status is None:
            return
        status = Status(
            pid=os.getpid(),
            digest=self._runtime.digest,
            n_loads=self._n_loads,
            is_loading=is_loading,
            error=self.error,
            needs_restart=self._needs_restart,
            at=time.time(),
        )
        try:
            self._status.write(status)
        except OSError as exc:
            _logger.warning(
                "No status can be written (%s): prefroute reload will not find this gateway, SIGHUP will.", exc.strerror
            )
            self._status = None


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:  # a load will say so
        return None


def _taken_over(fresh: GatewayConfig, served: GatewayConfig) -> tuple[GatewayConfig, tuple[str, ...]]:
    """The new configuration with what is read at a start only as it was, and the keys where that makes a difference."""
    update = {}
    needs_restart = []
    for section, names in _AT_START.items():
        new, old = getattr(fresh, section), getattr(served, section)
        kept = {name: getattr(old, name) for name in names or type(old).model_fields}
        needs_restart += [f"{section}.{name}" for name, value in kept.items() if getattr(new, name) != value]
        update[section] = new.model_copy(update=kept)
    return fresh.model_copy(update=update), tuple(needs_restart)


def reload_gateway(path: Path, *, timeout_s: float = 60.0) -> list[Status]:
    """What every worker serves once it has loaded the file again. Blocks.

    Args:
        path: The configuration file of a gateway that runs on this machine.
        timeout_s: How long to wait, > 0.

    Raises:
        ConfigError: If no gateway serves the file, or a worker refuses what is in it.
        TimeoutError: If a worker does not say in time that it is done.
        OSError: If a worker belongs to another user.
    """
    if sys.platform == "win32":
        raise ConfigError("Windows has no signal that says reload. Restart the gateway.")
    deadline = time.monotonic() + timeout_s
    before = _settled(path, {}, deadline)  # a load that runs already may have read the file before it was changed
    if not before:
        raise ConfigError(
            f"No gateway of this user that serves {str(path)!r} was found on this machine. Start it: prefroute serve "
            f"{path}. One of another user is reloaded with SIGHUP."
        )
    for status in before:
        os.kill(status.pid, signal.SIGHUP)
    after = _settled(path, {status.pid: status.n_loads + 1 for status in before}, deadline)
    if not after:
        raise ConfigError(f"The gateway stopped. Start it again: prefroute serve {path}")
    if refused := [status.error for status in after if status.error is not None]:
        raise ConfigError(f"The old configuration stays: {refused[0]}")
    return after


def _settled(path: Path, n_loads: dict[int, int], deadline: float) -> list[Status]:
    """The statuses once no worker is loading and each has loaded so many times; workers may come and go meanwhile."""
    while True:
        found = live_statuses(path)
        if all(not status.is_loading and status.n_loads >= n_loads.get(status.pid, 0) for status in found):
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"A worker that serves {str(path)!r} has not finished loading it. Look at its log; what it served, it "
                "still serves."
            )
        time.sleep(_POLL_S)
