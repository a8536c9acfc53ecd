"""Every setting, read from the environment in this module only.

Each setting is one field of ``Settings``; its environment variable is ``ELYSIACTL_`` and the field's name in upper case
(without the unit's suffix), and the spelling ``elysiactl_…`` is read too, as is ``WCD_…`` where a field says so. No
``.env`` file is read.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from elysia_dagster.errors import CheckpointError, UsageError
from elysia_dagster.exhaustion import exhausted

DATABASE_NAME = "sync_checkpoints.db"
INBOX_NAME = "inbox"
SYSTEM_STATE_FOLDER = Path("/var/lib/elysiactl")


MOST_DAYS = 36_500.0
"""A century: what began longer ago than a few of them has no date."""


def setting(
    default: Any,
    variable: str,
    meaning: str,
    *,
    also: str = "",
    secret: bool = False,
    header: bool = False,
    may_be_zero: bool = False,
    most: float = 1e15,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field of ``Settings`` with its environment variable (without prefix), what it means, and a number's range.

    ``also`` is a variable of other programs that is read where ours is not set. ``choices`` are the only values of a
    text, in capitals; it may be written in any case. ``header`` says that the text is sent in a header of HTTP: white
    space around it is left out, and printable ASCII is all that it may hold.
    """
    return field(
        default=default,
        repr=not secret,
        metadata={
            "variable": variable,
            "meaning": meaning,
            "also": also,
            "secret": secret,
            "header": header,
            "may_be_zero": may_be_zero,
            "most": most,
            "choices": choices,
        },
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an installation sets once; command options and Dagster config override single fields."""

    checkpoint_db_dir: str = setting("", "CHECKPOINT_DB_DIR", "state folder: checkpoint database, spools, vectors")
    checkpoint_db_url: str = setting(
        "", "CHECKPOINT_DB_URL", "database URL (postgresql+psycopg://…) in place of the SQLite file", secret=True
    )
    root: str = setting("", "ROOT", f"folders that hold the repositories, separated by '{os.pathsep}'")
    repo: str = setting("", "REPO", "repository of lines that name none")
    collection: str = setting("SRC_ENTERPRISE__", "COLLECTION", "collection to write")
    store: str = setting("", "STORE", "store URL; default lancedb:<state folder>/vectors")
    embedder: str = setting("hashing", "EMBEDDER", "hashing, openai:<model>, fastembed:<model> or store")
    inbox: str = setting("", "INBOX", "folder where producers drop changesets; default <state folder>/inbox")
    inbox_quiet_s: float = setting(
        5.0, "INBOX_QUIET", "seconds that a file of the inbox has not changed for before it counts", may_be_zero=True
    )
    inbox_interval_s: int = setting(10, "INBOX_INTERVAL", "seconds between two looks at the inbox, at least")
    inbox_runs: int = setting(20, "INBOX_RUNS", "runs of the inbox that are asked for at once")
    inbox_settled: str = setting(
        "MOVE",
        "INBOX_SETTLED",
        "what becomes of settled files: MOVE (to done/ and failed/ in the inbox) or KEEP (they stay)",
        choices=("MOVE", "KEEP"),
    )
    inbox_failed_lines: str = setting(
        "PASS",
        "INBOX_FAILED_LINES",
        "whether failed lines FAIL the Dagster run of a file of the inbox, or it may PASS",
        choices=("PASS", "FAIL"),
    )
    timezone: str = setting("UTC", "TIMEZONE", "time zone of the schedules, e.g. Europe/Berlin")
    cleanup_cron: str = setting("30 2 * * *", "CLEANUP_CRON", "when old runs are dropped and space is given back")
    retry_cron: str = setting("*/15 * * * *", "RETRY_CRON", "when failed lines that are due are tried again")
    reconcile_cron: str = setting("0 4 * * 0", "RECONCILE_CRON", "when the collection is compared with the ledger")
    collect_cron: str = setting("*/15 * * * *", "COLLECT_CRON", "when the producer command is run")
    collect_command: str = setting(
        "mgit diff", "COLLECT_COMMAND", "producer of changesets; split into words as a shell does, and run without one"
    )
    collect_folder: str = setting("", "COLLECT_FOLDER", "folder that the producer command is run in")
    collect_label: str = setting("collected", "COLLECT_LABEL", "end of the name of a collected changeset")
    collect_timeout_s: float = setting(3600.0, "COLLECT_TIMEOUT", "seconds that the producer command may take")
    batch_size: int = setting(200, "BATCH_SIZE", "changes embedded, written and settled together")
    embed_threads: int = setting(1, "EMBED_THREADS", "batches embedded at once")
    max_retry_attempts: int = setting(3, "MAX_RETRY_ATTEMPTS", "times a failed line is tried again", may_be_zero=True)
    max_failures: str = setting("", "MAX_FAILURES", "lines, or percent of them (N%), that may fail before a run stops")
    checkpoint_cleanup_days: float = setting(
        7.0, "CHECKPOINT_CLEANUP_DAYS", "days that finished runs are kept", may_be_zero=True, most=MOST_DAYS
    )
    sqlite_timeout_s: float = setting(30.0, "SQLITE_TIMEOUT", "seconds to wait for the database's writer")
    lease_s: float = setting(
        60.0, "LEASE", "seconds until another host may take over a silent run; at least two of the store's time limits"
    )
    park_s: float = setting(900.0, "PARK", "seconds that a Dagster run keeps its sync run between two steps")
    max_line_bytes: int = setting(64 << 20, "MAX_LINE_BYTES", "bytes of one changeset line")
    max_document_bytes: int = setting(10 << 20, "MAX_DOCUMENT_BYTES", "bytes of one document")
    max_expansion: int = setting(
        200, "MAX_EXPANSION", "bytes that a packed changeset may give for each of its own, beyond 64 MiB in all"
    )
    weaviate_url: str = setting("", "WEAVIATE_URL", "server that the store URL weaviate: means", also="WCD_URL")
    weaviate_api_key: str = setting(
        "", "WEAVIATE_API_KEY", "key of the Weaviate server", also="WCD_API_KEY", secret=True, header=True
    )
    weaviate_consistency: str = setting(
        "QUORUM",
        "WEAVIATE_CONSISTENCY",
        "replicas that answer: ONE, QUORUM or ALL",
        choices=("ONE", "QUORUM", "ALL"),
    )
    weaviate_replication: int = setting(1, "WEAVIATE_REPLICATION", "replication factor of a new collection")
    weaviate_shards: int = setting(
        0, "WEAVIATE_SHARDS", "shards of a new collection; 0: as the server chooses", may_be_zero=True
    )
    weaviate_tenant: str = setting("", "WEAVIATE_TENANT", "tenant to write; a new collection then has tenants")
    weaviate_vector: str = setting("", "WEAVIATE_VECTOR", "named vector to write; default: the only one there is")
    weaviate_vectorizer: str = setting(
        "",
        "WEAVIATE_VECTORIZER",
        "for --embedder store: a new collection's vectorizer, a module's name or JSON {module: its settings}",
    )
    store_connect_timeout_s: float = setting(10.0, "STORE_CONNECT_TIMEOUT", "seconds to reach a store's server")
    store_query_timeout_s: float = setting(30.0, "STORE_QUERY_TIMEOUT", "seconds of one query, read-back or delete")
    store_insert_timeout_s: float = setting(90.0, "STORE_INSERT_TIMEOUT", "seconds of one insert request")
    store_retry_s: float = setting(
        60.0, "STORE_RETRY", "seconds that a store which does not answer is tried again", may_be_zero=True
    )
    request_objects: int = setting(200, "REQUEST_OBJECTS", "objects in one write request, at most")
    request_bytes: int = setting(
        20_000_000,
        "REQUEST_BYTES",
        "bytes in one write request, at most; a larger object goes alone",
    )
    notify_url: str = setting(
        "", "NOTIFY_URL", "webhook that is sent a JSON object for every failed Dagster run", secret=True, header=True
    )
    notify_timeout_s: float = setting(5.0, "NOTIFY_TIMEOUT", "seconds that the webhook may take to answer", most=10.0)
    fresh_hours: float = setting(
        24.0, "FRESH_HOURS", "hours after the last completed run that a collection counts as fresh", most=876_000.0
    )
    settle_hours: float = setting(
        1.0, "SETTLE_HOURS", "hours that an unfinished run may wait to be resumed before a check fails", most=876_000.0
    )
    openai_base_url: str = setting("https://api.openai.com/v1", "OPENAI_BASE_URL", "OpenAI-compatible endpoint")
    openai_api_key: str = setting("", "OPENAI_API_KEY", "key of that endpoint", secret=True, header=True)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """The settings of this process. Raises ``UsageError`` that names a variable whose value does not parse."""
        environment = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        for each in fields(cls):
            variable = each.metadata["variable"]
            names = (f"ELYSIACTL_{variable}", f"elysiactl_{variable}", each.metadata["also"])
            name = next((name for name in names if environment.get(name)), "")
            if name:
                values[each.name] = _parse(each.type, environment[name], each.metadata, name)
        return cls(**values)

    def state_folder(self) -> tuple[Path, str]:
        """The state folder and, where it is not the expected one, a sentence that says so. Makes the folder.

        Raises ``CheckpointError`` where a folder that holds a database cannot be written: a second state would hide
        what the first one knows.
        """
        expected = self.expected_state_folder()
        if self.checkpoint_db_dir:
            return _writable(expected), ""
        if expected == SYSTEM_STATE_FOLDER and not (expected.exists() or _can_make(expected)):
            expected = _user_state_folder()
        folder = _writable(expected)
        if folder == SYSTEM_STATE_FOLDER:
            return folder, ""
        return folder, f"State is kept in {folder}, since {SYSTEM_STATE_FOLDER} cannot be written."

    def inbox_folder(self) -> Path:
        """The folder that producers drop changesets into; it may not be there. Raises what ``state_folder`` raises."""
        return Path(self.inbox).expanduser().absolute() if self.inbox else self.state_folder()[0] / INBOX_NAME

    def find_database(self) -> Path | str | None:
        """The checkpoint database (file or URL) where there is one. Makes nothing.

        Raises ``CheckpointError`` for a state folder that this user may not look into.
        """
        if self.checkpoint_db_url:
            return self.checkpoint_db_url
        folder = self.expected_state_folder()
        if not folder.is_dir():
            return None
        if not os.access(folder, os.X_OK):
            raise _not_ours(folder)
        return folder / DATABASE_NAME if (folder / DATABASE_NAME).exists() else None

    def expected_state_folder(self) -> Path:
        """Where the state is, or would be made. Makes nothing."""
        if self.checkpoint_db_dir:
            return Path(self.checkpoint_db_dir).expanduser().absolute()
        system = SYSTEM_STATE_FOLDER
        if not system.exists():
            return system if os.access(system.parent, os.W_OK | os.X_OK) else _user_state_folder()
        # a folder that cannot be looked into may hold a database: a second state would hide it
        may_hold_state = not os.access(system, os.X_OK) or (system / DATABASE_NAME).exists()
        return system if may_hold_state or os.access(system, os.W_OK) else _user_state_folder()


def environment_for_others() -> dict[str, str]:
    """This process's environment, for a program that is not ours: without the secrets that are set for us."""
    secret = {
        name
        for each in fields(Settings)
        if each.metadata["secret"]
        for name in (f"ELYSIACTL_{each.metadata['variable']}", f"elysiactl_{each.metadata['variable']}")
    } | {each.metadata["also"] for each in fields(Settings) if each.metadata["secret"]}
    return {name: value for name, value in os.environ.items() if name not in secret}


def _user_state_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "elysiactl"


def _parse(kind: Any, text: str, about: Mapping[str, Any], name: str) -> Any:
    if about["header"]:
        return _header_text(text, name)
    named = f"ELYSIACTL_{about['variable']}={text!r}"
    if about["choices"]:
        if text.upper() not in about["choices"]:
            raise UsageError(f"{named} is none of {', '.join(about['choices'])}.", next_step="Mend it or unset it.")
        return text.upper()
    try:
        value = kind(text)
    except ValueError as error:
        raise UsageError(f"{named} is not a number.", next_step="Mend it or unset it.") from error
    if kind is str or 0 < value <= about["most"] or (about["may_be_zero"] and value == 0):
        return value
    least = "zero or above" if about["may_be_zero"] else "above zero"
    raise UsageError(f"{named} must be {least}, and {about['most']:g} at most.", next_step="Mend it or unset it.")


def _header_text(text: str, name: str) -> str:
    """A secret as it is sent; the error does not quote it. A secret that is mounted as a file ends in a new line."""
    stripped = text.strip()
    if stripped.isascii() and stripped.isprintable():
        return stripped
    raise UsageError(
        f"{name} holds a character that no key can hold: a control character in the middle, or one beyond ASCII.",
        next_step="Set it to the key alone, or unset it.",
    )


def _can_make(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700)
    except OSError:
        return False
    return True


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        if known := exhausted(error):
            raise known from error
        raise CheckpointError(
            f"The state folder {folder} cannot be made: {error.strerror}.",
            next_step="Set ELYSIACTL_CHECKPOINT_DB_DIR to a folder that can be written.",
        ) from error
    database = folder / DATABASE_NAME
    if not os.access(folder, os.W_OK | os.X_OK) or (database.exists() and not os.access(database, os.W_OK)):
        raise _not_ours(folder)
    return folder


def _not_ours(folder: Path) -> CheckpointError:
    return CheckpointError(
        f"The state folder {folder} cannot be written by this user.",
        next_step="Run as its owner, or set ELYSIACTL_CHECKPOINT_DB_DIR to another state.",
    )
