"""What all tests share: no network but loopback, a user directory of their own, and the real data where it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

# before any library reads it: tests never ask the hub
os.environ["HF_HUB_OFFLINE"] = "1"

# a shell that runs the tests in the background has them ignore Ctrl-C, and so would every program that they start
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_PRIVATE_VARIABLES = (
    "HF_ENDPOINT",
    "HF_TOKEN",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "PREFROUTE_OPENAI_API_KEY",
    "PREFROUTE_OPENAI_BASE_URL",
    "PREFROUTE_GITHUB_RAW",
)


@pytest.fixture(autouse=True)
def _own_user_directory(monkeypatch, tmp_path_factory):
    """No test writes to the real user directory or uses a real key."""
    monkeypatch.setenv("PREFROUTE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    for name in _PRIVATE_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder that holds `routellm_benchmarks/`, named by PREFROUTE_DATA; the test is skipped where it is absent."""
    value = os.environ.get("PREFROUTE_DATA")
    if not value:
        pytest.skip("needs real data: set PREFROUTE_DATA to the folder that holds routellm_benchmarks/")
    folder = Path(value)
    if not (folder / "routellm_benchmarks").is_dir():
        pytest.skip(f"needs real data: {folder} holds no routellm_benchmarks/")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A server of PostgreSQL (`tests.servers.postgres`); the test is skipped where it is not installed."""
    from tests.servers.postgres import Postgres, postgres_bin

    binaries = postgres_bin()
    if binaries is None:
        pytest.skip("needs PostgreSQL's server: initdb and postgres")
    server = Postgres(binaries)
    yield server
    server.close()


class Loopback:
    """An OpenAI-compatible endpoint on loopback that can be told to misbehave.

    Attributes:
        base_url: Where it answers.
        requests: (path, headers, body) of every request so far.
        script: What the next requests get instead of embeddings, first come first served.
        most_parallel: The largest number of requests that were in flight at once.
    """

    dim = 6

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.script: list[Callable[[Any], tuple[int, dict[str, str], bytes]]] = []
        self.delay_s = 0.0
        self.most_parallel = 0
        self._in_flight = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def says(self, status: int, body: Any, **headers: str) -> None:
        """Queue one answer; `body` is bytes, or JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.script.append(lambda _: (status, named, content))

    def stalls(self, seconds: float) -> None:
        """Queue one answer that comes late."""

        def late(body: Any) -> tuple[int, dict[str, str], bytes]:
            time.sleep(seconds)
            return self.embeddings(body)

        self.script.append(late)

    def breaks_off(self) -> None:
        """Queue one answer that promises more bytes than it sends."""
        self.script.append(lambda _: (200, {"Content-Length": "1000"}, b'{"data": ['))

    def embeddings(self, body: Any) -> tuple[int, dict[str, str], bytes]:
        """Vectors from a hash of each text, sent back in reverse order."""
        rows = [{"index": i, "embedding": self.vector(text)} for i, text in enumerate(body["input"])]
        return 200, {}, json.dumps({"data": rows[::-1]}).encode()

    def vector(self, text: str) -> list[float]:
        digest = hashlib.sha256(text.encode()).digest()
        return [byte / 256 for byte in digest[: self.dim]]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str, headers: dict[str, str], raw: bytes) -> tuple[int, dict[str, str], bytes]:
        body = json.loads(raw)
        with self._lock:
            self.requests.append((path, headers, body))
            self._in_flight += 1
            self.most_parallel = max(self.most_parallel, self._in_flight)
            scripted = self.script.pop(0) if self.script else None
        try:
            time.sleep(self.delay_s)
            return scripted(body) if scripted else self.embeddings(body)
        finally:
            with self._lock:
                self._in_flight -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers, content = loopback._answer(self.path, dict(self.headers), raw)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the client may have left: a test of timeouts
                    self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    server = Loopback()
    yield server
    server.close()


class Hub:
    """A stand-in for the Hugging Face hub and for GitHub's raw files that can be told to misbehave.

    Like the hub it answers a file with a redirect to another host name, and says commit and checksum in the redirect.

    Attributes:
        url: Where it answers, as 127.0.0.1; the files themselves are on localhost.
        commit: What it serves from.
        files: "OWNER/NAME/PATH" -> content.
        checksum: What it says instead of a file's SHA-256.
        ranges: Whether it honours Range.
        requests: (path, headers) of every request so far.
        script: What the next requests for a file get: a status, bytes to send before the line breaks, or an address
            to be sent to.
    """

    def __init__(self) -> None:
        self.commit = "c0ffee" * 6 + "c0de"
        self.files: dict[str, bytes] = {}
        self.checksum: str | None = None
        self.ranges = True
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.script: list[tuple[str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def asked(self, part: str) -> list[dict[str, str]]:
        """Headers of the requests whose path holds `part`."""
        return [headers for path, headers in self.requests if part in path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        self.requests.append((path, headers))
        where = path.removeprefix("/").partition("?")[0].split("/")
        if where[:2] == ["api", "datasets"]:
            return 200, {}, json.dumps(self._tree("/".join(where[2:4]))).encode()
        kind: str = ""
        how: Any = None
        if self.script and where[0] != "datasets":
            kind, how = self.script.pop(0)
        if kind == "status":
            status, said = how
            return status, said, b"no"
        if kind == "to":
            return 302, {"Location": str(how)}, b""
        if where[0] == "datasets":
            name = "/".join((*where[1:3], *where[5:]))
            digest = self.checksum or hashlib.sha256(self.files.get(name, b"")).hexdigest()
            said = {"X-Repo-Commit": self.commit, "X-Linked-Etag": f'"{digest}"'}
            return 302, {"Location": f"{self.url.replace('127.0.0.1', 'localhost')}/cdn/{name}", **said}, b""
        name = "/".join(where[1:] if where[0] == "cdn" else (*where[:2], *where[3:]))
        if name not in self.files:
            return 404, {}, b"no"
        return self._file(self.files[name], headers.get("Range"), how if kind == "cut" else None)

    def _file(self, content: bytes, asked: str | None, cut: int | None) -> tuple[int, dict[str, str], bytes]:
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if start and start >= len(content):
            return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
        said = {"Content-Length": str(len(content) - start)}
        if start:
            said["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return 206 if start else 200, said, content[start:cut]

    def _tree(self, repository: str) -> list[dict[str, Any]]:
        found = {name: body for name, body in self.files.items() if name.startswith(f"{repository}/")}
        return [
            {
                "type": "file",
                "path": name.removeprefix(f"{repository}/"),
                "size": len(body),
                "lfs": {"oid": hashlib.sha256(body).hexdigest()},
            }
            for name, body in found.items()
        ]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, content = hub._answer(self.path, dict(self.headers))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, named by HF_ENDPOINT and PREFROUTE_GITHUB_RAW for this test and the programs that it starts."""
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("PREFROUTE_GITHUB_RAW", server.url)
    yield server
    server.close()


def _field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protobuf message: a varint, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    head = b""
    while value > 127:
        head += bytes([value & 127 | 128])
        value >>= 7
    return head + bytes([value])


def _value_info(name: str, element: int, dims: list[int | str]) -> bytes:
    shape = b"".join(_field(1, _field(1, d) if isinstance(d, int) else _field(2, d)) for d in dims)
    return _field(1, name) + _field(2, _field(1, _field(1, element) + _field(2, shape)))


def write_onnx(folder, rows, *, output="last_hidden_state", pooled=False, inputs=("input_ids", "attention_mask")):
    """An ONNX graph that looks a row up for each token, written by hand: no exporter is needed to test a reader.

    Field numbers are those of onnx.proto. The output has shape (n, tokens, d), or (n, d), the mean over all tokens
    with padding, where `pooled`.
    """
    n_words, d = rows.shape
    table = _field(1, n_words) + _field(1, d) + _field(2, 1) + _field(8, "table") + _field(9, rows.tobytes())
    looked_up = "tokens" if pooled else output
    nodes = _field(1, _field(1, "table") + _field(1, inputs[0]) + _field(2, looked_up) + _field(4, "Gather"))
    if pooled:
        axes = _field(5, _field(1, "axes") + _field(8, 1) + _field(20, 7))
        keep = _field(5, _field(1, "keepdims") + _field(3, 0) + _field(20, 2))
        nodes += _field(1, _field(1, looked_up) + _field(2, output) + _field(4, "ReduceMean") + axes + keep)
    given = b"".join(_field(11, _value_info(name, 7, ["n", "t"])) for name in inputs)
    made = _field(12, _value_info(output, 1, ["n", d] if pooled else ["n", "t", d]))
    graph = nodes + _field(2, "lookup") + _field(5, table) + given + made
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(2, 13)))


def write_tokenizer(folder, words, max_tokens=None):
    """A tokenizer that splits at white space and adds nothing; word i is token i, the first stands for unknown."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if max_tokens:
        tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def onnx_writers():
    """The two functions that write an ONNX model: `write_onnx` and `write_tokenizer`."""
    return write_onnx, write_tokenizer


def _tiny_tokenizer(special, closing):
    """A byte-level tokenizer without merges: every text has tokens. `closing` names the tokens around a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    if closing:
        first, last = closing
        pairs = [(token, vocabulary[token]) for token in closing]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=pairs)
    return tokenizer


def _save_tiny(model, tokenizer, folder: Path, **named) -> Path:
    import torch
    from transformers import PreTrainedTokenizerFast

    torch.set_num_threads(1)  # on networks this small, and machines this busy, threads only wait for each other
    model.save_pretrained(folder, safe_serialization=True)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    """A folder with a randomly initialised BERT: 2 layers, 32 dimensions, 128 positions."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = _tiny_tokenizer(["[PAD]", "[CLS]", "[SEP]"], ["[CLS]", "[SEP]"])
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.BertModel(config)
    folder = tmp_path_factory.mktemp("tiny-encoder")
    return _save_tiny(model, tokenizer, folder, pad_token="[PAD]", model_max_length=128)


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory) -> Path:
    """A folder with a randomly initialised Llama: 2 layers, 32 dimensions, 1,024 positions."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = _tiny_tokenizer(["<s>", "</s>"], None)
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config)
    folder = tmp_path_factory.mktemp("tiny-decoder")
    return _save_tiny(model, tokenizer, folder, bos_token="<s>", eos_token="</s>", model_max_length=1024)


@pytest.fixture(scope="session")
def tiny_bert(tiny_encoder, tmp_path_factory) -> Path:
    """The checkpoint of a `bert` router on the tiny encoder, with all that a checkpoint may keep."""
    from prefroute.checkpoint import save_checkpoint
    from prefroute.data import PromptKeys
    from prefroute.policy import Threshold
    from prefroute.routers.bert import Bert
    from prefroute.testing import tiny_outcomes

    data = tiny_outcomes()
    folder: Path = tmp_path_factory.mktemp("tiny-bert") / "bert"
    save_checkpoint(
        Bert("big", "small", base=str(tiny_encoder), steps=20, lr=1e-3).fit(data),
        folder,
        training=PromptKeys.of(data.prompts),
        training_data=[{"name": "tiny.csv", "sha256": "0" * 64}],
        metrics={"thresholds": {"0.5": 0.6}},
        policy=Threshold(0.6),
        notes="Trained on made-up prompts.",
        licence="CC0-1.0",
    )
    return folder


@pytest.fixture(scope="session")
def tiny_bert_onnx(tiny_bert, tmp_path_factory) -> Path:
    """`tiny_bert`, exported through the command line."""
    pytest.importorskip("onnxscript")
    from prefroute.cli.app import app

    folder: Path = tmp_path_factory.mktemp("tiny-bert-onnx") / "bert-onnx"
    words = ["export", "onnx", str(tiny_bert), "--out", str(folder), "--json", str(folder.with_suffix(".json"))]
    app(words, standalone_mode=False)
    return folder
