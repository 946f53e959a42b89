"""Public sets by name: fetched whole, pinned, checked, resumed.

The door is `fetch`. What there is stands in `public`, how bytes come in `download`. Beside the data lies a lock file
that says which commit and which checksums the folder holds; a later fetch that would bring anything else is refused.
"""

from __future__ import annotations

import fnmatch
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from prefroute.data.download import Line, Promise, download, file_sha256, get
from prefroute.data.public import PUBLIC_SETS, PublicSet
from prefroute.errors import ConfigError, DataError, UpstreamError, UpstreamProtocolError, nearest
from prefroute.files import replacing
from prefroute.settings import github_raw_url, hub_endpoint

__all__ = ["LOCK_FILE", "Fetched", "FetchedFile", "fetch"]

LOCK_FILE = "prefroute-fetch.json"

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """One file of a fetched set.

    Attributes:
        path: In the repository, and below the folder.
        size_bytes: Its size.
        sha256: Its checksum, hex.
        was_there: Whether it lay there, checked, before the fetch.
    """

    path: str
    size_bytes: int
    sha256: str
    was_there: bool


@dataclass(frozen=True, slots=True)
class Fetched:
    """A set as it now lies on disk.

    Attributes:
        name: Of the set.
        folder: Where it lies.
        repository: Where it came from.
        revision: Commit; None where the host named none.
        files: In the order of fetching.
        use: Commands that read it.
    """

    name: str
    folder: Path
    repository: str
    revision: str | None
    files: tuple[FetchedFile, ...]
    use: tuple[str, ...]


def fetch(
    name: str,
    to: Path,
    *,
    progress: Callable[[str, int, int | None], None] = lambda path, done, total: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """A public set, whole and checked, in a folder; what is there already is checked, not fetched again.

    Args:
        name: One of `PUBLIC_SETS`.
        to: The folder; made where it is missing.
        progress: Called with the path of the file, its bytes done and its bytes in all (None where not known).
        sleep: Waits a number of seconds between attempts.

    Returns:
        What now lies where.

    Raises:
        ConfigError: If the name is unknown, the set is one that we do not fetch, or the folder is a file.
        DataError: If the folder holds something else under one of the set's names, or the disk is full.
        UpstreamError: If a file cannot be had, or is not what it must be; running again resumes.
    """
    chosen = _chosen(name)
    if to.exists() and not to.is_dir():
        raise ConfigError(f"--to must be a folder, got the file {str(to)!r}.")
    to.mkdir(parents=True, exist_ok=True)
    lock = _Lock.read(to, chosen)
    line = Line(hub_endpoint()[1] if chosen.host == "hub" else None, sleep)
    done = []
    for path in _paths(chosen, lock, line):
        done.append(_one(path, to, chosen, lock, line, progress))
    tables = (
        str(to / done[0].path) if len(done) == 1 else f"'{(to / done[0].path).parent}/*{Path(done[0].path).suffix}'"
    )
    use = tuple(command.format(folder=to, tables=tables) for command in chosen.use)
    return Fetched(name, to, chosen.repository, lock.revision, tuple(done), use)


def _chosen(name: str) -> PublicSet:
    chosen = PUBLIC_SETS.get(name)
    if chosen is None:
        raise ConfigError(nearest(name, PUBLIC_SETS, "public set"))
    if chosen.refused:
        raise ConfigError(f"{name} is not fetched: {chosen.refused}")
    return chosen


@dataclass(slots=True)
class _Lock:
    """What a folder holds, or is to hold: one commit, and for each file what it must be."""

    file: Path
    repository: str
    revision: str | None = None
    files: dict[str, Promise] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, chosen: PublicSet) -> _Lock:
        """The folder's lock, or a fresh one; one of another set or revision is refused."""
        lock = cls(folder / LOCK_FILE, chosen.repository, chosen.revision)
        if not lock.file.exists():
            return lock
        try:
            found = json.loads(lock.file.read_text(encoding="utf-8"))
            held = (str(found["repository"]), found["revision"])
            files = {str(path): Promise(int(it["size"]), it["sha256"]) for path, it in found["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{lock.file}: is not a lock file of `data fetch`. Delete it and fetch again.") from error
        if held[0] != chosen.repository or (chosen.revision is not None and held[1] != chosen.revision):
            raise DataError(
                f"{lock.file}: the folder holds {held[0]} at {held[1]}, and {chosen.repository} at "
                f"{chosen.revision or 'any revision'} was asked for. Name another folder with --to."
            )
        lock.revision, lock.files = held[1], files
        return lock

    def write(self) -> None:
        """Whole or not at all."""
        files = {path: {"size": it.size, "sha256": it.sha256} for path, it in self.files.items()}
        found = {"schema": 1, "repository": self.repository, "revision": self.revision, "files": files}
        with replacing(self.file) as beside:
            beside.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")

    def pin(self, path: str, promise: Promise) -> Promise:
        """Hold the host to one commit, from the first byte on, so that a part is never completed from another one."""
        if promise.revision is None or set(promise.revision) - _HEX:
            return promise
        if self.revision is None:
            self.revision = promise.revision
            self.write()
        if self.revision != promise.revision:
            raise UpstreamError(
                f"{path} was served from the commit {promise.revision[:12]}, where {self.revision[:12]} was wanted. "
                "Fetch again; if it stays so, the mirror is out of step."
            )
        return promise


def _paths(chosen: PublicSet, lock: _Lock, line: Line) -> list[str]:
    """The files of the set; a pattern is looked up once, and the lock then says what it stands for."""
    pattern = chosen.files[0]
    if "*" not in pattern:
        return list(chosen.files)
    if not lock.files:
        lock.files = _listed(chosen, line)
        lock.write()
    return sorted(lock.files)


def _listed(chosen: PublicSet, line: Line) -> dict[str, Promise]:
    """The hub's own list of the files that fit the pattern, with sizes, and checksums where it has them."""
    url = f"{hub_endpoint()[0]}/api/datasets/{chosen.repository}/tree/{chosen.revision}?recursive=true"
    try:
        entries = json.loads(get(url, line))
        found = {str(it["path"]): _promise(it) for it in entries if it["type"] == "file"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UpstreamProtocolError(f"{url} is not a list of files, as the hub gives it. Check HF_ENDPOINT.") from error
    fitting = {path: it for path, it in found.items() if fnmatch.fnmatchcase(path, chosen.files[0])}
    if not fitting:
        raise UpstreamError(f"{chosen.repository} holds no {chosen.files[0]}, only {', '.join(sorted(found)) or '-'}.")
    for path in fitting:
        if not _is_plain(path):
            raise UpstreamProtocolError(f"{chosen.repository} lists the file {path!r}, which leads out of the folder.")
    return fitting


def _promise(entry: dict[str, Any]) -> Promise:
    """Of one entry of the hub's list; large files carry their SHA-256 there."""
    return Promise(int(entry["size"]), str(entry["lfs"]["oid"]).removeprefix("sha256:") if entry.get("lfs") else None)


def _is_plain(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return path.isprintable() and not set(path) & set("\\:") and ".." not in parts and not path.startswith("/")


def _one(
    path: str,
    to: Path,
    chosen: PublicSet,
    lock: _Lock,
    line: Line,
    progress: Callable[[str, int, int | None], None],
) -> FetchedFile:
    target, known = to / path, lock.files.get(path, Promise())
    if target.exists():
        return _kept(path, target, known)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    url = _url(chosen, lock.revision or "main", path)
    got = download(
        url,
        part,
        known,
        line,
        promised=lambda promise: lock.pin(path, promise),
        progress=lambda done, total: progress(path, done, total),
    )
    assert got.size is not None
    assert got.sha256 is not None
    lock.files[path] = replace(got, revision=None)
    lock.write()  # first: a file that has its name is always in the lock
    part.replace(target)
    return FetchedFile(path, got.size, got.sha256, was_there=False)


def _kept(path: str, target: Path, known: Promise) -> FetchedFile:
    digest = file_sha256(target)
    if digest == known.sha256:
        return FetchedFile(path, target.stat().st_size, digest, was_there=True)
    what = "was changed since it was fetched" if known.sha256 else "was there before and did not come by `data fetch`"
    raise DataError(f"{target}: {what}. It is left alone. Move it away to fetch it, or name another folder with --to.")


def _url(chosen: PublicSet, revision: str, path: str) -> str:
    if chosen.host == "hub":
        return f"{hub_endpoint()[0]}/datasets/{chosen.repository}/resolve/{revision}/{path}"
    return f"{github_raw_url()}/{chosen.repository}/{revision}/{path}"
