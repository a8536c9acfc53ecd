"""What is said of a failed run: one paragraph for people, and the same as JSON for a webhook.

The address of a webhook is a secret, since it often holds a token: no error and no log names it.
"""

import http.client
import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from elysia_dagster.errors import TransientError, UsageError
from elysia_dagster.settings import Settings

NAMED = "The webhook of ELYSIACTL_NOTIFY_URL"


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A failed run. What is not known of its sync run is None; counts are of lines; ``repair`` is a command."""

    job: str
    dagster_run_id: str
    reason: str
    repair: str
    sync_run_id: str | None = None
    changeset: str | None = None
    collection: str | None = None
    total: int | None = None
    completed: int | None = None
    failed: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The paragraph."""
        words = [f"Run {self.dagster_run_id} of {self.job} failed: {self.reason}"]
        if self.sync_run_id is not None:
            counts = f"{self.completed} of {self.total} lines completed, {self.failed} failed."
            words.append(f"Sync run {self.sync_run_id} of {self.changeset} into {self.collection}: {counts}")
        words.append(f"To mend it: {self.repair}")
        return " ".join(words)

    def to_json(self) -> bytes:
        """Every field, and the paragraph as ``text``, which chat services show."""
        return json.dumps({"text": str(self), **asdict(self)}).encode()

    def without_secrets(self, settings: Settings) -> "Notice":
        """The same; what the text of others may hold of the secrets of ``settings`` is blotted out."""

        def blotted(text: str) -> str:
            for secret in secrets_of(settings):
                text = text.replace(secret, "***")
            return text

        tags = {name: blotted(value) for name, value in self.tags.items()}
        return replace(self, reason=blotted(self.reason), repair=blotted(self.repair), tags=tags)


def secrets_of(settings: Settings) -> list[str]:
    """Every secret that is set, and the password in the database's URL: what may stand in no text."""
    found = [getattr(settings, each.name) for each in fields(settings) if each.metadata["secret"]]
    with suppress(ValueError):
        found.append(unquote(urlsplit(settings.checkpoint_db_url).password or ""))
    return sorted((each for each in found if each), key=len, reverse=True)


def send_notice(notice: Notice, settings: Settings) -> None:
    """Posts the notice to the webhook of ``settings``, in ``notify_timeout_s`` seconds at most.

    Raises ``UsageError`` for an address that is none, ``TransientError`` where the webhook does not take the notice.
    """
    url = settings.notify_url
    _check_address(url)
    request = urllib.request.Request(
        url, notice.to_json(), {"Content-Type": "application/json", "User-Agent": "elysia-dagster"}
    )
    outcome: list[str] = []
    # of its own: the look-up of a name obeys no time-out, and a server may answer a byte a second
    post = threading.Thread(
        target=lambda: outcome.append(_post(request, settings.notify_timeout_s)), name="notify", daemon=True
    )
    post.start()
    post.join(settings.notify_timeout_s)
    refusal = outcome[0] if outcome else f"gave no answer within {settings.notify_timeout_s:g} s"
    if refusal:
        raise TransientError(
            f"{NAMED} {refusal}; run {notice.dagster_run_id} is in the log of this tick.",
            next_step="See that it answers, or unset it.",
        )


def _check_address(url: str) -> None:
    is_address = False
    with suppress(ValueError):  # it would quote a part of the address
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    if not is_address or any(ord(each) <= 32 or ord(each) > 126 for each in url):
        raise UsageError(f"{NAMED} is no address of the form https://….", next_step="Mend it or unset it.")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A notice goes where the setting says and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _post(request: urllib.request.Request, timeout_s: float) -> str:
    """'' where the webhook took it, else what went wrong, without a word of the address."""
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"answered {error.code}"
    except urllib.error.URLError as error:
        return f"cannot be reached: {_kind(error.reason)}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"cannot be reached: {_kind(error)}"


def _kind(reason: object) -> str:
    """What an error says of itself that cannot quote the address, as that of a certificate would."""
    if isinstance(reason, OSError) and not isinstance(reason, ssl.SSLError) and reason.strerror:
        return reason.strerror
    return type(reason).__name__
