"""docs/reference/gateway-api.md against the program."""

import re
from pathlib import Path

from prefroute.serve.app import PATHS, Access
from prefroute.serve.metrics import Metrics

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "reference" / name for name in ("gateway-api.md", "upstream-failures.md")]
TEXT = PAGES[0].read_text(encoding="utf-8")


def test_every_path_is_listed_with_who_may_ask():
    rows = re.findall(r"^\| `(?:POST|GET) ([^|]*) \| (\w+)", TEXT, flags=re.MULTILINE)
    listed = {
        path.replace("NAME", ""): who for named, who in rows for path in re.findall(r"/[\w./]+(?=`)", "/" + named[1:])
    }

    assert listed == {path: "anybody" if of.access is Access.ANYBODY else "key" for path, of in PATHS.items()}


def test_every_code_of_an_error_is_listed():
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/prefroute/serve").rglob("*.py"))
    made = re.findall(r'(?:bad_request|not_found|overloaded|upstream_fault|Fault)\(\s*(?:\d+,\s*)?"(\w+)"', source)
    listed = {word for page in PAGES for word in re.findall(r"`([a-z_]+)`", page.read_text(encoding="utf-8"))}

    assert len(set(made)) > 15
    assert set(made) - listed == set()


def test_every_metric_is_listed():
    kept = {line.split()[2] for line in Metrics().page().decode().splitlines() if line.startswith("# TYPE")}
    listed = set(re.findall(r"`(\w+)`", TEXT.split("## Metrics")[1].split("## Log")[0]))

    assert {name.removeprefix("prefroute_") for name in kept if not name.endswith("_created")} <= listed
