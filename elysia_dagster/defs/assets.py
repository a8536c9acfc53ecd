"""The configured collection as an asset, fed by the inbox: both external, since runs of jobs write them."""

import re

from dagster import AssetKey, AssetSpec

from elysia_dagster.defs.at_load import settings_at_load

INBOX_KEY = AssetKey("inbox")
"""The asset that stands for all changesets that have arrived."""

INBOX = AssetSpec(
    INBOX_KEY,
    description="The changesets that producers have dropped into the inbox (`ELYSIACTL_INBOX`).",
    kinds={"file"},
    group_name="elysia",
)


def collection_key(collection: str) -> AssetKey:
    """The asset that a collection is."""
    return AssetKey(["collections", collection])


def configured_collection() -> str:
    """The collection of the settings, as a name that Dagster takes: what is wrong with it is said by who writes it."""
    return re.sub("[^A-Za-z0-9_]", "_", settings_at_load().collection)


def collection_asset() -> AssetSpec:
    """The collection of the settings."""
    name = configured_collection()
    kind = re.match("[a-z]+", settings_at_load().store or "lancedb")
    return AssetSpec(
        collection_key(name),
        description=f"The vector collection `{name}`: one object for each chunk of every document of the repositories, "
        "as the newest changesets left it.",
        deps=[INBOX],
        kinds={kind[0]} if kind else None,
        group_name="elysia",
    )
