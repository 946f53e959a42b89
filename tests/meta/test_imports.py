"""What importing costs: the heavy libraries come only when something needs them."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = (
    *("aiohttp", "duckdb", "matplotlib", "model2vec", "onnxruntime", "plotly", "pydantic", "rich", "scipy"),
    *("sentence_transformers", "tokenizers", "torch", "transformers", "typer"),
)


def loaded_by(statement: str) -> set[str]:
    """The heavy libraries in a fresh process after the statement."""
    code = f"import sys\n{statement}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_importing_prefroute_loads_no_heavy_library():
    assert loaded_by("import prefroute") == set()


def test_types_policy_and_metrics_load_no_heavy_library():
    assert loaded_by("import prefroute.types, prefroute.policy, prefroute.metrics, prefroute.curve") == set()


def test_listing_routers_and_benchmarks_loads_no_heavy_library():
    assert loaded_by("import prefroute; prefroute.routers.routers.names(); prefroute.benchmarks.benchmarks") == set()


def test_help_loads_nothing_but_typer_and_what_it_brings():
    brought = {"pydantic", "rich", "typer"}

    assert loaded_by("import prefroute.cli") <= brought


def test_every_door_of_the_package_opens():
    code = "import prefroute; [getattr(prefroute, name) for name in prefroute.__all__]"

    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_the_verbs_are_the_same_however_they_are_reached():
    code = (
        "import prefroute, prefroute.evaluate\n"
        "from prefroute.calibrate import calibrate\n"
        "assert prefroute.evaluate.evaluate is __import__('prefroute.evaluate', fromlist=['x']).evaluate\n"
        "assert prefroute.calibrate.calibrate is calibrate"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_each_direct_dependency_is_justified_in_one_line():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "dependencies.md").read_text().split("## Extras")[0]

    wanted = sorted(line.split(">=")[0] for line in project["dependencies"])
    justified = sorted(line.split("`")[1] for line in page.splitlines() if line.startswith("| `"))

    assert justified == wanted


def test_each_extra_is_in_the_documents():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    page = (ROOT / "docs" / "dependencies.md").read_text().split("## Extras")[1]

    assert [extra for extra in extras if f"| `{extra}` |" not in page] == []
