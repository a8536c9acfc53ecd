"""Where the Weaviate server is not installed: what tests say, and how it is built."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from weaviate_server.binary import LOOPBACK, VERSION, binary, get

ROOT = Path(__file__).parents[2]
ASKS_FOR_ONE = "tests/integration/test_weaviate_server.py::test_this_session_has_one"

GO = """#!/bin/sh
case "$1" in
  mod) printf '{"Dir": "%s"}' "$SOURCE" ;;
  install)
    test -z "$BROKEN" || exit 1
    cat adapters/handlers/*/*.go adapters/handlers/*/*/*.go > "$GOBIN/weaviate-server" ;;
esac
"""
"""A Go whose source is $SOURCE, and whose program is the text of it."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where no server is."""
    monkeypatch.setenv("ELYSIA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def go(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Go that is installed, and the source that it downloads: read-only, as Go leaves it."""
    source = tmp_path / "source"
    for name, (listens, times) in LOOPBACK.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"  {listens} port)\n" * times)
        (source / name).chmod(0o444)
    program = tmp_path / "bin" / "go"
    program.parent.mkdir()
    program.write_text(GO)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("SOURCE", str(source))
    return source


@pytest.mark.parametrize("ci", ["true", ""])
def test_tests_that_need_it_are_skipped_but_fail_in_continuous_integration(cache: Path, ci: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", ASKS_FOR_ONE],
        cwd=ROOT,
        env={**environment, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    what_to_type = "no Weaviate server is installed: type `make weaviate-server` (it needs Go)"
    (told,) = [line for line in done.stdout.splitlines() if line.startswith(("SKIPPED", "ERROR"))]
    assert what_to_type in done.stdout
    if ci:
        assert done.returncode == 1
        assert told.startswith("ERROR")
        assert "1 error" in done.stdout
    else:
        assert done.returncode == 0
        assert told.startswith("SKIPPED")
        assert what_to_type in told


def test_without_go_it_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(SystemExit, match="is built by Go, which is not installed: install it"):
        get()
    assert not cache.exists()


def test_it_is_built_to_listen_on_loopback_only(go: Path, cache: Path) -> None:
    left_over = binary().parent / "build-1"
    left_over.mkdir(parents=True)
    get()
    built = binary().read_text()
    assert '":%d"' not in built
    assert built.count('"127.0.0.1:%d"') == sum(times for _, times in LOOPBACK.values())
    assert sorted(each.name for each in binary().parent.iterdir()) == ["lock", "weaviate-server"]
    assert '":%d"' in "".join(each.read_text() for each in go.rglob("*.go")), "Go's own copy stays as it is"


def test_it_is_built_once(go: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    get()
    monkeypatch.setenv("PATH", "")
    get()


def test_a_build_that_fails_leaves_nothing(go: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKEN", "yes")
    with pytest.raises(SystemExit, match=f"Go could not build the Weaviate server {VERSION}"):
        get()
    assert [each.name for each in binary().parent.iterdir()] == ["lock"]


def test_another_source_is_not_built_to_listen_who_knows_where(go: Path, cache: Path) -> None:
    changed = go / next(iter(LOOPBACK))
    changed.chmod(stat.S_IRUSR | stat.S_IWUSR)
    changed.write_text("listens in another way")
    with pytest.raises(SystemExit, match="listens in another way than LOOPBACK"):
        get()
    assert not binary().exists()
