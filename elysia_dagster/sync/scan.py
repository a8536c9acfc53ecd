"""The pass over the spool: every line read once, every change it asks for written to the draft and the index."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from elysia_dagster.errors import LineError
from elysia_dagster.sync.confine import ConfinedFolder, check_relative_path, check_repository_name
from elysia_dagster.sync.content import check_types, self_contained, wrong_type
from elysia_dagster.sync.engine import Work
from elysia_dagster.sync.folders import expand_folder
from elysia_dagster.sync.locate import OPEN_FOLDERS, Locator
from elysia_dagster.sync.parse import ChangesetRecord, Op, ParsedLine, parse_path, parse_record
from elysia_dagster.sync.planfile import FLAG_EXPANDED, FLAG_RECORD, DraftWriter
from elysia_dagster.sync.spool import OversizedLine, iterate_lines
from elysia_dagster.sync.unsent import UnsentWriter
from elysia_dagster.sync.winners import ChangeIndex, ChangeKind
from elysia_dagster.sync.written import WrittenPaths

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

_ROOT = (".", "./")

_PLAIN_WRITES = {"modify": ChangeKind.MODIFY, "add": ChangeKind.ADD}
_PLAIN_LENGTH = 1000
_UNUSUAL_STARTS = frozenset({"", '"', "/", "."})
_PAUSE_LINES = 8192


@dataclass(kw_only=True)
class Scan:
    """What the pass found out. ``changesets`` holds, by repository, its last ``new_changeset`` record;
    ``removed_folders`` are (repository, folder, line)."""

    repositories: list[str] = field(default_factory=list)
    changesets: dict[str, dict[str, Any]] = field(default_factory=dict)
    index: ChangeIndex = field(default_factory=ChangeIndex)
    is_self_contained: bool = True
    removed_folders: list[tuple[str, str, int]] = field(default_factory=list)


def scan_spool(
    work: Work,
    scan: Scan,
    locator: Locator,
    draft: DraftWriter,
    unsent: UnsentWriter,
    documents_below: Callable[[str, str], list[str]] | None,
    only: frozenset[int] | None = None,
) -> None:
    """Reads every line of the run's spool, or ``only`` some, into ``scan`` and ``draft``.

    ``documents_below`` lists what the ledger holds in a removed folder; with it the folder's earlier lines of the
    changeset go too, for which every path is remembered.
    """
    _Scanner(work, scan, locator, draft, unsent, documents_below).run(only)


class _Scanner:
    def __init__(
        self,
        work: Work,
        scan: Scan,
        locator: Locator,
        draft: DraftWriter,
        unsent: UnsentWriter,
        documents_below: Callable[[str, str], list[str]] | None,
    ) -> None:
        options = work.run.options
        assert options is not None
        self.scan = scan
        self._work = work
        self._locator = locator
        self._draft = draft
        self._unsent = unsent
        self._null_separated = options.null_separated
        self._numbers: dict[str, int] = {}
        self._segments: dict[str, int] = {}
        self._known: dict[str, tuple[int, ConfinedFolder | None, int]] = {}
        self._append = draft.rows.append
        self._written = WrittenPaths(documents_below) if documents_below else None
        self._place = (0, 0, 0)

    def run(self, only: frozenset[int] | None) -> None:
        limit = self._work.engine.settings.max_line_bytes
        separator = b"\0" if self._null_separated else b"\n"
        records = not self._null_separated
        for number, offset, raw in iterate_lines(self._work.spool, separator=separator, max_line_bytes=limit):
            if number % _PAUSE_LINES == 0:
                self._work.pause_point()
                self._draft.flush_if_full()
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
                elif not raw or (records and raw.isspace()):
                    self._unsent.blank(number)
                else:
                    self._path(raw)
            except LineError as error:
                # without the frames, which hold what was parsed of the line
                self._unsent.failed(number, raw, error.with_traceback(None), default=self._locator.default)

    def _record(self, raw: bytes) -> None:
        try:
            record = orjson.loads(raw)
        except orjson.JSONDecodeError:
            record = None
        if record and "new_changeset" not in record and not _carries_content(record):
            repo, op, path = record.get("repo"), record.get("op"), record.get("path")
            if (
                type(repo) is type(op) is type(path) is str
                and op in _PLAIN_WRITES
                and (len(record) == 3 or wrong_type(record) is None)
                and self._plain_write(repo, path, _PLAIN_WRITES[op], FLAG_RECORD)
            ):
                return
        record = None  # parsed anew: it may be thirty times as large as its line
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

    def _plain_write(self, repo: str, path: str, kind: ChangeKind, flags: int) -> bool:
        """The ordinary line in a hurry: a write of one plain path of a known repository, its content on disk.

        False, and nothing done, where anything about the line is out of the ordinary: ``_change`` reads it then. It
        must come to the same result there; a test holds the two together.
        """
        known = self._known.get(repo)
        if known is None or len(path) > _PLAIN_LENGTH or _is_unusual(path):
            return False
        repository, folder, segment = known
        size = 0
        if folder is not None:
            found, size = folder.kind_of(path)
            if found == "folder":
                return False
        self.scan.is_self_contained = False
        line, offset, length = self._place
        self._append((line, offset, length, repository, path, kind, flags, segment, size))
        if self._written:
            self._written.add(self.scan.repositories[repository], path)
        return True

    def _path(self, raw: bytes) -> None:
        try:
            if self._plain_write("", raw.decode(), ChangeKind.MODIFY, 0):
                return
        except UnicodeDecodeError:
            pass  # told apart, with the place in the line, by what follows
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
        self._known.clear()
        self.scan.changesets[repository] = parsed.record
        self._unsent.changeset(self._place[0], repository)

    def _repository(self, name: str) -> str:
        repository = name or self._locator.default
        if repository not in self._numbers:
            check_repository_name(repository)
            self._numbers[repository] = len(self.scan.repositories)
            self.scan.repositories.append(repository)
        if name not in self._known:
            folder = self._locator.folder(repository)
            if len(self._known) >= OPEN_FOLDERS:  # each holds its folder open
                self._known.clear()
            self._known[name] = (self._numbers[repository], folder, self._segments.get(repository, 0))
        return repository

    def _change(self, parsed: ParsedLine, flags: int) -> None:
        op, path, old_path, repo, record = parsed
        repository = self._repository(repo)
        if op is Op.DELETE:
            self._delete(repository, path, flags)
            return
        if record is not None:
            check_types(record, path)  # such a line cannot be read, so it may not supersede one that can
        if self.scan.is_self_contained:
            self.scan.is_self_contained = self_contained(record)
        if old_path is not None:
            old = self._locator.relative(repository, old_path)
            new = self._locator.relative(repository, path)
            size = self._place[2]
            if not _carries_content(record or {}) and (folder := self._locator.folder(repository)) is not None:
                size = folder.kind_of(new)[1]
            self._add(repository, old, ChangeKind.RENAME_OLD, flags)
            self._add(repository, new, ChangeKind.RENAME_NEW, flags, size)
            return
        if record is not None and _carries_content(record):
            self._add(repository, self._locator.relative(repository, path), _WRITES[op], flags, self._place[2])
            return
        is_folder = path[-1:] == "/" or path == "."
        relative = "" if path in _ROOT else self._locator.relative(repository, path.rstrip("/") if is_folder else path)
        folder = self._locator.folder(repository)
        size = 0
        if folder is not None and not is_folder:
            kind, size = folder.kind_of(relative)
            is_folder = kind == "folder"
        if is_folder:
            self._expand(repository, relative, _WRITES[op], flags)
        else:
            self._add(repository, relative, _WRITES[op], flags, size)

    def _delete(self, repository: str, path: str, flags: int) -> None:
        if not path.endswith("/"):
            self._add(repository, self._locator.relative(repository, path), ChangeKind.DELETE, flags)
            return
        below = self._locator.relative(repository, path.rstrip("/") or "/")
        self.scan.removed_folders.append((repository, below, self._place[0]))
        self._add(repository, below, ChangeKind.DELETE, flags)
        for each in self._written.remove_folder(repository, below) if self._written else ():
            self._append_change(repository, each, ChangeKind.DELETE, flags | FLAG_EXPANDED, 0)

    def _expand(self, repository: str, below: str, kind: ChangeKind, flags: int) -> None:
        folder = self._locator.folder(repository)
        if folder is None:
            raise LineError(
                f"The folder {below or '.'} of {repository} is not below the roots.",
                next_step="Add --root with the folder that holds the repository.",
            )
        found = list(expand_folder(folder, below))  # whole before the first is added: it may fail half way
        if below:
            self._add(repository, below, ChangeKind.FOLDER, flags)
        for path in found:
            self._add(repository, path, kind, flags | FLAG_EXPANDED, folder.kind_of(path)[1])

    def _add(self, repository: str, path: str, kind: ChangeKind, flags: int, size: int = 0) -> None:
        self._append_change(repository, path, kind, flags, size)
        if self._written:
            self._written.add(repository, path)

    def _append_change(self, repository: str, path: str, kind: ChangeKind, flags: int, size: int) -> None:
        segment = self._segments.get(repository, 0)
        self._append((*self._place, self._numbers[repository], path, kind, flags, segment, size))
        self._draft.flush_if_full()


def _is_unusual(path: str) -> bool:
    """Whether a path is quoted, absolute, a folder's, has an empty or dotted component, an arrow, or a NUL.

    Substring tests cost a tenth of the regular expression that says the same.
    """
    return (
        path[:1] in _UNUSUAL_STARTS
        or path[-1] == "/"
        or "/." in path
        or "//" in path
        or " -> " in path
        or "\0" in path
        or "\r" in path
    )


def _carries_content(record: dict[str, Any]) -> bool:
    """Whether what lies under the path on disk does not matter: it is neither read nor expanded."""
    return (
        ("content" in record and record["content"] is not None)
        or "content_base64" in record
        or ("skip_index" in record and bool(record["skip_index"]))
    )


def default_roots(text: str) -> tuple[Path, ...]:
    """The roots that a setting names, or the working directory."""
    return tuple(Path(part).expanduser().absolute() for part in text.split(os.pathsep) if part) or (Path.cwd(),)
