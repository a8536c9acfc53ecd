"""README and ``docs`` say what is so: their commands run, what they name is there, and what is there they name."""

import re
import shlex
from collections import Counter
from enum import Enum
from pathlib import Path

import click
import pytest
from pages.blocks import KINDS, ROOT, Block, blocks_of
from pages.blocks import pages as every_page
from pages.made import MADE
from pages.sandbox import Failed, Sandbox
from pages.schema_page import missing_words
from pages.settings_page import GROUPS

from elysia_dagster.cli import index
from elysia_dagster.errors import ElysiaError, PermanentError
from elysia_dagster.models import DocumentState, ErrorKind, InboxState, Outcome, RunStatus
from elysia_dagster.settings import Settings

PAGES = [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in every_page()]

NEVER_RUN = {"README.md": 2, "docs/commands.md": 1, "docs/stores.md": 1}
"""Blocks that need what a test has not, or never end."""

OPERATING = ROOT / "docs" / "operating.md"

pytestmark = pytest.mark.timeout(1800)  # a command that hangs ends by the sandbox's own limit


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """One for all pages: a state to look at takes some seconds to make."""
    return Sandbox(tmp_path_factory.mktemp("sandbox"))


@pytest.mark.parametrize("page", PAGES)
def test_its_commands_run(page: Path, sandbox: Sandbox) -> None:
    for block in blocks_of(page):
        if block.is_short:
            sandbox.run(block)


def test_only_these_are_never_run_and_each_says_why() -> None:
    blocks = [block for page in every_page() for block in blocks_of(page)]
    left_out = [block for block in blocks if not block.is_run]
    assert Counter(block.page for block in left_out) == NEVER_RUN
    assert all(block.why for block in blocks if block.mark)
    assert sum(block.is_short for block in blocks) > 15


@pytest.mark.parametrize("page", PAGES)
def test_no_command_hides_in_a_block_of_another_kind(page: Path) -> None:
    for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        if kind not in KINDS:
            assert not kind, f"what is a block of {kind}?"
            assert not re.search(r"^\$ |^(git|make|dagster|sqlite3) ", body, re.MULTILINE), body


def test_a_block_that_fails_is_told(sandbox: Sandbox) -> None:
    for kind, body in (("sh", "false\ntrue\n"), ("console", "$ exit 3\nnothing\n"), ("sql", "SELECT nothing;")):
        block = Block(page="x.md", line=1, kind=kind, body=body, mark="", why="")
        with pytest.raises(Failed, match=r"x\.md:1"):
            sandbox.run(block)
    block = Block(page="x.md", line=1, kind="sh", body="exit 3\n", mark="exit", why="3")
    assert sandbox.run(block) == ""


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_of_the_sources_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text() == MADE[name](), "make docs"


def test_every_table_and_column_has_words() -> None:
    assert not missing_words()


def test_every_group_of_settings_begins_with_one() -> None:
    assert set(GROUPS) <= set(Settings.__dataclass_fields__)
    assert (ROOT / "docs" / "settings.md").read_text().count("`ELYSIACTL_") >= len(Settings.__dataclass_fields__)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_that_it_names_are_there(page: Path) -> None:
    """Also those in the middle of a sentence, with their options."""
    for span in re.findall(r"`(elysiactl index [^`]*)`", page.read_text()):
        for part in span.replace("\\|", "|").split(" | "):
            words = part.replace("…", " ").split()
            if words[:2] != ["elysiactl", "index"] or len(words) < 3:
                continue
            command = index.commands.get(words[2])
            assert command is not None, span
            options = {name for each in command.params if isinstance(each, click.Option) for name in each.opts}
            assert set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", " ".join(words[3:]))) <= options, span


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL)):
        if "://" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("kind", [RunStatus, Outcome, ErrorKind, InboxState, DocumentState])
def test_the_operators_page_names_every_status(kind: type[Enum]) -> None:
    text = OPERATING.read_text() + (ROOT / "docs" / "schema.md").read_text()
    assert not [each.value for each in kind if f"`{each.value}`" not in text]


def test_the_operators_page_names_every_error_with_its_exit_code() -> None:
    text = OPERATING.read_text()
    for each in _below(ElysiaError):
        if each.__module__ == ElysiaError.__module__ and each not in (ElysiaError, PermanentError):
            code = 1 if each.__name__ == "LineError" else each.exit_code
            assert re.search(rf"^\| `{each.__name__}` \| .* \| {code} \|$", text, re.MULTILINE), each.__name__


def test_the_operators_page_names_every_job_sensor_schedule_and_check() -> None:
    from elysia_dagster.definitions import definitions

    text = OPERATING.read_text() + (ROOT / "docs" / "commands.md").read_text()
    repository = definitions.get_repository_def()
    names = {
        *(each.name for each in repository.get_all_jobs() if not each.name.startswith("__")),
        *(each.name for each in repository.sensor_defs),
        *(each.name for each in repository.schedule_defs),
        *(key.name for key in repository.asset_graph.asset_check_keys),
    }
    assert len(names) > 10
    assert not {each for each in names if f"`{each}`" not in text}


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) < 140
    assert shlex.split(next(line for line in lines if line.startswith("make sync")), comments=True) == ["make", "sync"]


def _below(kind: type[ElysiaError]) -> list[type[ElysiaError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _below(child))]
