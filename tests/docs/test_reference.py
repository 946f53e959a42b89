"""The lists in docs/reference, compared with the program."""

import re
import runpy
from pathlib import Path

import prefroute.errors
from prefroute.errors import PrefrouteError

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_command_line_reference_is_what_the_program_says():
    page = runpy.run_path(str(SCRIPTS / "cli_reference.py"))["reference"]()

    written = (REFERENCE / "cli.md").read_text(encoding="utf-8")

    assert written == page, "run: python scripts/cli_reference.py > docs/reference/cli.md"


def test_every_error_is_listed_with_its_exit_code():
    named = [getattr(prefroute.errors, name) for name in prefroute.errors.__all__]
    family = [value for value in named if isinstance(value, type) and issubclass(value, PrefrouteError)]
    errors = {value.__name__: str(value.exit_code) for value in family}

    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| (\d) \|", page, flags=re.MULTILINE))

    assert listed == errors


def test_every_error_of_the_package_is_in_the_one_family():
    named = [getattr(prefroute.errors, name) for name in prefroute.errors.__all__]

    assert all(issubclass(value, PrefrouteError) for value in named if isinstance(value, type))


def test_every_router_kind_is_in_the_glossary():
    from prefroute.routers import routers

    page = (REFERENCE.parent / "glossary.md").read_text(encoding="utf-8")

    assert [kind for kind in routers.builtin if f"`{kind}`" not in page] == []
