"""Text to vectors: static, transformer, ONNX and remote embedders, and a cache on disk around any of them.

The door: `open_embedder(spec)`; `model_folder(spec)` for who fine-tunes a model. Heavy libraries are imported when an
embedder that needs them is opened. This room must not know what the vectors are for, nor read data files.
"""

from __future__ import annotations

from prefroute.embed.open import embedders, model_folder, open_embedder

__all__ = ["embedders", "model_folder", "open_embedder"]
