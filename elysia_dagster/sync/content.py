"""What a line's document holds: the bytes in the line where they are the file's own, else the file beneath its root.

mgit 0.13.0 puts a summary or a sample of a file into ``content`` and says nothing of it, but gives the SHA-256 of the
file as ``content_hash``: hashing tells. It also gives the content of what a symbolic link points to, so the path is
looked at before any content in a line is believed.
"""

import base64
import binascii
import codecs
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elysia_dagster.errors import LineError
from elysia_dagster.sync.confine import ConfinedFolder, FileContent, SymbolicLink, check_relative_path

_YEAR_10000 = 253_402_300_800.0
"""In seconds since 1970: a date ends before."""

LINK_SKIPPED = "symbolic link: never followed"

_TYPES = {
    "skip_index": (bool, "true or false"),
    "content": (str, "a string"),
    "content_base64": (str, "a string"),
    "content_hash": (str, "a string"),
    "content_ref": (str, "a string"),
    "is_truncated": (bool, "true or false"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """A document's raw bytes; ``modified_at`` is in seconds since 1970 (UTC), None where the source does not say."""

    data: bytes
    modified_at: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """The document is not to be indexed, and why."""

    reason: str


def resolve_content(
    record: Mapping[str, Any] | None,
    *,
    path: str,
    folder: ConfinedFolder | None,
    roots: Sequence[Path],
    max_document_bytes: int,
) -> Content | Skipped:
    """The content of the document at ``path`` (checked, in its repository) that a line adds or modifies.

    ``record`` is None for a line that is a plain path. ``folder`` is None where the repository's folder is not known.
    Raises ``LineError`` and ``ResourceExhausted``; what is wrong with the record itself is permanent.
    """
    try:
        found = _resolve(record or {}, path, folder, roots, max_document_bytes)
    except SymbolicLink as link:
        if link.inside:
            return Skipped(reason=LINK_SKIPPED)
        raise
    if isinstance(found, Content) and found.data in (b"", codecs.BOM_UTF8):
        return Skipped(reason="empty")
    return found


def self_contained(record: Mapping[str, Any] | None) -> bool:
    """Whether the line carries all of its content, so that the same bytes always mean the same document."""
    if not record or wrong_type(record) is not None:
        return False
    if record.get("skip_index") or record.get("content_base64") is not None:
        return True
    return _trusted_text(record) is not None


def _resolve(
    record: Mapping[str, Any], path: str, folder: ConfinedFolder | None, roots: Sequence[Path], max_bytes: int
) -> Content | Skipped:
    check_types(record, path)
    if record.get("skip_index"):
        return Skipped(reason="skip_index")
    inline = _inline(record, path, max_bytes)
    if inline is not None:
        if folder is not None:
            _refuse_link(folder, path)
        return Content(data=inline, modified_at=_moment(record.get("modified_at")))
    reference = record.get("content_ref")
    if reference is not None:
        if folder is not None:
            _refuse_link(folder, path)
        file = _read_reference(reference, folder, roots, max_bytes)
    elif folder is not None:
        file = folder.read_file(path, max_bytes=max_bytes)
    else:
        raise LineError(
            f"The line does not carry the content of {path!r}, and its repository lies under none of the roots.",
            next_step="Add the folder that holds the repository as --root.",
        )
    return Content(data=file.data, modified_at=file.modified_at)


def _moment(seconds: Any) -> float | None:
    """When the file of a line's content was last changed, where the line says so in seconds since 1970 (UTC)."""
    return seconds if type(seconds) is float and 0 <= seconds < _YEAR_10000 else None


def check_types(record: Mapping[str, Any], path: str) -> None:
    """Raises ``LineError`` (permanent) where a field that tells of the content of ``path`` is not of its type."""
    if (wrong := wrong_type(record)) is not None:
        raise LineError(f"The field {wrong!r} of {path!r} is not {_TYPES[wrong][1]}.", permanent=True)


def wrong_type(record: Mapping[str, Any]) -> str | None:
    """The first field that tells of a document's content and is not of its type, or None."""
    for field, value in record.items():
        if value is not None and field in _TYPES and type(value) is not _TYPES[field][0]:
            return field
    return None


def _inline(record: Mapping[str, Any], path: str, max_bytes: int) -> bytes | None:
    encoded = record.get("content_base64")
    if encoded is not None:
        # Judged by its length before it is decoded: four characters give three bytes, less the padding.
        size = len(encoded) // 4 * 3 - encoded.count("=", -2)
        if size > max_bytes:
            raise _too_large(path, size, max_bytes)
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise LineError(f"The content_base64 of {path!r} is not base64.", permanent=True) from error
    data = _trusted_text(record)
    if data is not None and len(data) > max_bytes:
        raise _too_large(path, len(data), max_bytes)
    return data


def _too_large(path: str, size: int, max_bytes: int) -> LineError:
    return LineError(
        f"The document {path!r} has {size:,} bytes, over the limit of {max_bytes:,} bytes a document.", permanent=True
    )


def _trusted_text(record: Mapping[str, Any]) -> bytes | None:
    """The bytes of ``content`` where they are the file's own, None where they are not or there are none."""
    text = record.get("content")
    if text is None or record.get("content_error") is not None:
        return None
    try:
        data: bytes = text.encode("utf-8")
    except UnicodeEncodeError:
        return None  # a lone surrogate stands for bytes that JSON could not carry
    digest = record.get("content_hash")
    if digest:
        return data if hashlib.sha256(data).hexdigest() == digest.lower().removeprefix("sha256:") else None
    if record.get("is_truncated") or _looks_like_summary(text):
        return None
    return data


def _looks_like_summary(text: str) -> bool:
    if not text.startswith("File: "):
        return False
    head = text[:2_000]
    return "\nType: " in head and "\nSize: " in head


def _refuse_link(folder: ConfinedFolder, path: str) -> None:
    """Raise for a path that is, or passes through, a symbolic link now: the line's content came from behind it."""
    kind, _ = folder.kind_of(path)
    if kind in ("link", "other"):
        folder.refuse_link(path)


def _read_reference(
    reference: str, folder: ConfinedFolder | None, roots: Sequence[Path], max_bytes: int
) -> FileContent:
    """The file that ``content_ref`` names: absolute inside a root, or relative to the repository's folder or a root.

    Nothing in a ``.git``: a document is not indexed from there, and git keeps credentials in its configuration.
    """
    if ".git" in reference.split("/"):
        raise LineError(f"The content_ref {reference!r:.200} lies in a .git, of which nothing is read.", permanent=True)
    if reference.startswith("/"):
        for root in roots:
            for base in (root, root.resolve()):
                if reference.startswith(f"{base}/"):
                    relative = check_relative_path(reference[len(str(base)) + 1 :])
                    with ConfinedFolder(root.resolve()) as opened:
                        return opened.read_file(relative, max_bytes=max_bytes)
        raise LineError(
            f"The content_ref {reference!r:.200} lies outside every root.",
            next_step="Add the folder that holds it as --root.",
        )
    relative = check_relative_path(reference)
    if folder is not None and folder.kind_of(relative)[0] != "missing":
        return folder.read_file(relative, max_bytes=max_bytes)
    for root in roots:
        with ConfinedFolder(root.resolve()) as opened:
            if opened.kind_of(relative)[0] != "missing":
                return opened.read_file(relative, max_bytes=max_bytes)
    raise LineError(
        f"The content_ref {reference!r:.200} names no file in the repository's folder or a root.",
        next_step="Add the folder that holds it as --root.",
    )
