"""How long `import prefroute` takes over importing numpy, each in processes of its own, one JSON object.

    python benchmarks/import_time.py [--runs 15]

The median over runs; the two imports alternate, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys

_TIMED = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def import_ms(modules: str) -> float:
    """Milliseconds that one fresh process needs to import the modules."""
    command = [sys.executable, "-c", _TIMED.format(modules)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    numpy_ms, both_ms = [], []
    for _ in range(runs):
        numpy_ms.append(import_ms("numpy"))
        both_ms.append(import_ms("numpy, prefroute"))
    print(
        json.dumps(
            {
                "benchmark": "import_time",
                "numpy_ms": round(statistics.median(numpy_ms), 1),
                "prefroute_over_numpy_ms": round(statistics.median(both_ms) - statistics.median(numpy_ms), 1),
                "runs": runs,
                "python": platform.python_version(),
                "machine": platform.machine(),
                "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
            }
        )
    )


if __name__ == "__main__":
    main()
