"""Models of the Hugging Face hub: a name becomes a local folder, and every failure one line."""

from __future__ import annotations

from pathlib import Path

from prefroute.errors import ConfigError

__all__ = ["hub_folder"]

# safetensors only: the hub's `.bin` files are pickles, which prefroute never opens
_PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors"]


def hub_folder(name: str) -> Path:
    """A folder with the model's safetensors, tokenizer and configuration, from the local cache or downloaded now.

    Args:
        name: ORG/NAME.

    Returns:
        Inside the hub's local cache.

    Raises:
        ConfigError: If the hub has no such model, or cannot be reached and nothing is cached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_PATTERNS))
    except HFValidationError as exc:
        raise ConfigError(f"{name!r} is not a name that the Hugging Face hub allows. Write it as ORG/NAME.") from exc
    except LocalEntryNotFoundError as exc:
        raise ConfigError(
            f"Model {name!r} is not in the local cache of the Hugging Face hub, and the hub cannot be reached. Go "
            "online once, or give a folder that holds the model."
        ) from exc
    except (HfHubHTTPError, OSError) as exc:
        raise ConfigError(
            f"The Hugging Face hub does not give out the model {name!r} ({type(exc).__name__}). Check its name, and "
            "that you may read it."
        ) from exc
