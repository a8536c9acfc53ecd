"""The pass over the spool: every line read once, every change it asks for written to the draft and the index."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elysia_dagster.errors import LineError
from elysia_dagster.sync.confine import check_relative_path, check_repository_name
from elysia_dagster.sync.content import self_contained
from elysia_dagster.sync.engine import Work
from elysia_dagster.sync.folders import expand_folder
from elysia_dagster.sync.locate import Locator
from elysia_dagster.sync.parse import ChangesetRecord, Op, ParsedLine, parse_path, parse_record
from elysia_dagster.sync.planfile import FLAG_EXPANDED, FLAG_RECORD, DraftWriter
from elysia_dagster.sync.spool import OversizedLine, iterate_lines
from elysia_dagster.sync.unsent import UnsentWriter
from elysia_dagster.sync.winners import ChangeIndex, ChangeKind

OP_NAMES = {
    ChangeKind.ADD: "add",
    ChangeKind.MODIFY: "modify",
    ChangeKind.DELETE: "delete",
    ChangeKind.RENAME_OLD: "modify",
    ChangeKind.RENAME_NEW: "modify",
    ChangeKind.FOLDER: "modify",
}
"""A change's operation as the line tables name it."""

_WRITES = {Op.ADD: ChangeKind.ADD, Op.MODIFY: ChangeKind.MODIFY}

_PAUSE_LINES = 8192


@dataclass(kw_only=True)
class Scan:
    """What the pass found out. ``changesets`` holds, by repository, its last ``new_changeset`` record."""

    repositories: list[str] = field(default_factory=list)
    changesets: dict[str, dict[str, Any]] = field(default_factory=dict)
    index: ChangeIndex = field(default_factory=ChangeIndex)
    is_self_contained: bool = True
    has_folder_deletes: bool = False


def scan_spool(
    work: Work,
    locator: Locator,
    draft: DraftWriter,
    unsent: UnsentWriter,
    documents_below: Callable[[str, str], list[str]],
    only: frozenset[int] | None = None,
) -> Scan:
    """Reads every line of the run's spool, or ``only`` some. ``documents_below`` lists what the ledger holds in a
    removed folder."""
    scanner = _Scanner(work, locator, draft, unsent, documents_below)
    scanner.run(only)
    return scanner.scan


class _Scanner:
    def __init__(
        self,
        work: Work,
        locator: Locator,
        draft: DraftWriter,
        unsent: UnsentWriter,
        documents_below: Callable[[str, str], list[str]],
    ) -> None:
        options = work.run.options
        assert options is not None
        self.scan = Scan()
        self._work = work
        self._locator = locator
        self._draft = draft
        self._unsent = unsent
        self._documents_below = documents_below
        self._null_separated = options.null_separated
        self._numbers: dict[str, int] = {}
        self._segments: dict[str, int] = {}
        self._place = (0, 0, 0)

    def run(self, only: frozenset[int] | None) -> None:
        limit = self._work.engine.settings.max_line_bytes
        separator = b"\0" if self._null_separated else b"\n"
        records = not self._null_separated
        for number, offset, raw in iterate_lines(self._work.spool, separator=separator, max_line_bytes=limit):
            if number % _PAUSE_LINES == 0:
                self._work.pause_point()
            if only is not None and number not in only:
                continue
            if isinstance(raw, OversizedLine):
                self._unsent.oversized(number, raw, limit)
                continue
            if number == 1 and records and raw.startswith(b"\xef\xbb\xbf"):
                raw, offset = raw[3:], offset + 3  # noqa: PLW2901  a byte order mark belongs to no line
            self._place = (number, offset, len(raw))
            try:
                if records and raw.startswith(b"{"):
                    self._record(raw)
                elif raw.isspace() or not raw:
                    self._unsent.blank(number)
                else:
                    self._path(raw)
            except LineError as error:
                self._unsent.failed(number, raw, error)

    def _record(self, raw: bytes) -> None:
        try:
            parsed = parse_record(raw)
        except LineError:
            if self._names_a_file(raw):
                self._path(raw)
                return
            raise
        if isinstance(parsed, ChangesetRecord):
            self._changeset(parsed)
        else:
            self._change(parsed, FLAG_RECORD)

    def _path(self, raw: bytes) -> None:
        self.scan.is_self_contained = False
        self._change(parse_path(raw, literal=self._null_separated), 0)

    def _names_a_file(self, raw: bytes) -> bool:
        folder = self._locator.folder(self._locator.default)
        if folder is None or b"\0" in raw or len(raw) > 4096:
            return False
        try:
            path = check_relative_path(raw.decode("utf-8").rstrip("\r"))
        except (UnicodeDecodeError, LineError):
            return False
        return folder.kind_of(path)[0] != "missing"

    def _changeset(self, parsed: ChangesetRecord) -> None:
        repository = self._repository(parsed.repo)
        self._segments[repository] = self._segments.get(repository, 0) + 1
        self.scan.changesets[repository] = parsed.record
        self._unsent.changeset(self._place[0], repository)

    def _repository(self, name: str) -> str:
        repository = name or self._locator.default
        if repository not in self._numbers:
            check_repository_name(repository)
            self._numbers[repository] = len(self.scan.repositories)
            self.scan.repositories.append(repository)
        return repository

    def _change(self, parsed: ParsedLine, flags: int) -> None:
        repository = self._repository(parsed.repo)
        record = parsed.record
        if parsed.op is not Op.DELETE and record is not None and self.scan.is_self_contained:
            self.scan.is_self_contained = self_contained(record)
        path = parsed.path
        if parsed.op is Op.DELETE:
            self._delete(repository, path, flags)
            return
        needs_file = record is None or (record.get("content") is None and "content_base64" not in record)
        if parsed.old_path is not None:
            old = self._locator.relative(repository, parsed.old_path)
            new = self._locator.relative(repository, path)
            self._add(repository, old, ChangeKind.RENAME_OLD, flags)
            self._add(repository, new, ChangeKind.RENAME_NEW, flags)
            return
        size = self._place[2]
        if needs_file and not (record is not None and record.get("skip_index")):
            folder_path = self._as_folder(repository, path)
            if folder_path is not None:
                self._expand(repository, folder_path, _WRITES[parsed.op], flags)
                return
            relative = self._locator.relative(repository, path)
            folder = self._locator.folder(repository)
            if folder is not None:
                kind, size = folder.kind_of(relative)
                if kind == "folder":
                    self._expand(repository, relative, _WRITES[parsed.op], flags)
                    return
        else:
            relative = self._locator.relative(repository, path)
        self._add(repository, relative, _WRITES[parsed.op], flags, size)

    def _as_folder(self, repository: str, path: str) -> str | None:
        """A path that can only be a folder (it ends with a slash, or is the root), in canonical form."""
        if path in (".", "./"):
            return ""
        if not path.endswith("/"):
            return None
        return self._locator.relative(repository, path.rstrip("/") or "/")

    def _delete(self, repository: str, path: str, flags: int) -> None:
        if not path.endswith("/"):
            self._add(repository, self._locator.relative(repository, path), ChangeKind.DELETE, flags)
            return
        self.scan.has_folder_deletes = True
        below = self._locator.relative(repository, path.rstrip("/") or "/")
        self._add(repository, below, ChangeKind.DELETE, flags)
        for each in self._documents_below(repository, below):
            self._add(repository, each, ChangeKind.DELETE, flags | FLAG_EXPANDED)

    def _expand(self, repository: str, below: str, kind: ChangeKind, flags: int) -> None:
        folder = self._locator.folder(repository)
        if folder is None:
            raise LineError(
                f"The folder {below or '.'} of {repository} is not below the roots.",
                next_step="Add --root with the folder that holds the repository.",
            )
        if below:
            self._add(repository, below, ChangeKind.FOLDER, flags)
        for path in expand_folder(folder, below):
            self._add(repository, path, kind, flags | FLAG_EXPANDED, folder.kind_of(path)[1])

    def _add(self, repository: str, path: str, kind: ChangeKind, flags: int, size: int = 0) -> None:
        line, offset, length = self._place
        self._draft.add(line, offset, length, self._numbers[repository], path, kind, flags)
        self.scan.index.add(line, repository, path, kind, self._segments.get(repository, 0), size)


def default_roots(text: str) -> tuple[Path, ...]:
    """The roots that a setting names, or the working directory."""
    return tuple(Path(part).expanduser().absolute() for part in text.split(os.pathsep) if part) or (Path.cwd(),)
