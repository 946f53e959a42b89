"""Embeddings by any OpenAI-compatible `/v1/embeddings` endpoint, in batches, over `prefroute.http`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from prefroute.embed.text import model_text
from prefroute.errors import UpstreamProtocolError
from prefroute.http import Endpoint, OpenAIClient

__all__ = ["RemoteEmbedder"]

# under 8,192 tokens in any script, the limit of OpenAI's models for one text
_MAX_CHARS = 8_000
# limits of one request, well under OpenAI's 2,048 texts and 300,000 tokens
_BATCH_TEXTS = 256
_BATCH_CHARS = 200_000


class RemoteEmbedder:
    """A model behind an endpoint.

    A text of more than 8,000 characters is cut to its head and tail; an empty one is sent as one space, which
    OpenAI's endpoint would refuse otherwise.

    Args:
        model: The endpoint's name of the model.
        client: Reaches the endpoint.
        dim: Length of a vector.

    Attributes:
        id: "openai:MODEL@HOST/DIM": a host may change the weights behind a name; nothing here can tell.
        spec: "openai:MODEL".
        trained_on: Empty.
    """

    def __init__(self, model: str, client: OpenAIClient, dim: int) -> None:
        self.id = f"openai:{model}@{client.endpoint.host}/{dim}"
        self.spec = f"openai:{model}"
        self.dim = dim
        self.trained_on: frozenset[str] = frozenset()
        self._model = model
        self._client = client

    @classmethod
    def open(cls, model: str, endpoint: Endpoint, client: OpenAIClient | None = None) -> RemoteEmbedder:
        """The embedder, after one request that tells the length of its vectors.

        Args:
            model: The endpoint's name of the model.
            endpoint: Where it answers.
            client: In place of a fresh one for `endpoint`.

        Raises:
            UpstreamError: If the endpoint fails or answers something else.
        """
        reach = client if client is not None else OpenAIClient(endpoint)
        answer = reach.post_all("embeddings", [_body(model, ["dimension"])])[0]
        return cls(model, reach, dim=_vectors(answer, 1, None, endpoint.host).shape[1])

    def encode(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of the prompts, shape (n, d).

        Args:
            prompts: n strings; sent as they are but for their length.

        Returns:
            In the order of the prompts, whatever the order of the answers.

        Raises:
            UpstreamError: If the endpoint fails for good, or answers with wrong counts, order, lengths or values.
        """
        texts = [model_text(prompt, _MAX_CHARS) or " " for prompt in prompts]
        batches = list(_batches(texts))
        answers = self._client.post_all("embeddings", [_body(self._model, batch) for batch in batches])
        host = self._client.endpoint.host
        blocks = [_vectors(answer, len(batch), self.dim, host) for answer, batch in zip(answers, batches, strict=True)]
        return np.concatenate([np.empty((0, self.dim), dtype=np.float32), *blocks])


def _body(model: str, texts: list[str]) -> dict[str, Any]:
    return {"model": model, "input": texts, "encoding_format": "float"}


def _batches(texts: list[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    n_chars = 0
    for text in texts:
        if batch and (len(batch) == _BATCH_TEXTS or n_chars + len(text) > _BATCH_CHARS):
            yield batch
            batch, n_chars = [], 0
        batch.append(text)
        n_chars += len(text)
    if batch:
        yield batch


def _vectors(answer: dict[str, Any], n: int, dim: int | None, host: str) -> npt.NDArray[np.float32]:
    """The vectors of one answer in the order of the request, shape (n, d); `dim` None takes what comes."""
    rows = answer.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UpstreamProtocolError(
            f"{host} answered without a list `data` of embeddings. Check that the base URL ends in /v1."
        )
    if len(rows) != n:
        raise UpstreamProtocolError(f"{host} answered with {len(rows)} embeddings for {n} texts. Try another server.")
    by_index = {row.get("index"): row.get("embedding") for row in rows if isinstance(row.get("index"), int)}
    if sorted(by_index) != list(range(n)):
        raise UpstreamProtocolError(
            f"{host} answered with embeddings whose `index` does not run from 0 to {n - 1}. Try another server."
        )
    try:
        with np.errstate(over="ignore"):  # beyond float32 is infinity, which is refused below
            vectors = np.array([by_index[i] for i in range(n)], dtype=np.float32)
    except (ValueError, TypeError, OverflowError) as exc:
        raise UpstreamProtocolError(
            f"{host} answered with embeddings of different lengths, or not of numbers. Try another model."
        ) from exc
    if vectors.ndim != 2 or vectors.shape[1] == 0 or (dim is not None and vectors.shape[1] != dim):
        raise UpstreamProtocolError(
            f"{host} answered with embeddings of shape {vectors.shape}, wanted ({n}, {dim or 'd'}). Has the model "
            "behind this name changed?"
        )
    if not np.isfinite(vectors).all():
        raise UpstreamProtocolError(f"{host} answered with embeddings that hold NaN or infinity. Try another model.")
    return vectors
