"""The benchmarks in their short form: that each still works and what it counts is right. No time is judged here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
needs_server = pytest.mark.usefixtures("weaviate_binary")


def figures(row: str, folder: Path) -> list[dict[str, Any]]:
    """What a row's benchmark prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--json", "--only", row, "--folder", str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []  # it cleans up behind itself
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert {each["row"] for each in found} == {row}
    return found


def test_every_settled_line_has_its_rows_and_is_counted(tmp_path: Path) -> None:
    (figure,) = figures("settling", tmp_path)
    details = figure["details"]
    assert details["completed_lines"] == details["present_documents"] == details["success_count"] == details["lines"]


def test_every_line_is_planned_once(tmp_path: Path) -> None:
    for figure in figures("planning", tmp_path):
        assert figure["details"]["planned_lines"] == figure["details"]["lines"]


def test_a_resume_uses_the_plan_on_disk_and_begins_at_the_first_unsettled_line(tmp_path: Path) -> None:
    (figure,) = figures("resuming", tmp_path)
    details = figure["details"]
    assert details["is_same_plan"]
    assert details["first_line"] == details["lines"] - details["unsettled"] + 1
    assert details["changes"] == details["embedded"] == 200


def test_unchanged_documents_are_not_embedded_again(tmp_path: Path) -> None:
    (figure,) = figures("unchanged", tmp_path)
    details = figure["details"]
    first, *later = details["outcomes"]
    assert first == {"indexed": details["lines"]}
    assert all(outcomes == {"unchanged": details["lines"]} for outcomes in later)
    assert details["written_again"] == 0


def test_the_shell_and_the_bare_loop_index_the_same_documents(tmp_path: Path) -> None:
    (figure,) = figures("first_sync", tmp_path)
    details = figure["details"]
    assert details["completed_lines"] == details["documents"] <= details["rows"]


def test_the_job_indexes_the_same_documents(tmp_path: Path) -> None:
    (figure,) = figures("dagster_job", tmp_path)
    assert figure["details"]["completed_lines"] == figure["details"]["documents"]


def test_memory_is_bounded_and_every_line_arrives(tmp_path: Path) -> None:
    memory, time, with_lancedb = figures("growth", tmp_path)
    for run in memory["details"]["runs"] + with_lancedb["details"]["runs"]:
        assert run["outcomes"] == {"indexed": run["lines"]}
        assert run["status"] == "completed"
    # 16 times the lines; a vector of 4 kB, a chunk and its rows held for each would be 30 MB more
    smallest, *_, largest = (run["peak_bytes"] for run in memory["details"]["runs"])
    assert largest < 150e6
    assert largest - smallest < 30e6
    assert set(time["details"]["exponents"]) == {"wall_s", "cpu_s"}


def test_a_comparison_looks_at_every_object_and_finds_nothing(tmp_path: Path) -> None:
    speed, memory = figures("reconciling", tmp_path)
    for run in (speed["details"], *memory["details"]["runs"]):
        assert run["differing"] == 0
        assert run["documents"] * 4 == run["objects"]
    assert memory["details"]["runs"][-1]["peak_bytes"] < 150e6


def test_status_ends_well(tmp_path: Path) -> None:
    (figure,) = figures("starting", tmp_path)
    assert len(figure["details"]["seconds"]) == 2


def test_the_embedder_finds_functions_by_their_docstrings(tmp_path: Path) -> None:
    (figure,) = figures("embedding", tmp_path)
    assert figure["details"]["pairs"] == 300
    assert figure["details"]["mrr"] > 0.6  # among 300; among 4,000 it is lower


@needs_server
def test_sync_and_bare_loop_write_the_same_objects_to_weaviate(tmp_path: Path) -> None:
    (figure,) = figures("weaviate_first_sync", tmp_path)
    details = figure["details"]
    assert details["objects"] == [details["documents"]] * 2
    assert details["all_right"] == [True, True]
    assert details["errors"] == []


@needs_server
def test_unchanged_documents_on_weaviate_cost_no_request_each(tmp_path: Path) -> None:
    (figure,) = figures("weaviate_unchanged", tmp_path)
    details = figure["details"]
    assert all(outcomes == {"unchanged": details["documents"]} for outcomes in details["outcomes"][1:])
    assert details["embedded"] == details["objects"] == details["documents"]
    assert details["most_requests"] <= 20
    for requests in details["requests"][1:]:
        assert not {"BatchObjects", "BatchDelete", "Search"} & {name.rpartition(" ")[2] for name in requests}


@needs_server
def test_a_hundredth_changed_on_weaviate_is_all_that_is_embedded(tmp_path: Path) -> None:
    (figure,) = figures("weaviate_changed", tmp_path)
    details = figure["details"]
    assert details["counts"] == [{"deleted": 6, "indexed": 6, "unchanged": 588}]
    assert (details["objects"], details["embedded"]) == ([details["documents"]], [6])
    assert details["all_right"] == [True]


@needs_server
def test_every_row_of_the_peers_ends_with_a_true_collection(tmp_path: Path) -> None:
    parts = {each["details"]["part"]: each["details"] for each in figures("weaviate_peers", tmp_path)}
    assert list(parts) == ["first_sync", "unchanged", "changed", "killed_embedded", "killed_stored", "rejected"]
    for details in parts.values():
        assert (details["all_right"], details["error"], details["objects"]) == (True, None, details["documents"])
    for point in ("killed_embedded", "killed_stored"):
        assert parts[point]["embedded_before"] > 0
        assert parts[point]["embedded_twice"] <= 200
    assert parts["rejected"]["first_error"]


@pytest.mark.parametrize(("size_to", "expected"), [(1.0, 1.0), (1.2, 1.2), (0.5, 0.5)])
def test_the_exponent_is_the_one_of_the_curve(size_to: float, expected: float) -> None:
    script = (
        "from benchmarks.growth import exponent\n"
        "sizes = [10_000, 100_000, 1_000_000]\n"
        f"print(exponent(sizes, [3e-5 * size ** {size_to} for size in sizes]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert float(done.stdout) == pytest.approx(expected)
