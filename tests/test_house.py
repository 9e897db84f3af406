"""The order of the house: imports run one way, names stay inside, what is promised is there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "deltarule"

ORDER = [
    *("__main__", "cli", "page", "flows", "runs", "sources", "settings"),
    *("interop",),
    *("sklearn",),
    *("formula",),
    *("lens",),
    *("explain", "walk"),
    *("check", "comparison"),
    *("warm",),
    *("shared", "training", "checkpoint", "predictions", "store"),
    *("network",),
    *("forward",),
    *("prepared", "recipe", "division", "learner", "columns", "tables"),
    *("edits", "rules", "calls"),
    *("trace", "inputs", "history", "watched"),
    *("flow", "blame"),
    *("plots",),
    *("reports",),
    *("paths",),
    *("remedies",),
    *("verdicts",),
    *("progress", "cores", "ranks", "standby", "optimizers", "schedules", "inits", "data"),
    *("kernels",),
    *("reference",),
    *("numerals", "document"),
    *("records", "costs"),
    *("activations",),
    *("errors",),
]
"""From top to bottom: a file may import what stands below it. Within a line, what stands to its right."""

DOORS = {("network", "training"), ("network", "shared"), ("network", "store")}
"""Methods that open a door upstairs: `net.fit`, `net.save`. They import inside the method."""


def imports(path: Path, everywhere: bool) -> set[str]:
    """The rooms of the house that a file imports; at its top, or everywhere. Type checking does not count."""
    tree = ast.parse(path.read_text())
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    nodes = ast.walk(tree) if everywhere else tree.body
    found = set()
    for node in nodes:
        if id(node) in guarded:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("deltarule"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("deltarule.")}
    return found & set(ORDER)


def rooms() -> list[tuple[str, Path]]:
    paths = [*SRC.glob("*.py"), *SRC.glob("*/*.py")]
    named = [(path.stem if path.parent == SRC else path.parent.name, path) for path in paths]
    return [(room, path) for room, path in named if room != "__init__"]


def test_every_room_has_its_place():
    assert {room for room, _ in rooms()} == set(ORDER)


@pytest.mark.parametrize(("room", "path"), rooms(), ids=lambda value: getattr(value, "stem", value))
def test_imports_run_one_way(room, path):
    for other in imports(path, everywhere=True) - {room}:
        downwards = ORDER.index(other) > ORDER.index(room)
        assert downwards or (room, other) in DOORS, f"{room} imports {other}, which stands above it"
        if not downwards:
            assert other not in imports(path, everywhere=False), f"{room} may open {other} in a method only"


def test_the_reference_and_its_twin_share_no_code():
    below = {"activations", "costs", "reference"}
    for room, path in rooms():
        if room == "kernels":
            assert not imports(path, everywhere=True) & below, path
    for room in below:
        assert "kernels" not in imports(SRC / f"{room}.py", everywhere=True)


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_core_install_imports_without_any_extra():
    extras = ["torch", "matplotlib", "onnx", "skl2onnx", "pyarrow", "pandas", "polars", "jax", "sympy", "mpmath"]
    extras += ["starlette", "uvicorn", "websockets", "anywidget"]
    code = f"import sys; sys.modules.update(dict.fromkeys({extras!r})); import deltarule; deltarule.Network([2, 2])"
    run(code)


def test_importing_is_light():
    # Numba, SciPy and scikit-learn come in when they are needed.
    heavy = run(
        "import sys, deltarule; heavy = ('scipy', 'sklearn', 'rich', 'typer', 'lark', 'sympy'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    assert heavy == "[]"


def test_the_project_speaks_of_itself_alone():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    forbidden = re.compile(r"/work/|/root/|issue #?\d+\b", re.IGNORECASE)
    for name in tracked.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ""} and path.is_file() and path.name != "LICENSE":
            found = [m for m in forbidden.findall(path.read_text(errors="ignore")) if path != Path(__file__)]
            assert not found, f"{name}: {found}"
