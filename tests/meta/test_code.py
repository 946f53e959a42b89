"""Rules about the code as text: sizes, exports, what may not stand in it. Ruff (RUF022) keeps `__all__` sorted."""

import ast
import functools
import importlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXCEPTIONS = tomllib.loads((Path(__file__).parent / "exceptions.toml").read_text())
PACKAGE = sorted((ROOT / "src" / "prefroute").rglob("*.py"))
MAX_LINES, MAX_FUNCTION_LINES, MAX_BYTES = 400, 60, 1_000_000


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def committed_files() -> list[Path]:
    """Every file that is in the repository, or would be after `git add .`."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def committed_text() -> list[tuple[str, str]]:
    found = []
    for path in committed_files():
        try:
            found.append((name(path), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def functions(path: Path):
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_every_file_has_at_most_400_lines():
    sizes = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE}

    long = {file: lines for file, lines in sizes.items() if lines > MAX_LINES}

    assert set(long) == set(EXCEPTIONS["long_files"]), long


def test_every_function_has_at_most_60_lines():
    long = {
        f"{name(path)}:{node.name}"
        for path in PACKAGE
        for node in functions(path)
        if node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    }

    assert long == set(EXCEPTIONS["long_functions"])


def test_no_committed_file_is_large():
    large = {name(path) for path in committed_files() if path.stat().st_size > MAX_BYTES}

    assert large == set(EXCEPTIONS["large_files"])


def test_every_exception_has_a_reason():
    assert all(reason for rule in EXCEPTIONS.values() for reason in rule.values())


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_module_says_what_it_is_for_and_lists_its_names_once(path):
    assert ast.get_docstring(tree(path))
    if path.stem == "__main__":
        return
    exported = next(
        (
            ast.literal_eval(node.value)
            for node in tree(path).body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            and node.value
            and "__all__" in ast.unparse(node).split("=")[0]
        ),
        None,
    )

    assert exported is not None, "no __all__"
    assert len(exported) == len(set(exported))


def test_every_exported_name_is_there():
    for path in PACKAGE:
        if path.stem == "__main__":
            continue
        parts = path.relative_to(ROOT / "src").with_suffix("").parts
        module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        missing = [exported for exported in module.__all__ if not hasattr(module, exported)]
        assert not missing, f"{module.__name__}: {missing}"


def test_nothing_prints_outside_the_command_line():
    found = [
        f"{name(path)}:{node.lineno}"
        for path in PACKAGE
        if "cli" not in path.parts
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]

    assert found == []


def test_nothing_unpickles_or_evaluates():
    banned_modules = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    banned_calls = {"eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load", "np.load", "numpy.load"}
    found = []
    for path in PACKAGE:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                used = {alias.name.split(".")[0] for alias in node.names} & banned_modules
            elif isinstance(node, ast.ImportFrom):
                used = {(node.module or "").split(".")[0]} & banned_modules
            elif isinstance(node, ast.Call):
                used = {ast.unparse(node.func)} & banned_calls
            else:
                continue
            found += [f"{name(path)}:{node.lineno}: {word}" for word in used]

    assert found == []


def test_environment_is_read_in_settings_only():
    readers = {name(path) for path in PACKAGE if re.search(r"os\.(environ|getenv)", path.read_text(encoding="utf-8"))}

    assert readers == {"src/prefroute/settings/environment.py"}


def test_no_path_of_a_machine_is_committed():
    path = re.compile(r"(?<![\w.~)}\"'])/(?:" + "|".join(("wo" + "rk", "ro" + "ot", "fa" + "rm")) + r")/\w")

    found = [file for file, text in committed_text() if path.search(text)]

    assert found == []


def test_only_ci_names_the_shared_data_folder():
    named = {file for file, text in committed_text() if "../sha" + "red" in text}

    assert named <= {".ci/run"}


def test_no_package_registry_is_named():
    hosts = ("pypi" + ".org", "python" + "hosted.org", "conda" + ".anaconda.org")

    found = [file for file, text in committed_text() if any(host in text for host in hosts)]

    assert found == []
