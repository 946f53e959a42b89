"""One gateway for all clients: a process of its own in front of a scripted upstream.

Runs in two environments: `.venv`, and the clients' own (`make clients`), where the package is not installed.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.servers.faulty_upstream import FaultyUpstream
from tests.servers.gateway import PYTHON, GatewayProcess, rows

OUTCOMES = Path(__file__).parents[2] / "docs" / "examples" / "outcomes.csv"
UPSTREAM_KEY = "sk-upstream"
CONFIG = """\
server: {{port: 0}}
journal: {{url: "sqlite:///journal.db"}}
models:
  big: {{base_url: "{url}", model: upstream-big, api_key: "${{CANARY}}", capabilities: [images, tools, json_schema]}}
  small: {{base_url: "{url}", capabilities: [images, tools, json_schema]}}
{frail}
routes:
  auto: {{router: router, candidates: [big, small], fallbacks: [], policy: {{threshold: 0}}, deadline_ms: 5000}}
"""
"""Everything that is asked of `auto` goes to `big`, and to `big` only."""
N_FRAIL = 20

T = TypeVar("T")


@dataclass
class Serving:
    """What the tests of a client have in hand.

    Attributes:
        base_url: What the client is configured with.
        key: May do everything.
        slow_key: May ask once in a minute.
        upstream: Behind the gateway.
        folder: Of the configuration and the journal.
    """

    base_url: str
    key: str
    slow_key: str
    upstream: FaultyUpstream
    folder: Path
    _frail: Iterator[str] = field(default_factory=lambda: iter(f"frail-{i}" for i in range(N_FRAIL)))

    def frail(self) -> str:
        """The name of a model that may fail: nobody else's, since a model that fails often is left alone for a time."""
        return next(self._frail)

    def compare(self, ask: Callable[[str, str, str], T], model: str = "auto") -> T:
        """What a client gets through the gateway, once it is known to be what it gets without.

        What arrives at the upstream is compared too: it may differ in the model's name only.

        Args:
            ask: Takes base URL, key and model, and returns what the client made of the answer.
            model: To ask the gateway for.
        """
        through = ask(self.base_url, self.key, model)
        with_gateway = self.upstream.requests[-1]
        direct = ask(self.upstream.base_url, UPSTREAM_KEY, "upstream-big")
        without = self.upstream.requests[-1]

        assert with_gateway is not without
        assert with_gateway.target == without.target
        assert with_gateway.body == without.body
        assert with_gateway.headers["authorization"] == without.headers["authorization"]
        assert through == direct
        return through

    def n_requests(self) -> int:
        """Requests that the gateway has answered after their key was found good."""
        return len(rows(self.folder))


def _run(*words: object) -> str:
    done = subprocess.run([PYTHON, "-m", "prefroute", *map(str, words)], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Started once; `serving` makes it ready for a test."""
    folder = tmp_path_factory.mktemp("gateway")
    _run("train", "linear", "--data", OUTCOMES, "--strong", "big", "--weak", "small", "--out", folder / "router")
    path = folder / "gateway.yaml"
    with FaultyUpstream() as upstream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANARY", UPSTREAM_KEY)
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        frail = "\n".join(f'  frail-{i}: {{base_url: "{upstream.base_url}"}}' for i in range(N_FRAIL))
        path.write_text(CONFIG.format(url=upstream.base_url, frail=frail), encoding="utf-8")
        key, slow_key = (
            re.findall(r"pr-\S+", _run("keys", "create", path, name, *limits))[0]
            for name, limits in {"client": (), "slow": ("--requests-per-minute", 1)}.items()
        )
        with GatewayProcess(path) as process:
            yield Serving(f"http://127.0.0.1:{process.port}/v1", key, slow_key, upstream, folder)


@pytest.fixture
def serving(gateway: Serving) -> Serving:
    """The gateway, with an upstream that is well and has seen nothing."""
    gateway.upstream.requests.clear()
    gateway.upstream.always()
    return gateway


@pytest.fixture
def upstream(serving: Serving) -> FaultyUpstream:
    """Behind the gateway."""
    return serving.upstream


def a_completion(message: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A chat completion with all that a strict client looks for."""
    said = message or {"role": "assistant", "content": "Hello", "refusal": None}
    choice = {"index": 0, "message": said, "finish_reason": "tool_calls" if "tool_calls" in said else "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    base = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "upstream-big"}
    return {**base, "choices": [choice], "usage": usage, **more}
