"""The examples in docstrings, run."""

import doctest
import importlib
import pkgutil

import pytest

import prefroute

NEEDS = {"prefroute.plot": "matplotlib", "prefroute.report": "plotly"}
FOUND = pkgutil.walk_packages(prefroute.__path__, "prefroute.")
MODULES = sorted(module.name for module in FOUND if module.name != "prefroute.__main__")


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])

    result = doctest.testmod(importlib.import_module(name))

    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()

    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]

    assert len(found) >= 40
