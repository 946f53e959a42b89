"""Files are written whole or not at all: beside their place first, then renamed into it.

The door is `replacing`. It must not know what is written.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` if the block ends well, and vanishes if not.

    The bytes are on the disk before the renaming, so that a power cut leaves the old file or the new one. A link is
    followed, and stays a link.

    Args:
        path: The file; one that exists is replaced. Its folder exists.

    Raises:
        OSError: If the file cannot be written or renamed; the old one is then still there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "report.json") as beside:
        ...         _ = beside.write_text("{}")
        ...     [file.name for file in Path(folder).iterdir()]
        ['report.json']
    """
    target = path.resolve()
    beside = target.with_name(f".{target.name}.part")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
