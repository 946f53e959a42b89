"""The two fine-tuned networks as torch modules: an encoder with a head, a decoder with label rows.

Imports torch: import this module where a router is fitted, restored or scored, never at the top of one. Both networks
map token ids and their mask, shape (b, t), to one logit for each label, shape (b, k).
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from prefroute.embed.padding import padded
from prefroute.errors import ConfigError, MissingExtraError
from prefroute.routers._readers import batches
from prefroute.types import FloatArray

__all__ = [
    "DecoderNetwork",
    "EncoderNetwork",
    "Objective",
    "adamw",
    "arrays_of",
    "device",
    "empty_body",
    "empty_rows",
    "features_of",
    "first_rows",
    "freeze_lower",
    "load_arrays",
    "logits_of",
    "lora",
    "pad",
    "seeded",
    "set_head",
]

_LEAST_FILLED = 0.8  # share of a training group's tokens that are no padding


class EncoderNetwork(torch.nn.Module):  # type: ignore[misc]
    """A pretrained encoder, pooled, with dropout and one linear layer on top.

    Args:
        body: A transformers encoder without its language-model head.
        n_labels: Logits, k.
        pooling: "cls" (the first token) or "mean" (over the tokens that are not padding).
    """

    def __init__(self, body: Any, n_labels: int, pooling: str) -> None:
        super().__init__()
        if getattr(body, "pooler", None) is not None:
            body.pooler = None  # trained for another task, and never read here
        self.body = body
        self.pooling = pooling
        self.dropout = torch.nn.Dropout(float(getattr(body.config, "hidden_dropout_prob", 0.1)))
        self.head = torch.nn.Linear(body.config.hidden_size, n_labels)
        torch.nn.init.normal_(self.head.weight, std=0.02)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        """Logits, shape (b, k)."""
        return self.head(self.dropout(self.pooled(input_ids, attention_mask)))

    def pooled(self, input_ids: Any, attention_mask: Any) -> Any:
        """What the head reads, shape (b, d)."""
        hidden = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # (b, t, d)
        if self.pooling == "cls":
            return hidden[:, 0]
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)  # (b, t, 1)
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)


class DecoderNetwork(torch.nn.Module):  # type: ignore[misc]
    """A pretrained decoder read off at its last position, against the label tokens' rows only.

    The rows are those that the label tokens have in the vocabulary's output matrix. They are kept beside the body
    because nothing else of that matrix is ever read: the softmax goes over label tokens only.

    Args:
        body: A transformers decoder without its language-model head.
        rows: First values of the label tokens' rows, shape (k, d).
    """

    def __init__(self, body: Any, rows: Any) -> None:
        super().__init__()
        self.body = body
        self.labels = torch.nn.Parameter(rows)
        self.takes_positions = "position_ids" in inspect.signature(body.forward).parameters

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        """Logits at the last position, shape (b, k); padding stands on the left."""
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
        if self.takes_positions:  # padding must not move the first token's position
            given["position_ids"] = (attention_mask.cumsum(1) - 1).clamp(min=0)
        hidden = self.body(**given).last_hidden_state[:, -1]  # (b, t, d) -> (b, d)
        return hidden @ self.labels.T


class Objective:
    """Weighted cross-entropy of a network's labels with wanted distributions.

    Args:
        network: A network of this module, on its device.
        rows: Token ids of each prompt, n lists.
        targets: Label distributions, shape (n, k).
        weight: How much each prompt counts, with mean 1 over those that are learned from, shape (n,).
        left: Whether padding stands on the left.
        half: Whether to compute in bfloat16 where that is safe (autocast); weights stay float32.
    """

    def __init__(
        self,
        network: Any,
        rows: Sequence[Sequence[int]],
        targets: FloatArray,
        weight: FloatArray,
        *,
        left: bool,
        half: bool,
    ) -> None:
        self._network = network
        self._rows = rows
        self._targets = torch.from_numpy(targets * weight[:, None]).float()  # cross-entropy is linear in them
        self._weight = weight
        self._left = left
        self._half = half

    def loss(self, chosen: npt.NDArray[np.intp]) -> Any:
        """Mean of the chosen rows' losses, each times its weight, a torch scalar."""
        place = next(self._network.parameters()).device
        total = torch.zeros((), device=place)
        for group in _of_like_length(self._rows, chosen):
            ids, mask = pad([self._rows[i] for i in group], left=self._left)
            with torch.autocast(place.type, dtype=torch.bfloat16, enabled=self._half):
                logits = self._network(ids.to(place), mask.to(place))
            wanted = self._targets[group].to(place)
            total = total + torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="sum")
        return total / len(chosen)

    def held_out_loss(self, chosen: npt.NDArray[np.intp]) -> float:
        """Weighted mean loss of the chosen rows as they are scored: in float32, without dropout."""
        targets = self._targets[chosen].double()
        logits = logits_of(self._network, [self._rows[i] for i in chosen], targets.shape[1], left=self._left)
        loss = float(torch.nn.functional.cross_entropy(torch.from_numpy(logits), targets))
        return loss / float(self._weight[chosen].mean())


def _of_like_length(rows: Sequence[Sequence[int]], chosen: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    """The chosen rows in groups that lose at most a fifth to padding: of a mixed batch that is half of the work."""
    by_length = chosen[np.argsort([len(rows[i]) for i in chosen], kind="stable")]
    groups: list[list[int]] = []
    total = 0
    for i in by_length:
        total += len(rows[i])
        if not groups or (len(groups[-1]) + 1) * len(rows[i]) > total / _LEAST_FILLED:
            groups.append([])
            total = len(rows[i])
        groups[-1].append(int(i))
    return [np.array(group) for group in groups]


def adamw(network: Any, lr: float, weight_decay: float) -> Any:
    """AdamW over what is trained; biases and norms, which have one dimension, are not decayed."""
    groups: dict[float, list[Any]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups.setdefault(weight_decay if parameter.ndim > 1 else 0.0, []).append(parameter)
    return torch.optim.AdamW([{"params": group, "weight_decay": decay} for decay, group in groups.items()], lr=lr)


def set_head(network: EncoderNetwork, weights: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> None:
    """Give the head these weights, shape (k, d), and bias, shape (k,); the first process's under torchrun."""
    with torch.no_grad():
        for parameter, value in ((network.head.weight, weights), (network.head.bias, bias)):
            parameter.copy_(torch.from_numpy(value))
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.broadcast(parameter, 0)


def freeze_lower(body: Any, n_layers: int) -> None:
    """Leave the embeddings and the lowest `n_layers` of a transformers encoder as they are.

    Raises:
        ConfigError: If it has no more layers than that, or shares one among all.
    """
    total = body.config.num_hidden_layers
    stacks = [part for part in body.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == total]
    if not stacks or n_layers >= total:
        raise ConfigError(
            f"`frozen_layers` must leave one of the base's {total if stacks else 'shared'} layers to train, got "
            f"{n_layers}. Use 0 to train them all."
        )
    for part in body.modules():  # in the order in which a text goes through them
        if part is stacks[0][n_layers]:
            return
        for parameter in part.parameters(recurse=False):
            parameter.requires_grad_(False)
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0  # noise for what does not learn only slows the rest


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's generators drawn from the seed inside the block, and as they were after it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def device() -> Any:
    """The first CUDA device, or that of this process under torchrun; the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if torch.distributed.is_initialized():
        return torch.device("cuda", torch.distributed.get_node_local_rank(0))
    return torch.device("cuda")


def pad(rows: Sequence[Sequence[int]], *, left: bool) -> tuple[Any, Any]:
    """Token ids and mask of equal length, int64, shape (b, t) each, t at least 1."""
    ids, mask = padded(rows, left=left)
    return torch.from_numpy(ids), torch.from_numpy(mask)


def logits_of(network: Any, rows: Sequence[Sequence[int]], n_labels: int, *, left: bool) -> npt.NDArray[np.float64]:
    """Logits of tokenised prompts, shape (n, k), in float32."""
    return _through(network, network, rows, n_labels, left=left)


def features_of(network: EncoderNetwork, rows: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
    """What the head reads of tokenised prompts, shape (n, d), in float32."""
    return _through(network, network.pooled, rows, network.head.in_features, left=False)


def _through(
    network: Any, read: Callable[[Any, Any], Any], rows: Sequence[Sequence[int]], width: int, *, left: bool
) -> npt.NDArray[np.float64]:
    """What `read` makes of tokenised prompts, shape (n, width), in batches of like length; without dropout."""
    values = np.zeros((len(rows), width))
    place = next(network.parameters()).device
    training = network.training
    network.eval()
    with torch.inference_mode():
        for batch in batches(rows):
            ids, mask = pad([rows[i] for i in batch], left=left)
            values[batch] = read(ids.to(place), mask.to(place)).double().cpu().numpy()
    network.train(training)
    return values


def arrays_of(network: Any, wanted: Sequence[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """The network's tensors by name as NumPy arrays, or only the wanted ones."""
    tensors = network.state_dict()
    names = tensors if wanted is None else wanted
    return {name: tensors[name].detach().cpu().contiguous().numpy() for name in names}


def load_arrays(network: Any, arrays: Mapping[str, npt.NDArray[Any]], *, partly: bool) -> None:
    """Put arrays into the network; `partly` leaves what is not named as it is.

    Raises:
        ValueError: If a name is missing or unknown, or a shape differs.
    """
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    try:
        found = network.load_state_dict(tensors, strict=not partly)
    except RuntimeError as exc:
        raise ValueError("the tensors do not fit the network that the configuration describes") from exc
    if found.unexpected_keys:
        raise ValueError(f"unknown tensor {found.unexpected_keys[0]!r}")


def empty_body(library: Any, config: Mapping[str, Any]) -> Any:
    """A network of this configuration, with weights to be overwritten; no code of the configuration's is run.

    Raises:
        ValueError: If the configuration describes no known network.
    """
    settings = dict(config)
    with torch.random.fork_rng():
        made = library.AutoConfig.for_model(settings.pop("model_type"), **settings)
        return library.AutoModel.from_config(made, trust_remote_code=False)


def first_rows(model: Any, n: int) -> Any:
    """First rows of n new tokens: the mean of the vocabulary's output rows with a little noise, shape (n, d)."""
    rows = model.get_output_embeddings().weight.detach()  # (v, d)
    return rows.mean(0) + 0.1 * rows.std(0) * torch.randn(n, rows.shape[1])


def empty_rows(body: Any, n: int) -> Any:
    """Rows to be overwritten, shape (n, d)."""
    return torch.zeros(n, body.config.hidden_size)


def lora(network: Any, rank: int) -> list[str]:
    """Put adapters on every linear layer of the network's body and freeze the rest; the names of what is trained.

    Raises:
        MissingExtraError: If peft is not installed.
    """
    try:
        import peft
    except ImportError as exc:
        raise MissingExtraError("LoRA", "train") from exc
    settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules="all-linear")
    peft.inject_adapter_in_model(settings, network.body)
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]
