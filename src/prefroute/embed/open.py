"""Which embedder a spec names, and opening it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prefroute.errors import ConfigError, nearest
from prefroute.registry import Registry
from prefroute.types import Embedder

if TYPE_CHECKING:
    from prefroute.http import Endpoint

__all__ = ["embedders", "model_folder", "open_embedder"]

_PREFIXED = {"onnx": "onnx:FOLDER", "openai": "openai:MODEL", "stored": "stored:FILE"}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# prompts that a remote embedder gets at once: enough for all its parallel requests
_REMOTE_CHUNK = 2048

Progress = Callable[[int, int], None]


def _open_static() -> Embedder:
    from prefroute.embed.static import StaticEmbedder

    return StaticEmbedder.builtin()


def _open_minilm() -> Embedder:
    from prefroute.embed.transformer import TransformerEmbedder

    return TransformerEmbedder.minilm()


embedders: Registry[Callable[[], Embedder]] = Registry(
    "embedder",
    {"static": "prefroute.embed.open:_open_static", "minilm": "prefroute.embed.open:_open_minilm"},
    group="prefroute.embedders",
)


def open_embedder(
    spec: str,
    *,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    endpoint: Endpoint | None = None,
) -> Embedder:
    """The embedder that a spec names, with its vectors kept on disk where `cache_dir` is given.

    Args:
        spec: "static", "minilm", "onnx:FOLDER", "openai:MODEL", "stored:FILE", a name that another package registers,
            a folder that holds a sentence-transformers or model2vec model, or the name of one on the Hugging Face hub.
        cache_dir: Vectors are read from and added to files in this folder; None keeps nothing.
        progress: Called with (done, total) prompts while vectors that the cache lacks are computed.
        endpoint: For "openai:MODEL"; None takes it from the environment.

    Returns:
        Ready to `encode`; a remote one has answered a request, which told its dimension.

    Raises:
        ConfigError: If the spec names nothing that can be opened.
        MissingExtraError: If it needs an extra that is not installed.
        UpstreamError: If a remote endpoint fails.
    """
    embedder = _open(spec, endpoint)
    if cache_dir is None or spec.startswith("stored:"):  # what is stored is a file already
        return embedder
    from prefroute.embed.cache import CachedEmbedder

    if spec.startswith("openai:"):
        return CachedEmbedder(embedder, cache_dir, progress=progress, chunk_size=_REMOTE_CHUNK)
    return CachedEmbedder(embedder, cache_dir, progress=progress)


def model_folder(spec: str) -> Path:
    """The local folder of a pretrained model, for who fine-tunes it.

    Args:
        spec: "minilm", a folder, or the name of a model on the Hugging Face hub, which is downloaded where the hub's
            local cache lacks it.

    Raises:
        ConfigError: If it is none of these, or the model cannot be had.
    """
    if spec == "minilm":
        from prefroute.embed.transformer import minilm_folder

        return minilm_folder()
    if spec and Path(spec).is_dir():  # Path("") is the working directory
        return Path(spec)
    if not _HUB_NAME.fullmatch(spec):
        raise ConfigError(nearest(spec, ("minilm", "a folder", "a hub name like ORG/NAME"), "model"))
    from prefroute.embed.hub import hub_folder

    return hub_folder(spec)


def _open(spec: str, endpoint: Endpoint | None) -> Embedder:
    kind, colon, rest = spec.partition(":")
    if colon and kind in _PREFIXED:
        if not rest:
            raise ConfigError(f"Embedder {spec!r} names nothing after the colon. Write it as {_PREFIXED[kind]}.")
        if kind == "stored":
            return _open_stored(rest)
        return _open_onnx(rest) if kind == "onnx" else _open_remote(rest, endpoint)
    if spec in embedders:
        return embedders.get(spec)()
    if spec and Path(spec).is_dir():  # Path("") is the working directory
        return _open_folder(spec, Path(spec))
    if _HUB_NAME.fullmatch(spec):
        from prefroute.embed.hub import hub_folder

        return _open_folder(spec, hub_folder(spec))
    known = (*embedders.names(), *_PREFIXED.values(), "a folder", "a hub name like ORG/NAME")
    raise ConfigError(nearest(spec, known, "embedder"))


def _open_onnx(folder: str) -> Embedder:
    from prefroute.embed.onnx import OnnxEmbedder

    return OnnxEmbedder.from_folder(Path(folder))


def _open_stored(file: str) -> Embedder:
    from prefroute.embed.stored import StoredEmbedder

    return StoredEmbedder(Path(file))


def _open_remote(model: str, endpoint: Endpoint | None) -> Embedder:
    from prefroute.embed.remote import RemoteEmbedder
    from prefroute.http import Endpoint
    from prefroute.settings import openai_endpoint

    return RemoteEmbedder.open(model, endpoint if endpoint is not None else Endpoint(*openai_endpoint()))


def _open_folder(spec: str, folder: Path) -> Embedder:
    """The model in a folder: its `config.json` says whether it is a model2vec one."""
    config = folder / "config.json"
    try:
        kind = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except OSError as exc:
        raise ConfigError(
            f"Embedder {spec!r} has no readable config.json. Give a sentence-transformers or model2vec model, or "
            "write onnx:FOLDER for a folder with model.onnx."
        ) from exc
    except (ValueError, AttributeError) as exc:
        raise ConfigError(f"{config} is not a JSON object. Download the model again.") from exc
    if kind == "model2vec":
        from prefroute.embed.static import StaticEmbedder

        return StaticEmbedder.from_folder(folder, spec=spec)
    from prefroute.embed.transformer import TransformerEmbedder

    return TransformerEmbedder.from_folder(folder, spec=spec)
