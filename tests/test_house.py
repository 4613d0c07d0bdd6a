"""The house: arrows point down, only the command line prints, only the report draws, and importing costs little."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "wirings"

USES: dict[str, set[str]] = {
    "core": set(),
    "makers": {"core"},
    "methods": {"core", "makers"},
    "kernels": {"core", "makers"},
    "sparse": {"core", "makers", "kernels"},
    "attach": {"core", "makers", "methods", "sparse", "kernels"},
}
"""What each floor may import beside itself; methods on one side, kernels and sparse on the other, are two wings."""

_FOUR = {*USES}
USES |= {
    "models": _FOUR,
    "data": _FOUR,
    "analysis": _FOUR,
    "training": _FOUR | {"models", "data", "analysis"},
}
USES["gallery"] = {"core"}
USES["testing"] = _FOUR  # the suites that plug-ins join
USES["procedures"] = {*USES}
USES["studies"] = {*USES}
USES["report"] = {*USES}
USES["bench"] = {*USES}  # measures anything; only the command line asks it to
USES["cli"] = {*USES}

HEAVY = ("matplotlib", "scipy", "pydantic", "jinja2", "rich", "cyclopts", "safetensors", "transformers", "pandas")
"""What may be imported within a function only (but for the floors that live by it)."""

MAY_LOAD_AT_ONCE = {
    "report": {"matplotlib", "jinja2", "scipy"},
    "cli": {"rich", "cyclopts"},
}


@cache
def files() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


def floor_of(path: Path) -> str:
    """The folder under ``wirings``; an empty string for modules beside the folders."""
    parts = path.relative_to(SOURCE).parts
    return parts[0] if len(parts) > 1 else ""


def imported(tree: ast.AST, path: Path) -> list[tuple[str, int]]:
    """Every module that a file imports anywhere in it, in full, and the line."""
    found = []
    package = ["wirings", *path.relative_to(SOURCE).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (home, node.module) if part)
            found.append((module, node.lineno))
            if module == "wirings":  # `from wirings import core`
                found += [(f"wirings.{alias.name}", node.lineno) for alias in node.names]
    return found


def at_import(tree: ast.Module) -> list[ast.AST]:
    """The statements that run when a module is imported: not those in functions, nor those for type checkers."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        found.append(node)
        waiting += ast.iter_child_nodes(node)
    return found


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(SOURCE.parent.parent)}:{line}"


def test_every_folder_is_a_floor_with_rules() -> None:
    folders = {floor_of(path) for path in files()} - {""}
    assert folders <= set(USES), "say in USES what a new floor may import"


def test_no_arrow_points_up() -> None:
    wrong = []
    for path, tree in files().items():
        floor = floor_of(path)
        if not floor:
            continue
        for module, line in imported(tree, path):
            parts = module.split(".")
            if parts[0] != "wirings" or len(parts) < 2 or not (SOURCE / parts[1]).is_dir():
                continue
            if parts[1] != floor and parts[1] not in USES[floor]:
                wrong.append(f"{where(path, line)}: {floor} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_modules_beside_the_folders_are_used_from_above_only() -> None:
    """A module such as ``wirings/testing.py`` stands on the highest floor that it imports; nothing below may use it."""
    heights = {"core": 0, "makers": 2, "methods": 3, "kernels": 3, "sparse": 3, "attach": 4}
    heights |= {
        "models": 5,
        "data": 5,
        "analysis": 5,
        "training": 5,
        "procedures": 6,
        "studies": 7,
        "report": 8,
        "cli": 8,
    }
    stands: dict[str, int] = {}
    for path, tree in files().items():
        if not floor_of(path) and path.stem not in ("__init__", "__main__"):
            used = {module.split(".")[1] for module, _ in imported(tree, path) if module.startswith("wirings.")}
            stands[path.stem] = max((heights.get(name, 0) for name in used), default=0)
    wrong = []
    for path, tree in files().items():
        for module, line in imported(tree, path):
            parts = module.split(".")
            if parts[0] == "wirings" and len(parts) > 1 and stands.get(parts[1], 0) > heights.get(floor_of(path), 9):
                wrong.append(f"{where(path, line)}: {floor_of(path)} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_nobody_takes_names_from_the_front_door() -> None:
    """``from wirings import RigL`` would hide an arrow; the version is everybody's."""
    wrong = []
    for path, tree in files().items():
        if floor_of(path) in ("cli", ""):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "wirings" and not node.level:
                names = {alias.name for alias in node.names}
                if any(not (SOURCE / name).is_dir() and name != "__version__" for name in names):
                    wrong.append(where(path, node.lineno))
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("wirings", "wr")
                and node.attr != "__version__"
                and not (SOURCE / node.attr).is_dir()
            ):
                wrong.append(where(path, node.lineno))
    assert not wrong, "import from the module that defines it: " + ", ".join(wrong)


def test_only_the_command_line_prints() -> None:
    wrong = [
        where(path, node.lineno)
        for path, tree in files().items()
        if floor_of(path) != "cli"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong, ", ".join(wrong)


def test_only_the_report_draws() -> None:
    wrong = [
        where(path, line)
        for path, tree in files().items()
        if floor_of(path) != "report"
        for module, line in imported(tree, path)
        if module.split(".")[0] == "matplotlib"
    ]
    assert not wrong, ", ".join(wrong)


def test_nothing_heavy_is_imported_at_import() -> None:
    wrong = []
    for path, tree in files().items():
        allowed = MAY_LOAD_AT_ONCE.get(floor_of(path), set())
        for node in at_import(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for module, line in imported(node, path):
                    if module.split(".")[0] in HEAVY and module.split(".")[0] not in allowed:
                        wrong.append(f"{where(path, line)}: {module}")
    assert not wrong, "import it in the function that needs it: " + ", ".join(wrong)


def test_no_module_seeds_the_global_random_state() -> None:
    """But for training, where a run's seed also holds for what a user's own code draws."""
    wrong = [
        where(path, node.lineno)
        for path, tree in files().items()
        if floor_of(path) not in ("training", "cli")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("manual_seed", "seed", "seed_all", "manual_seed_all")
        and ast.unparse(node.func.value) in ("torch", "torch.cuda", "random", "np.random", "numpy.random")
    ]
    assert not wrong, ", ".join(wrong)


@pytest.mark.parametrize(
    "modules", ["wirings", "wirings.core.settings, wirings.makers, wirings.methods, wirings.attach"]
)
def test_importing_loads_neither_drawing_nor_kernels(modules: str) -> None:
    code = f"""
import sys
import {modules}
heavy = {{"matplotlib", "scipy", "pydantic", "jinja2", "rich", "cyclopts", "transformers"}} & sys.modules.keys()
assert not heavy, heavy
loaded = open("/proc/self/maps").read() if sys.platform == "linux" else ""
assert "/wirings_" not in loaded, "a kernel is loaded"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SOURCE.parent, check=False)
    assert done.returncode == 0, done.stderr
