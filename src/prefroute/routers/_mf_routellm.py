"""RouteLLM's published matrix factorization, read from its safetensors file. Private to the routers room.

Their model is this project's without a bias: model vectors of length one, a projection of the prompt's vector
(OpenAI's text-embedding-3-small), and one weight for each factor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from prefroute.errors import CheckpointError
from prefroute.routers._mf_factors import Factors

__all__ = ["ROUTELLM_MODELS", "read_routellm"]

ROUTELLM_MODELS: tuple[str, ...] = (
    "RWKV-4-Raven-14B",
    "alpaca-13b",
    "chatglm-6b",
    "chatglm2-6b",
    "chatglm3-6b",
    "claude-1",
    "claude-2.0",
    "claude-2.1",
    "claude-instant-1",
    "codellama-34b-instruct",
    "deepseek-llm-67b-chat",
    "dolly-v2-12b",
    "dolphin-2.2.1-mistral-7b",
    "falcon-180b-chat",
    "fastchat-t5-3b",
    "gemini-pro",
    "gemini-pro-dev-api",
    "gpt-3.5-turbo-0125",
    "gpt-3.5-turbo-0314",
    "gpt-3.5-turbo-0613",
    "gpt-3.5-turbo-1106",
    "gpt-4-0125-preview",
    "gpt-4-0314",
    "gpt-4-0613",
    "gpt-4-1106-preview",
    "gpt4all-13b-snoozy",
    "guanaco-33b",
    "koala-13b",
    "llama-13b",
    "llama-2-13b-chat",
    "llama-2-70b-chat",
    "llama-2-7b-chat",
    "llama2-70b-steerlm-chat",
    "mistral-7b-instruct",
    "mistral-7b-instruct-v0.2",
    "mistral-medium",
    "mixtral-8x7b-instruct-v0.1",
    "mpt-30b-chat",
    "mpt-7b-chat",
    "nous-hermes-2-mixtral-8x7b-dpo",
    "oasst-pythia-12b",
    "openchat-3.5",
    "openchat-3.5-0106",
    "openhermes-2.5-mistral-7b",
    "palm-2",
    "pplx-70b-online",
    "pplx-7b-online",
    "qwen-14b-chat",
    "qwen1.5-4b-chat",
    "qwen1.5-72b-chat",
    "qwen1.5-7b-chat",
    "solar-10.7b-instruct-v1.0",
    "stablelm-tuned-alpha-7b",
    "starling-lm-7b-alpha",
    "stripedhyena-nous-7b",
    "tulu-2-dpo-70b",
    "vicuna-13b",
    "vicuna-33b",
    "vicuna-7b",
    "wizardlm-13b",
    "wizardlm-70b",
    "yi-34b-chat",
    "zephyr-7b-alpha",
    "zephyr-7b-beta",
)
"""The rows of `P.weight`, in order: the models of Chatbot Arena that RouteLLM 0.2.0 knows."""

_WANTED = _MODELS, _PROJECT, _WEIGHT = "P.weight", "text_proj.0.weight", "classifier.0.weight"
_DTYPES = ("float16", "float32", "float64")
_LEAST_LENGTH = 1e-12  # what torch.nn.functional.normalize divides by at least


def read_routellm(path: Path) -> Factors:
    """The factors in a file of RouteLLM's.

    Raises:
        CheckpointError: If the file is no safetensors file, or does not hold exactly their three tensors.
    """
    found = _tensors(path)
    if set(found) != set(_WANTED):
        missing, extra = sorted(set(_WANTED) - set(found)), sorted(set(found) - set(_WANTED))
        raise CheckpointError(
            f"{str(path)!r} is not RouteLLM's matrix factorization: missing {missing}, unknown {extra}. Give the "
            "model.safetensors of its `mf` router."
        )
    models, project, weight = (found[name].astype(np.float64) for name in _WANTED)
    width = models.shape[-1]
    shapes = {_MODELS: (len(ROUTELLM_MODELS), width), _PROJECT: (width, project.shape[-1]), _WEIGHT: (1, width)}
    for name, wanted in shapes.items():
        if found[name].shape != wanted or found[name].dtype.name not in _DTYPES:
            raise CheckpointError(
                f"{str(path)!r}: tensor {name!r} must be float with shape {wanted}, got {found[name].dtype.name} "
                f"{found[name].shape}. Download the file again."
            )
        if not np.isfinite(found[name]).all():
            raise CheckpointError(f"{str(path)!r}: tensor {name!r} holds NaN or infinity. Download the file again.")
    lengths = np.maximum(np.linalg.norm(models, axis=1, keepdims=True), _LEAST_LENGTH)
    return Factors(models=models / lengths, project=project.T.copy(), bias=np.zeros(width), weight=weight[0])


def _tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise CheckpointError(f"There is no file {str(path)!r}. Give RouteLLM's model.safetensors.")
    if path.suffix.lower() != ".safetensors":
        raise CheckpointError(
            f"{str(path)!r} is not a .safetensors file, and other formats run code when they are read: it is not "
            "opened. Download model.safetensors of RouteLLM's `mf` router."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as exc:
        raise CheckpointError(f"{str(path)!r} is not a sound safetensors file ({exc}). Download it again.") from exc
