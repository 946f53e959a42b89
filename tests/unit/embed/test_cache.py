from __future__ import annotations

import logging
import signal
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest

from prefroute.embed.cache import CachedEmbedder
from prefroute.errors import ConfigError, DataError


class Counting:
    """Vectors drawn from the text, and a note of what was asked for."""

    def __init__(self, id="counting@1", dim=4):
        self.id, self.spec, self.dim, self.trained_on = id, "counting", dim, frozenset({"abc"})
        self.asked = []

    def encode(self, prompts):
        self.asked.append(list(prompts))
        rows = [np.random.default_rng([1, *map(ord, p), 1]).normal(size=self.dim) for p in prompts]
        return np.array(rows, dtype=np.float32).reshape(-1, self.dim)


def test_second_run_asks_for_nothing_and_is_equal_to_the_last_bit(tmp_path):
    prompts = [f"prompt {i}" for i in range(50)]
    first = CachedEmbedder(Counting(), tmp_path).encode(prompts)
    again = Counting()

    second = CachedEmbedder(again, tmp_path).encode(prompts[::-1])[::-1]

    assert again.asked == []
    assert second.dtype == np.float32
    assert second.tobytes() == first.tobytes()


def test_only_missing_texts_are_asked_for_and_each_once(tmp_path):
    CachedEmbedder(Counting(), tmp_path).encode(["a", "b"])
    embedder = Counting()

    vectors = CachedEmbedder(embedder, tmp_path).encode(["b", "c", "a", "c"])

    assert embedder.asked == [["c"]]
    assert vectors.tobytes() == Counting().encode(["b", "c", "a", "c"]).tobytes()


def test_key_is_the_exact_text(tmp_path):
    texts = ["a", "A", " a", "a\0", "a\ud800", "a\udfff", "á", "a\u0301", ""]
    CachedEmbedder(Counting(), tmp_path).encode(texts)
    embedder = Counting()

    vectors = CachedEmbedder(embedder, tmp_path).encode(texts)

    assert embedder.asked == []
    assert len({row.tobytes() for row in vectors}) == len(texts)


def test_two_embedders_do_not_share_vectors(tmp_path):
    CachedEmbedder(Counting("one@1"), tmp_path).encode(["a"])
    other = Counting("one@2")

    CachedEmbedder(other, tmp_path).encode(["a"])

    assert other.asked == [["a"]]


def test_id_with_slashes_stays_inside_the_folder(tmp_path):
    cached = CachedEmbedder(Counting("openai:../../x@host:80/6"), tmp_path)

    cached.encode(["a"])

    assert cached.path.parent == tmp_path
    assert [p.parent for p in tmp_path.rglob("*")] == [tmp_path]


def test_progress_runs_from_none_to_all_of_what_is_missing(tmp_path):
    CachedEmbedder(Counting(), tmp_path).encode(["0", "1"])
    seen = []

    cached = CachedEmbedder(Counting(), tmp_path, progress=lambda *step: seen.append(step), chunk_size=3)
    cached.encode([str(i) for i in range(10)])

    assert seen == [(0, 8), (3, 8), (6, 8), (8, 8)]  # ten texts, two of them there


def test_progress_is_not_called_where_nothing_is_missing(tmp_path):
    cached = CachedEmbedder(Counting(), tmp_path, progress=lambda *_: pytest.fail("called"))

    assert cached.encode([]).shape == (0, 4)


def test_what_was_computed_before_a_failure_is_kept(tmp_path):
    class Breaks(Counting):
        def encode(self, prompts):
            if "5" in prompts:
                raise RuntimeError("boom")
            return super().encode(prompts)

    with pytest.raises(RuntimeError):
        CachedEmbedder(Breaks(), tmp_path, chunk_size=5).encode([str(i) for i in range(10)])
    embedder = Counting()
    CachedEmbedder(embedder, tmp_path).encode([str(i) for i in range(10)])

    assert embedder.asked == [["5", "6", "7", "8", "9"]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused_and_not_kept(tmp_path, value):
    class Bad(Counting):
        def encode(self, prompts):
            return np.full((len(prompts), 4), value, dtype=np.float32)

    with pytest.raises(DataError, match="returned NaN or infinity"):
        CachedEmbedder(Bad(), tmp_path).encode(["a"])

    assert list(tmp_path.iterdir()) == []


def test_vectors_of_another_length_are_refused(tmp_path):
    class Bad(Counting):
        def encode(self, prompts):
            return np.zeros((len(prompts), 3), dtype=np.float32)

    with pytest.raises(DataError, match=r"returned shape \(1, 3\), wanted \(1, 4\)"):
        CachedEmbedder(Bad(), tmp_path).encode(["a"])


@pytest.mark.parametrize("damage", [b"this is not a database, it is text" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_damaged_file_is_set_aside_with_a_warning_and_made_again(tmp_path, caplog, damage):
    cached = CachedEmbedder(Counting(), tmp_path)
    wanted = cached.encode(["a"])
    cached.path.write_bytes(damage)

    with caplog.at_level(logging.WARNING):
        vectors = cached.encode(["a"])

    assert vectors.tobytes() == wanted.tobytes()
    assert "is damaged" in caplog.text
    assert cached.path.with_suffix(".corrupt").read_bytes() == damage
    assert CachedEmbedder(embedder := Counting(), tmp_path).encode(["a"]).tobytes() == wanted.tobytes()
    assert embedder.asked == []


@pytest.mark.parametrize("kept_share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_file_never_gives_wrong_vectors(tmp_path, kept_share):
    prompts = [f"prompt {i}" for i in range(2000)]
    cached = CachedEmbedder(Counting(), tmp_path, chunk_size=2000)
    wanted = cached.encode(prompts)
    raw = cached.path.read_bytes()
    cached.path.write_bytes(raw[: int(len(raw) * kept_share)])

    assert cached.encode(prompts).tobytes() == wanted.tobytes()
    assert cached.encode(prompts).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("column", ["vector = zeroblob(16)", "vector = x'00'", "crc = crc + 1"])
def test_damaged_row_is_computed_again(tmp_path, column):
    cached = CachedEmbedder(Counting(), tmp_path)
    wanted = cached.encode(["a"])
    with sqlite3.connect(cached.path) as connection:
        connection.execute(f"UPDATE vectors SET {column}")
    connection.close()

    assert cached.encode(["a"]).tobytes() == wanted.tobytes()
    assert CachedEmbedder(embedder := Counting(), tmp_path).encode(["a"]).tobytes() == wanted.tobytes()
    assert embedder.asked == []


def test_locked_file_costs_a_warning_and_not_the_run(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("prefroute.embed.cache._BUSY_S", 0.05)
    cached = CachedEmbedder(Counting(), tmp_path)
    cached.encode(["a"])
    holder = sqlite3.connect(cached.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    with caplog.at_level(logging.WARNING):
        vectors = cached.encode(["a", "b"])
    holder.close()

    assert vectors.tobytes() == Counting().encode(["a", "b"]).tobytes()
    assert "database is locked" in caplog.text


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"cannot be made: .* Choose another with PREFROUTE_CACHE\."):
        CachedEmbedder(Counting(), tmp_path / "file" / "cache")


def test_threads_that_share_one_embedder_agree(tmp_path):
    cached = CachedEmbedder(Counting(), tmp_path, chunk_size=5)
    prompts = [str(i) for i in range(40)]
    wanted = Counting().encode(prompts).tobytes()
    results = []

    threads = [threading.Thread(target=lambda: results.append(cached.encode(prompts).tobytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [wanted] * 4


_WRITER = """
import sys
from pathlib import Path
import numpy as np
from prefroute.embed.cache import CachedEmbedder

class E:
    id, spec, dim, trained_on = "counting@1", "counting", 4, frozenset()
    def encode(self, prompts):
        rows = [np.random.default_rng([1, *map(ord, p), 1]).normal(size=self.dim) for p in prompts]
        return np.array(rows, dtype=np.float32)

n = int(sys.argv[2])
cached = CachedEmbedder(E(), Path(sys.argv[1]), chunk_size=2, progress=lambda d, t: print(d, flush=True))
cached.encode([str(i) for i in range(n)])
"""


def writer(folder, n):
    command = [sys.executable, "-c", _WRITER, str(folder), str(n)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_at_once(tmp_path):
    processes = [writer(tmp_path, 60), writer(tmp_path, 60)]

    for process in processes:
        process.communicate(timeout=60)

    assert [process.returncode for process in processes] == [0, 0]
    prompts = [str(i) for i in range(60)]
    vectors = CachedEmbedder(embedder := Counting(), tmp_path).encode(prompts)
    assert embedder.asked == []
    assert vectors.tobytes() == Counting().encode(prompts).tobytes()


def test_killed_writer_leaves_all_that_it_had_reported(tmp_path):
    process = writer(tmp_path, 100_000)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 20:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)

    prompts = [str(i) for i in range(20)]
    vectors = CachedEmbedder(embedder := Counting(), tmp_path).encode(prompts)

    assert embedder.asked == []
    assert vectors.tobytes() == Counting().encode(prompts).tobytes()
