"""The document is about the paths that there are, and about what the checks check."""

from __future__ import annotations

import json

from prefroute.serve.app import PATHS, Access
from prefroute.serve.openapi import DOCUMENT

PAGE = json.loads(DOCUMENT)


def test_every_path_is_described_with_its_method_and_access():
    described = {
        (path.replace("{model}", ""), method.upper(), bool(said.get("security", True)))
        for path, methods in PAGE["paths"].items()
        for method, said in methods.items()
    }

    assert described == {(path, of.method, of.access is not Access.ANYBODY) for path, of in PATHS.items()}


def test_every_reference_leads_somewhere():
    text = DOCUMENT.decode()
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}

    assert named <= set(PAGE["components"]["schemas"])
