"""What each part of the package may import, by its sources and by what a process that imported it holds."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import elysia_dagster

PACKAGE = Path(elysia_dagster.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
STORES = ["lancedb", "weaviate", "pandas"]
MODELS = ["sklearn", "scipy", "fastembed", "onnxruntime", "openai", "httpx"]


def imported_by(path: Path) -> Iterator[str]:
    """Every module that a source names in an import, wherever it stands in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def may_know_dagster(path: Path) -> bool:
    """Dagster is the business of one folder and of the module that wires it."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] == "defs" or inside == Path("definitions.py")


def test_only_the_dagster_layer_imports_dagster() -> None:
    guilty = {
        str(path.relative_to(PACKAGE)): name
        for path in SOURCES
        for name in imported_by(path)
        if not may_know_dagster(path)
        and (name.partition(".")[0] == "dagster" or name.startswith(("elysia_dagster.def",)))
    }
    assert guilty == {}


def test_no_postponed_annotations_where_dagster_reads_them() -> None:
    guilty = [path.name for path in SOURCES if may_know_dagster(path) and "__future__" in set(imported_by(path))]
    assert guilty == []


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        pytest.param("elysia_dagster.definitions", [*STORES, *MODELS, "alembic"], id="definitions"),
        pytest.param("elysia_dagster.cli", ["dagster", *STORES, *MODELS, "pyarrow", "alembic"], id="cli"),
    ],
)
def test_a_start_loads_nothing_heavy(module: str, banned: list[str]) -> None:
    program = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()).isdisjoint(banned)


def test_loading_the_definitions_opens_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; touched = []\n"
        "import dagster, elysia_dagster\n"
        "def hear(event, args):\n"
        "    if event in ('sqlite3.connect', 'socket.connect', 'os.mkdir'): touched.append((event, args))\n"
        "sys.addaudithook(hear)\n"
        "import elysia_dagster.definitions as loaded\n"
        "repository = loaded.definitions.get_repository_def()\n"
        "assert len(repository.get_all_jobs()) >= 5 and len(repository.schedule_defs) >= 4\n"
        "assert not [each for each in touched if '__pycache__' not in str(each)], touched\n"
    )
    state = tmp_path / "state"
    wrong = [{"BATCH_SIZE": "not a number"}, {"CLEANUP_CRON": "every night", "TIMEZONE": "Mars/Base"}]
    for settings in wrong:
        environment = {f"ELYSIACTL_{name}": value for name, value in settings.items()}
        environment.update({"ELYSIACTL_CHECKPOINT_DB_DIR": str(state), "PYTHONPATH": os.pathsep.join(sys.path)})
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)
    assert not state.exists()
