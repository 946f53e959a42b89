"""A PostgreSQL server of its own for a test run: made in a folder, on a port of loopback, gone afterwards."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Postgres", "postgres_bin"]

_START_S = 30


def postgres_bin() -> Path | None:
    """The folder of `initdb` and `postgres`; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


class Postgres:
    """Starts with the constructor; `stop` and `start` play an outage, `hanging` a machine that has stopped; `close`
    removes everything.

    PostgreSQL refuses to run as root; there it runs as the user `postgres`, or else `nobody`.
    """

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="prefroute-pg-"))
        self._data = self._folder / "data"
        self._server: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        if os.geteuid() == 0:
            user = next(each for each in pwd.getpwall() if each.pw_name in ("postgres", "nobody"))
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        else:
            self._as = {}
        made = ("--auth=trust", "--username=prefroute", "--encoding=UTF8", "--locale=C", "--no-sync")
        self._command("initdb", f"--pgdata={self._data}", *made)
        self.start()

    def start(self) -> None:
        """Returns when the server answers."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",  # tests are about killed clients, not about power cuts
            "max_connections": 40,
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        log = (self._folder / "log").open("ab")
        self._server = subprocess.Popen(
            [self._binaries / "postgres", "-D", self._data, *words], stdout=log, stderr=log, **self._as
        )
        log.close()
        deadline = time.monotonic() + _START_S
        while subprocess.run(self._ask, capture_output=True, check=False).returncode:
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, connections included; what was committed stays."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(_START_S)
            self._server = None

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Connections stand, and new ones come to stand, and nothing is ever answered."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)  # first, so that it makes no more of the others
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text().split()
        stopped = [self._server.pid, *map(int, children)]
        try:
            for pid in stopped[1:]:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop, and remove the folder."""
        self.stop()
        shutil.rmtree(self._folder)

    def empty_database(self) -> str:
        """The URL of the one database, emptied: a new one for each test would take a second each."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return self.url

    @property
    def url(self) -> str:
        """Where it answers, as whom."""
        return f"postgresql://prefroute@127.0.0.1:{self.port}/postgres"

    @property
    def _ask(self) -> list[str | Path]:
        return [self._binaries / "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self.port}"]

    def _command(self, name: str, *words: str) -> None:
        subprocess.run(
            [self._binaries / name, *words], check=True, capture_output=True, cwd=self._folder, timeout=120, **self._as
        )
