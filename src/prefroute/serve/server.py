"""The gateway as a process: sockets, signals, an orderly end.

The doors are `run` for the command line, and `serve_on` for one worker. What is served is the application's
(`prefroute.serve.app`); several workers are `prefroute.serve.workers`'.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import uvicorn
from uvicorn.server import ServerState

from prefroute.errors import ConfigError
from prefroute.journal import Redaction, Storing, open_journal
from prefroute.serve.admission import Admission
from prefroute.serve.app import Gateway
from prefroute.serve.config import GatewayConfig
from prefroute.serve.logs import Lines
from prefroute.serve.metrics import Metrics
from prefroute.serve.planner import Planner
from prefroute.serve.protocol import protocol_class
from prefroute.serve.rates import Rates
from prefroute.serve.reload import Reloader
from prefroute.serve.runtime import Runtime
from prefroute.serve.tracing import Trace, open_tracing
from prefroute.serve.upstream import Upstreams

__all__ = ["bind", "open_gateway", "run", "serve_on"]

_log = logging.getLogger(__name__)

_BACKLOG = 2048
_GC_THRESHOLDS = (10_000, 50, 100)  # objects, and rounds of the generation before
_KEEP_ALIVE_S = 75  # longer than the pools of common clients keep a connection, so that they close it and not we
_END_S = 5.0
_POLL_S = 0.05
_MEASURE_S = 1.0


def run(path: Path, config: GatewayConfig, runtime: Runtime) -> None:
    """Serve until told to stop.

    Args:
        path: The configuration file, which is read again at a reload.
        config: What it holds, with what the command line put in its place.
        runtime: The same, ready for use.

    Raises:
        ConfigError: If the address cannot be listened on, or needs keys and there are none.
        JournalError: If the journal cannot be opened.
    """
    sock = bind(config.server.host, config.server.port)
    with contextlib.closing(sock):
        if config.server.workers > 1:
            from prefroute.serve.workers import supervise

            supervise(path, config, sock)
        else:
            serve_on(sock, path, config, runtime)


def bind(host: str, port: int) -> socket.socket:
    """A socket that can be listened on.

    Raises:
        ConfigError: If the address is taken, or not this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as exc:
        raise ConfigError(f"`server.host` is no address of this machine, got {host!r}.") from exc
    try:
        if sys.platform != "win32":  # there it would let two servers share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as exc:
        sock.close()
        if exc.errno == errno.EADDRINUSE:
            raise ConfigError(f"Port {port} of {host} is taken. Stop what listens there, or choose another.") from exc
        raise ConfigError(f"Cannot listen on {host} port {port}: {exc.strerror}. Choose another address.") from exc
    return sock


def serve_on(
    sock: socket.socket,
    path: Path,
    config: GatewayConfig,
    runtime: Runtime,
    *,
    shared: str | None = None,
    parent: int | None = None,
) -> None:
    """Serve on a socket until told to stop; one worker.

    Args:
        sock: Bound.
        path: As for `run`.
        config: As for `run`.
        runtime: As for `run`.
        shared: Folder of what all workers count together; None where there is one worker.
        parent: File descriptor that becomes readable when the supervisor has ended.
    """
    with Lines(config.server.log) as lines:
        _log_to(lines)
        worker = _Worker(sock, path, config, runtime, lines)
        with open_tracing() as trace, asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(worker.serve(shared, parent, trace))


def _log_to(lines: Lines) -> None:
    for name, level in (("prefroute", logging.INFO), ("uvicorn.error", logging.ERROR), ("asyncio", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [lines], False
        logger.setLevel(level)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def _spare_collector() -> None:
    """Keep the garbage collector off what lives as long as the process; requests leave next to no cycles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


@contextlib.asynccontextmanager
async def open_gateway(
    config: GatewayConfig,
    runtime: Runtime,
    *,
    host: str | None = None,
    shared: str | None = None,
    lines: Lines | None = None,
) -> AsyncIterator[Gateway]:
    """The application with its parts, which are closed at the end.

    Args:
        config: What is served.
        runtime: The same, ready for use.
        host: Where it will listen; None for within this process only.
        shared: As for `serve_on`.
        lines: Where the log goes; None for nowhere.
    """
    written = config.journal
    storing = Storing(
        prompts=written.store_prompts, embeddings=written.store_embeddings, redaction=Redaction(written.redact)
    )
    upstreams = Upstreams(runtime.models)  # before the journal: it may fail, and holds nothing open yet
    journal = await asyncio.to_thread(open_journal, written.url, storing=storing, retention_days=written.retention_days)
    try:
        planner = Planner()
        await asyncio.to_thread(planner.prepare, runtime)
        admission = Admission(journal, host, Rates(None if shared is None else Path(shared)))
        log_request = (lambda values: None) if lines is None else lines.request
        yield Gateway(config, runtime, journal, upstreams, planner, admission, Metrics(shared), log_request)
    finally:
        await upstreams.close()
        await asyncio.to_thread(journal.close)


class _Worker:
    """One process that serves."""

    def __init__(self, sock: socket.socket, path: Path, config: GatewayConfig, runtime: Runtime, lines: Lines) -> None:
        self._sock = sock
        self._path = path
        self._config = config
        self._runtime = runtime
        self._lines = lines
        self._state = ServerState()
        self._stop_signals = 0

    async def serve(self, shared: str | None, parent: int | None, trace: Trace | None) -> None:
        """Until a signal, or the end of the supervisor."""
        config, runtime = self._config, self._runtime
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        self._on_stop_signals(loop, stop)
        if parent is not None:
            loop.add_reader(parent, stop.set)
        host = config.server.host
        async with open_gateway(config, runtime, host=host, shared=shared, lines=self._lines) as gateway:
            reloader = Reloader(self._path, config, runtime, gateway.swap, prepare=gateway.state.planner.prepare)
            gateway.state.trace = trace
            gateway.state.reload_error = lambda: reloader.error
            if sys.platform != "win32":
                loop.add_signal_handler(signal.SIGHUP, reloader.request)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # a supervisor starts workers without
            server = await self._listen(gateway)
            _spare_collector()
            reloader.start()
            _log.info("Listening on http://%s:%d", f"[{host}]" if ":" in host else host, self._sock.getsockname()[1])
            measuring = loop.create_task(_measure(gateway))
            try:
                await stop.wait()
                await self._drain(gateway)
            finally:
                measuring.cancel()
                server.close()
                await reloader.close()
        _log.info("Stopped.")

    def _on_stop_signals(self, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        def told() -> None:
            self._stop_signals += 1
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is signal.SIG_IGN:  # a worker leaves it to its supervisor
                continue
            if sys.platform == "win32":
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(told))
            else:
                loop.add_signal_handler(number, told)

    async def _listen(self, gateway: Gateway) -> asyncio.Server:
        protocol = protocol_class(lambda: gateway.state.config.server)
        http = uvicorn.Config(
            gateway,
            http=protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        http.load()
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: protocol(http, self._state, {}, loop), sock=self._sock, backlog=_BACKLOG
        )

    async def _drain(self, gateway: Gateway) -> None:
        """Let what runs finish; a second signal ends it at once. New requests are told to go elsewhere meanwhile."""
        state, loop = gateway.state, asyncio.get_running_loop()
        state.is_draining = True
        _log.info("Stopping: %d requests are running.", state.n_in_flight)
        self._close_idle()
        n_signals = self._stop_signals
        until = loop.time() + state.config.server.drain_s
        while state.n_in_flight and loop.time() < until and self._stop_signals == n_signals:
            await asyncio.sleep(_POLL_S)
        for presence in tuple(state.running):
            presence.stop("shutting_down")
        until = loop.time() + _END_S
        while (state.n_in_flight or self._state.tasks) and loop.time() < until:
            await asyncio.sleep(_POLL_S)
        self._close_idle()
        await asyncio.sleep(_POLL_S)  # for what has been written to leave

    def _close_idle(self) -> None:
        for connection in tuple(self._state.connections):
            connection.shutdown()


async def _measure(gateway: Gateway) -> None:
    """Keeps the gauges of this worker fresh for whichever worker Prometheus asks."""
    while True:
        gateway.measure()
        await asyncio.sleep(_MEASURE_S)
