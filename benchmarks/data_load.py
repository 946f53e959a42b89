"""Memory and speed of reading a large table of battles; prints one JSON object.

Run: python benchmarks/data_load.py [--rows 10000000] [--format parquet]. The table is generated with distinct prompts
of about 100 characters between 64 models, and read in a process of its own, whose peak memory is the figure.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

_READ = """
import json, resource, sys, time
from prefroute.data import load
start = time.perf_counter()
data = load(sys.argv[1])
took = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"rows": len(data), "models": len(data.models), "load_s": took, "peak_rss_gb": peak / 1e9}))
"""


def generate(path: Path, rows: int, kind: str) -> None:
    """Write `rows` battles with prompts of about 100 characters."""
    import duckdb

    options = {"parquet": "(FORMAT parquet)", "csv": "(FORMAT csv, HEADER)", "jsonl": "(FORMAT json)"}[kind]
    with duckdb.connect(config={"memory_limit": "1GB", "temp_directory": str(path.parent)}) as connection:
        connection.execute(
            f"COPY (SELECT 'Question ' || i || ': how would you explain ' || md5(i::VARCHAR) || ' to a ' || "
            f"md5((i + 1)::VARCHAR) || ' pupil?' AS prompt, 'model-' || (i % 64) AS model_a, "
            f"'model-' || ((i % 64 + 1 + i % 61) % 64) AS model_b, "
            f"['model_a', 'model_b', 'tie', 'tie (bothbad)'][1 + (hash(i) % 4)::INTEGER] AS winner "
            f"FROM range({rows}) AS numbers(i)) TO '{path}' {options}"
        )


def main() -> None:
    """Generate, read in a new process, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--format", choices=["parquet", "csv", "jsonl"], default="parquet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"battles.{options.format}"
        start = time.perf_counter()
        generate(path, options.rows, options.format)
        made = time.perf_counter() - start
        answer = subprocess.run([sys.executable, "-c", _READ, str(path)], check=True, capture_output=True, text=True)
        result = json.loads(answer.stdout)
        size = path.stat().st_size / 1e9
    machine = {"machine": platform.machine(), "python": platform.python_version(), "date": date.today().isoformat()}
    figures = {**result, "file_gb": size, "generate_s": made}
    print(json.dumps({"benchmark": "data_load", "format": options.format, **figures, **machine}))


if __name__ == "__main__":
    main()
