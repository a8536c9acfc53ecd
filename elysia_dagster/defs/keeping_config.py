"""What the jobs beside ``sync_changeset`` can be told. A field left out means the setting of the process that runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from dagster import Config
from pydantic import Field

from elysia_dagster.settings import Settings
from elysia_dagster.sync.retries import RetryRequest


class RetryFailedLinesConfig(Config):
    """Which failed lines to try again; with nothing said, of every sync run those that are due."""

    run_id: str | None = Field(
        default=None, description="Only this sync run, and its failed lines with tries left whether due or not."
    )
    lines: list[int] = Field(default=[], description="Only these lines of that run, whatever their kind and tries.")
    permanent: bool = Field(default=False, description="Also lines that, as they stand, no second try can mend.")
    every: bool = Field(default=False, description="Also lines whose tries are used up, or whose time has not come.")
    max_failures: str | None = Field(
        default=None,
        description='Lines ("25") or percent of them ("2.5%") that may fail before a run stops, resumable; in place of '
        "what the run began with.",
    )
    fail_on_failed_lines: bool = Field(
        default=True, description="Fail the job when lines failed again, or others of the same runs are left failed."
    )


class ReconcileCollectionConfig(Config):
    """Which collection to compare with the ledger, and whether to mend it."""

    collection: str | None = Field(default=None, description="Collection to compare (ELYSIACTL_COLLECTION).")
    store: str | None = Field(
        default=None, description="Store URL: lancedb:<folder> or weaviate:<address> (the store resource)."
    )
    repository: str | None = Field(default=None, description="Only this repository.")
    repair: bool = Field(default=False, description="Mend what differs; what is damaged is deleted first.")
    foreign: bool = Field(default=False, description="With repair: remove objects that are not ours, too.")
    send_again: str | None = Field(
        default=None,
        description="With repair: the file to write the changeset of what could not be mended to (one in the state "
        "folder).",
    )
    fail_on_differences: bool = Field(default=True, description="Fail the job when differences are left.")


class DropExpiredRunsConfig(Config):
    """How long finished runs are kept, and whether the database shrinks."""

    keep_days: float | None = Field(
        default=None, description="Days that finished runs are kept (ELYSIACTL_CHECKPOINT_CLEANUP_DAYS)."
    )
    vacuum: bool = Field(
        default=True, description="Give the database's free space back; holds writers up (2 s for 200 MB)."
    )


class CollectChangesetsConfig(Config):
    """Which command produces changesets, where, and for how long it may."""

    command: str | None = Field(
        default=None,
        description="Command whose standard output is a changeset, split as a shell does, run without one "
        "(ELYSIACTL_COLLECT_COMMAND). A secret in it would be kept with the run: leave it to the environment.",
    )
    folder: str | None = Field(default=None, description="Folder to run it in (ELYSIACTL_COLLECT_FOLDER).")
    label: str | None = Field(default=None, description="End of the changeset's name (ELYSIACTL_COLLECT_LABEL).")
    timeout_s: float | None = Field(default=None, description="Seconds that it may take (ELYSIACTL_COLLECT_TIMEOUT).")


def retry_request_of(config: RetryFailedLinesConfig) -> RetryRequest:
    """What is asked for."""
    return RetryRequest(
        run_id=config.run_id,
        lines=tuple(config.lines),
        every=config.every,
        permanent=config.permanent,
        max_failures=config.max_failures,
    )


def send_again_of(config: ReconcileCollectionConfig) -> Path | None:
    """The file, from the working directory of the run."""
    return Path(config.send_again).expanduser().absolute() if config.send_again else None


def collect_settings_of(config: CollectChangesetsConfig, settings: Settings) -> Settings:
    """The settings with what the config says in their place."""
    given = {f"collect_{name}": getattr(config, name) for name in ("command", "folder", "label", "timeout_s")}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return replace(settings, **changes)
