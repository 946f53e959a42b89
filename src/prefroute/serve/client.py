"""OpenAI's own client over a gateway that runs within the process: no socket, no server, the same answers.

The door is `Local`. For notebooks, batch jobs and tests; needs the package `openai`, which prefroute does not bring.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from prefroute.errors import ConfigError
from prefroute.serve.app import Gateway
from prefroute.serve.loading import load_runtime
from prefroute.serve.server import open_gateway
from prefroute.serve.socketless import Coming, ask

if TYPE_CHECKING:
    import openai

__all__ = ["Local", "async_openai_client"]

_BASE_URL = "http://localhost/v1"

T = TypeVar("T")


def async_openai_client(gateway: Gateway, key: str = "none") -> openai.AsyncOpenAI:
    """A client for code that runs on the gateway's event loop.

    Args:
        gateway: Of `prefroute.serve.server.open_gateway`.
        key: Of the gateway, where it has keys.

    Raises:
        ConfigError: If `openai` is not installed, or is older than 3.
    """
    sdk, http = _libraries()

    class Stream(http.AsyncByteStream):  # type: ignore[misc, name-defined]  # known at run time only
        def __init__(self, coming: Coming) -> None:
            self.coming = coming

        def __aiter__(self) -> Any:
            return self.coming.__aiter__()

        async def aclose(self) -> None:
            await self.coming.leave()

    class Transport(http.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            coming = await ask(gateway, request.method, request.url, request.headers.raw, await request.aread())
            return http.Response(coming.status, headers=coming.headers, stream=Stream(coming))

    over = http.AsyncClient(transport=Transport())
    client: openai.AsyncOpenAI = sdk.AsyncOpenAI(base_url=_BASE_URL, api_key=key, http_client=over, max_retries=0)
    return client


class Local:
    """A gateway in a thread of its own; a context manager.

    Args:
        path: The gateway's configuration file; its `server` section does not matter here.

    Raises:
        ConfigError: If the file is wrong; when it is entered.

    Example:
        with Local("gateway.yaml") as local, local.openai_client() as client:
            client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hello"}])
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="prefroute-local", daemon=True)
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            config, runtime = load_runtime(self._path)
            self._gateway = self._run(self._stack.enter_async_context(open_gateway(config, runtime)))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._run(self._stack.aclose())
        finally:
            self._end()

    def openai_client(self, key: str = "none") -> openai.OpenAI:
        """A client for code without an event loop, from any thread.

        Args:
            key: Of the gateway, where it has keys.

        Raises:
            ConfigError: If `openai` is not installed, or is older than 3.
        """
        sdk, http = _libraries()
        run, gateway = self._run, self._gateway

        class Stream(http.SyncByteStream):  # type: ignore[misc, name-defined]  # known at run time only
            def __init__(self, coming: Coming) -> None:
                self.coming = coming

            def __iter__(self) -> Iterator[bytes]:
                while (piece := run(self.coming.next())) is not None:
                    yield piece

            def close(self) -> None:
                run(self.coming.leave())

        class Transport(http.BaseTransport):  # type: ignore[misc, name-defined]
            def handle_request(self, request: Any) -> Any:
                coming = run(ask(gateway, request.method, request.url, request.headers.raw, request.read()))
                return http.Response(coming.status, headers=coming.headers, stream=Stream(coming))

        over = http.Client(transport=Transport())
        client: openai.OpenAI = sdk.OpenAI(base_url=_BASE_URL, api_key=key, http_client=over, max_retries=0)
        return client

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _libraries() -> tuple[Any, Any]:
    try:
        import httpx2
        import openai
    except ImportError as exc:
        raise ConfigError("A client within the process needs OpenAI's package: pip install 'openai>=3'") from exc
    return openai, httpx2
