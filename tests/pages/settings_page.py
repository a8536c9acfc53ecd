"""``docs/settings.md``, made of the fields of ``Settings``."""

from dataclasses import Field, fields
from typing import Any

from elysia_dagster.settings import Settings

HEAD = """\
# Settings

<!-- made by `make docs` from elysia_dagster/settings.py -->

From the environment. The spelling `elysiactl_…` is read too; no `.env` file is. An option of a command, or a field of a
job's config, overrides its setting. A value that does not parse is exit 2, in Dagster a failed tick or step, with one
sentence that names the variable. Dagster's processes read the settings of the environment that they were started with;
what stands in the definitions (crons, the time zone, the inbox's interval, the collection that is an asset) is read
when the code location is loaded.

```sh
ELYSIACTL_COLLECTION=Demo ELYSIACTL_BATCH_SIZE=100 elysiactl index status --summary
```
"""

GROUPS = {
    "checkpoint_db_dir": "The state, and what is synced where",
    "inbox": "The inbox",
    "timezone": "Schedules",
    "batch_size": "Work",
    "sqlite_timeout_s": "Waiting for others",
    "max_line_bytes": "Limits of input",
    "weaviate_url": "Weaviate",
    "store_connect_timeout_s": "Requests to a store",
    "openai_base_url": "Embedders",
    "notify_url": "Notices and checks",
}
"""By the first setting of each: settings stand in the order of their fields."""

TABLE = "| setting | default | unit | meaning |\n| --- | --- | --- | --- |\n"

UNITS = {"_s": "seconds", "_bytes": "bytes", "_days": "days", "_hours": "hours", "_cron": "cron"}


def settings_page() -> str:
    """The whole page."""
    parts = [HEAD]
    for each in fields(Settings):
        if each.name in GROUPS:
            parts.append(f"\n## {GROUPS[each.name]}\n\n{TABLE}")
        parts.append(_row(each))
    return "".join(parts)


def _row(each: Field[Any]) -> str:
    about = each.metadata
    meaning = about["meaning"]
    notes = [f"`{about['also']}` is read where it is not set"] if about["also"] else []
    notes += ["a secret: it is never shown"] if about["secret"] else []
    notes += ["0 is allowed"] if about["may_be_zero"] else []
    meaning += f" ({'; '.join(notes)})" if notes else ""
    default = "none" if each.default == "" else f"`{each.default}`"
    meaning = meaning.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
    return f"| `ELYSIACTL_{about['variable']}` | {default} | {_unit(each)} | {meaning} |\n"


def _unit(each: Field[Any]) -> str:
    if each.metadata["choices"]:
        return " or ".join(each.metadata["choices"])
    by_name = next((unit for end, unit in UNITS.items() if each.name.endswith(end)), "")
    return by_name or ("text" if each.type in (str, "str") else "number")
