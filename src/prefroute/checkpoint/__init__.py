"""Checkpoints: a fitted router in a folder of JSON and safetensors. Nothing is unpickled, ever.

The door is `save_checkpoint`, `open_checkpoint` (or `load`, for the router alone) and `save_policy`. A folder is
written whole or not at all, and is read only when every byte of it is what was written. The layout is in
docs/reference/checkpoint.md.
"""

from __future__ import annotations

from prefroute.checkpoint.manifest import FORMAT, fingerprint
from prefroute.checkpoint.reading import Checkpoint, load, open_checkpoint
from prefroute.checkpoint.writing import save_checkpoint, save_policy

__all__ = ["FORMAT", "Checkpoint", "fingerprint", "load", "open_checkpoint", "save_checkpoint", "save_policy"]
