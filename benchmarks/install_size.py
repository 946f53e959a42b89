"""What an installation weighs: size on disk and the demo's peak memory, one JSON object.

    python benchmarks/install_size.py [--python .venv/bin/python] [--run-in DIR]

`install_mb` counts the whole of site-packages, pip too, of the environment that `--python` belongs to: give one that
holds the core only. Megabytes are 10^6 bytes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import resource
import subprocess
import sys
from pathlib import Path


def folder_bytes(folder: Path) -> int:
    """Bytes of every file below the folder, each hard link once."""
    sizes = {}
    for file in folder.rglob("*"):
        status = file.lstat()
        if file.is_file() and not file.is_symlink():
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment to measure")
    parser.add_argument("--run-in", default=".", help="folder to run the demo in")
    options = parser.parse_args()
    python = str(Path(options.python).absolute())  # not resolved: the link is what makes it that environment's
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip()
    demo = [python, "-m", "prefroute", "demo"]
    subprocess.run(demo, check=True, cwd=options.run_in, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak_bytes = peak if sys.platform == "darwin" else peak * 1024
    print(
        json.dumps(
            {
                "benchmark": "install_size",
                "install_mb": round(folder_bytes(Path(site)) / 1e6, 1),
                "demo_peak_mb": round(peak_bytes / 1e6, 1),
                "python": platform.python_version(),
                "machine": platform.machine(),
                "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
            }
        )
    )


if __name__ == "__main__":
    main()
