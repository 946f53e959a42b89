"""A new configuration takes the old one's place whole, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from prefroute.checkpoint import save_checkpoint
from prefroute.errors import ConfigError
from prefroute.routers.length import Length
from prefroute.serve.config import GatewayConfig
from prefroute.serve.loading import load_runtime
from prefroute.serve.reload import Reloader, reload_gateway
from prefroute.serve.runtime import Runtime
from prefroute.serve.status import Status, StatusFile, live_statuses
from prefroute.settings import runtime_dir
from prefroute.testing import tiny_outcomes

FILE = """\
server: {{port: {port}}}
models:
  big: {{base_url: "http://127.0.0.1:1/v1"}}
  small: {{base_url: "http://127.0.0.1:2/v1"}}
routes:
  auto: {{router: {router}, candidates: [big, small], policy: {{threshold: {alpha}}}}}
"""


class Gateway:
    """What a worker does with a reloader: keeps what it is given, and notes every swap.

    Attributes:
        served: What a request would be served with.
        swaps: Every configuration that was swapped in, and the thread that did it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        config, runtime = load_runtime(path)
        self.served: tuple[GatewayConfig, Runtime] = (config, runtime)
        self.swaps: list[threading.Thread] = []
        self.reloader = Reloader(path, config, runtime, self.swap)

    def swap(self, config: GatewayConfig, runtime: Runtime) -> None:
        self.served = (config, runtime)
        self.swaps.append(threading.current_thread())

    @property
    def alpha(self) -> float:
        policy = self.served[1].routes["auto"].policy
        return float(policy.to_dict()["alpha"])


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that loads in no time."""
    folder = tmp_path_factory.mktemp("checkpoints") / "length"
    save_checkpoint(Length("big", "small").fit(tiny_outcomes()), folder)
    return folder


@pytest.fixture
def write(tmp_path: Path, router: Path) -> Callable[..., Path]:
    def _write(alpha: object = 0.5, port: int = 8000) -> Path:
        path = tmp_path / "gateway.yaml"
        path.write_text(FILE.format(router=router, alpha=alpha, port=port), encoding="utf-8")
        return path

    return _write


@contextlib.asynccontextmanager
async def started(path: Path) -> AsyncIterator[Gateway]:
    """A gateway that reloads on SIGHUP."""
    gateway = Gateway(path)
    loop = asyncio.get_running_loop()
    gateway.reloader.start()
    loop.add_signal_handler(signal.SIGHUP, gateway.reloader.request)
    try:
        yield gateway
    finally:
        await gateway.reloader.close()
        loop.remove_signal_handler(signal.SIGHUP)


async def told(path: Path, n_loads: int) -> Status:
    """The status after so many loads."""
    async with asyncio.timeout(20):
        while True:
            (status,) = live_statuses(path)
            if status.n_loads >= n_loads and not status.is_loading:
                return status
            await asyncio.sleep(0.01)


def test_sighup_swaps_the_new_configuration_in_on_the_event_loop(write):
    async def scenario() -> None:
        async with started(write(alpha=0.5)) as gateway:
            before = gateway.served[1]

            os.kill(os.getpid(), signal.SIGHUP)
            await told(write(alpha=0.25), 1)

            assert gateway.alpha == 0.25
            assert gateway.swaps == [threading.main_thread()]
            assert before.routes["auto"].policy.to_dict()["alpha"] == 0.5  # for requests that hold it still
            assert gateway.served[1].routes["auto"].router is before.routes["auto"].router

    asyncio.run(scenario())


def test_bad_file_leaves_the_old_configuration_serving_and_is_reported(write, caplog):
    async def scenario() -> None:
        async with started(write(alpha=0.5)) as gateway:
            write(alpha=2)
            gateway.reloader.request()
            status = await told(gateway.path, 1)

            assert gateway.alpha == 0.5
            assert gateway.swaps == []
            assert gateway.reloader.error == status.error
            assert "routes.auto.policy.threshold: should be less than or equal to 1, got 2." in str(status.error)
            assert status.digest == gateway.served[1].digest

            write(alpha=0.1)
            gateway.reloader.request()
            status = await told(gateway.path, 2)

            assert (gateway.alpha, gateway.reloader.error, status.error) == (0.1, None, None)
            assert status.digest == gateway.served[1].digest

    asyncio.run(scenario())
    assert "The old configuration stays: " in caplog.text


def test_swap_that_fails_leaves_a_report_and_a_reloader_that_works(write, monkeypatch):
    async def scenario() -> None:
        async with started(write()) as gateway:
            with monkeypatch.context() as patch:
                patch.setattr(gateway.reloader, "_swap", lambda config, runtime: 1 / 0)
                gateway.reloader.request()
                status = await told(gateway.path, 1)
            assert status.error is not None
            assert status.error.startswith("unexpected ZeroDivisionError; this is a bug.")

            write(alpha=0.3)
            gateway.reloader.request()
            await told(gateway.path, 2)
            assert gateway.alpha == 0.3

    asyncio.run(scenario())


def test_file_that_changed_while_the_worker_started_is_loaded_at_once(write):
    async def scenario() -> None:
        gateway = Gateway(write(alpha=0.5))
        path = write(alpha=0.25)  # and `prefroute reload` did not find this worker yet
        gateway.reloader.start()
        try:
            await told(path, 1)
            assert gateway.alpha == 0.25
        finally:
            await gateway.reloader.close()

    asyncio.run(scenario())


def test_what_is_new_is_prepared_in_the_loading_thread_before_the_swap(write):
    prepared: list[threading.Thread] = []

    async def scenario() -> None:
        gateway = Gateway(write())
        gateway.reloader = Reloader(
            gateway.path, *gateway.served, gateway.swap, lambda runtime: prepared.append(threading.current_thread())
        )
        gateway.reloader.request()
        async with asyncio.timeout(20):
            while not gateway.swaps:
                await asyncio.sleep(0.01)
        await gateway.reloader.close()

    asyncio.run(scenario())
    assert len(prepared) == 1
    assert prepared[0] is not threading.main_thread()


def test_requests_during_a_load_become_one_more_load_and_never_two_at_once(write, monkeypatch):
    running, most, n_loads = 0, 0, 0

    def counted(path: Path, *, previous: Runtime | None = None) -> tuple[GatewayConfig, Runtime]:
        nonlocal running, most, n_loads
        running += 1
        n_loads += 1
        most = max(most, running)
        try:
            return load_runtime(path, previous=previous)
        finally:
            running -= 1

    monkeypatch.setattr("prefroute.serve.reload.load_runtime", counted)

    async def scenario() -> None:
        async with started(write(alpha=0.5)) as gateway:
            for _ in range(20):
                gateway.reloader.request()
            await asyncio.sleep(0)  # the first load has begun, and may have read the file
            write(alpha=0.25)
            for _ in range(20):
                gateway.reloader.request()
            await told(gateway.path, 2)

            assert gateway.alpha == 0.25
            assert (most, n_loads) == (1, 2)

    asyncio.run(scenario())


@pytest.mark.slow
def test_fifty_reloads_keep_one_router_and_no_files(write):
    async def scenario() -> None:
        async with started(write()) as gateway:
            router = gateway.served[1].routes["auto"].router
            for n in range(1, 51):
                write(alpha=n / 100)
                gateway.reloader.request()
                await told(gateway.path, n)
                assert gateway.alpha == n / 100
            assert gateway.served[1].routes["auto"].router is router
            assert len(list(runtime_dir().iterdir())) == 1
            assert [path.name for path in gateway.path.parent.iterdir()] == ["gateway.yaml"]

    asyncio.run(scenario())


def test_what_needs_a_restart_stays_as_it_was_and_is_named(write):
    async def scenario() -> None:
        async with started(write(alpha=0.5, port=8000)) as gateway:
            path = write(alpha=0.25, port=9000)
            path.write_text(f"{path.read_text()}journal: {{store_prompts: true}}\n")
            gateway.reloader.request()
            status = await told(path, 1)

            config = gateway.served[0]
            assert (config.server.port, config.journal.store_prompts, gateway.alpha) == (8000, False, 0.25)
            assert status.needs_restart == ("server.port", "journal.store_prompts")
            assert status.error is None

    asyncio.run(scenario())


def test_limits_of_the_server_change_without_a_restart(write):
    async def scenario() -> None:
        async with started(write()) as gateway:
            path = write()
            path.write_text(path.read_text().replace("port: 8000", "port: 8000, max_in_flight: 7"))
            gateway.reloader.request()
            assert (await told(path, 1)).needs_restart == ()
            assert gateway.served[0].server.max_in_flight == 7

    asyncio.run(scenario())


def test_folder_that_cannot_be_written_costs_the_command_and_not_the_reload(write, caplog, monkeypatch):
    def full(self: StatusFile, status: Status) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StatusFile, "write", full)

    async def scenario() -> None:
        async with started(write(alpha=0.5)) as gateway:
            write(alpha=0.25)
            gateway.reloader.request()
            async with asyncio.timeout(20):
                while not gateway.swaps:
                    await asyncio.sleep(0.01)
            assert gateway.alpha == 0.25

    asyncio.run(scenario())
    assert "No status can be written (No space left on device)" in caplog.text


def test_event_loop_turns_while_a_slow_router_loads(write, monkeypatch):
    turned = threading.Event()

    def slow(path: Path, *, previous: Runtime | None = None) -> tuple[GatewayConfig, Runtime]:
        assert turned.wait(20)
        return load_runtime(path, previous=previous)

    monkeypatch.setattr("prefroute.serve.reload.load_runtime", slow)

    async def scenario() -> None:
        async with started(write(alpha=0.5)) as gateway:
            write(alpha=0.25)
            gateway.reloader.request()
            await asyncio.sleep(0.01)
            assert gateway.alpha == 0.5  # served all the while
            turned.set()
            await told(gateway.path, 1)
            assert gateway.alpha == 0.25

    asyncio.run(scenario())


_WORKER = """
import asyncio, signal, sys
from pathlib import Path
from prefroute.serve.loading import load_runtime
from prefroute.serve.reload import Reloader

async def main():
    path = Path(sys.argv[1])
    reloader = Reloader(path, *load_runtime(path), lambda config, runtime: None)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, reloader.request)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    reloader.start()
    print("ready", flush=True)
    await stop.wait()
    await reloader.close()

asyncio.run(main())
"""


@contextlib.contextmanager
def workers(path: Path, n: int):
    """So many processes that serve a file, as `--workers` would start them."""
    started = [
        subprocess.Popen([sys.executable, "-c", _WORKER, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(n)
    ]
    try:
        for worker in started:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
        yield started
    finally:
        for worker in started:
            worker.terminate()
            worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()


@pytest.mark.slow
def test_command_waits_until_every_worker_serves_the_file(write):
    path = write(alpha=0.5)
    with workers(path, 2) as started:
        write(alpha=0.25)
        served = reload_gateway(path)

        assert {status.pid for status in served} == {worker.pid for worker in started}
        assert {status.digest for status in served} == {load_runtime(path)[1].digest}

        write(alpha=2)
        with pytest.raises(ConfigError, match=r"^The old configuration stays: .*threshold: should be less than"):
            reload_gateway(path)

    assert live_statuses(path) == []
    assert list(runtime_dir().iterdir()) == []


@pytest.mark.slow
def test_status_of_a_killed_worker_is_not_taken_for_a_process(write):
    path = write()
    with workers(path, 1) as (worker,):
        worker.kill()
        worker.wait()
        assert len(list(runtime_dir().iterdir())) == 1

        with pytest.raises(ConfigError, match="No gateway of this user that serves"):
            reload_gateway(path)

    assert list(runtime_dir().iterdir()) == []


@pytest.mark.slow
def test_worker_that_does_not_answer_is_not_waited_for_without_end(write):
    path = write()
    with workers(path, 1) as (worker,):
        worker.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError, match="has not finished loading it"):
                reload_gateway(path, timeout_s=0.3)
        finally:
            worker.send_signal(signal.SIGCONT)


def test_command_says_so_where_no_gateway_runs(write):
    path = write()

    with pytest.raises(
        ConfigError, match=r"No gateway of this user that serves .* was found on this machine. Start it: "
    ):
        reload_gateway(path)


def test_status_that_cannot_be_put_in_place_leaves_nothing_behind(write):
    status = StatusFile(write())
    status.path.mkdir(parents=True)

    with pytest.raises(OSError, match="directory"):
        status.write(Status(os.getpid(), "0", 0, False, None, (), 0.0))

    assert list(runtime_dir().iterdir()) == [status.path]


def test_folder_of_another_user_is_neither_written_nor_believed(write, monkeypatch):
    path = write()
    mine = StatusFile(path)
    mine.write(Status(os.getpid(), "0", 0, False, None, (), 0.0))
    try:
        monkeypatch.setattr(os, "getuid", lambda: 12345)

        assert live_statuses(path) == []
        with pytest.raises(PermissionError, match="belongs to another user"):
            StatusFile(path).write(Status(os.getpid(), "1", 0, False, None, (), 0.0))
    finally:
        mine.close()


def test_folder_that_is_a_link_is_not_believed(write, tmp_path):
    path = write()
    (tmp_path / "elsewhere").mkdir()
    runtime_dir().symlink_to(tmp_path / "elsewhere")

    assert live_statuses(path) == []


def test_folder_of_statuses_is_closed_to_others(write):
    status = StatusFile(write())
    status.write(Status(os.getpid(), "0", 0, False, None, (), 0.0))
    status.close()

    assert runtime_dir().stat().st_mode & 0o777 == 0o700


def test_each_configuration_has_its_own_statuses(write, tmp_path, monkeypatch):
    path = write()
    other = StatusFile(tmp_path / "other.yaml")
    other.write(Status(os.getpid(), "0", 0, False, None, (), 0.0))
    try:
        monkeypatch.chdir(tmp_path)

        assert live_statuses(path) == []
        assert len(live_statuses(Path("other.yaml"))) == 1  # however the path is written
    finally:
        other.close()


def test_statuses_lie_in_the_temporary_folder_where_there_is_no_runtime_folder(monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR")

    assert runtime_dir() == Path(tempfile.gettempdir()) / f"prefroute-{os.getuid()}"
