"""Where a Weaviate server is: the store URL ``weaviate:http[s]://host:port[?…]``, and its one spelling."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from elysia_dagster.errors import UsageError

_HTTP_PORTS = {"http": 8080, "https": 443}
_GRPC_PORT = 50051
_CLOUD_DOMAINS = (".weaviate.cloud", ".weaviate.network")
_CLOUD_GRPC_PORT = 443
_HOST = re.compile(r"[0-9A-Za-z._-]{1,255}|[0-9A-Fa-f:.]{2,45}", re.ASCII)
"""A name, or an address of either kind, without brackets."""

_QUERY_NAMES = ("grpc_host", "grpc_port", "tenant", "vector")


@dataclass(frozen=True, kw_only=True)
class WeaviateAddress:
    """A server, and what of its collections is meant. ``tenant`` and ``vector`` are '' where none is named."""

    secure: bool
    host: str
    port: int
    grpc_host: str
    grpc_port: int
    tenant: str = ""
    vector: str = ""

    @property
    def server(self) -> str:
        """The server alone, for messages."""
        return f"{'https' if self.secure else 'http'}://{_bracketed(self.host)}:{self.port}"

    @property
    def http_host(self) -> str:
        """The host as a URL has it."""
        return _bracketed(self.host)

    @property
    def grpc_target_host(self) -> str:
        """The host of the gRPC interface as a URL has it."""
        return _bracketed(self.grpc_host)

    @property
    def url(self) -> str:
        """The store URL in its one spelling: the same store gives the same text, since it is part of an identity.

        What the settings name is in it too, so that a run that is taken up by its store's URL alone writes the same.
        """
        default_host, default_port = _default_grpc(self.secure, self.host)
        query = []
        if self.grpc_host != default_host:
            query.append(f"grpc_host={quote(self.grpc_host, safe='')}")
        if self.grpc_port != default_port:
            query.append(f"grpc_port={self.grpc_port}")
        if self.tenant:
            query.append(f"tenant={quote(self.tenant, safe='')}")
        if self.vector:
            query.append(f"vector={quote(self.vector, safe='')}")
        return f"weaviate:{self.server}{'?' if query else ''}{'&'.join(query)}"


def parse_address(url: str, *, server: str = "", tenant: str = "", vector: str = "") -> WeaviateAddress:
    """The address of a store URL; ``weaviate:`` alone means ``server``, which may lack a scheme (Weaviate Cloud's names
    then mean https, all others http).

    ``tenant`` and ``vector`` count where the URL names none. Raises ``UsageError`` that repeats no user info.
    """
    target = url.partition(":")[2]
    if not target:
        if not server:
            raise _unusable(
                "weaviate: names no server", "Use weaviate:http://host:port, or set ELYSIACTL_WEAVIATE_URL."
            )
        target = server if "://" in server else f"{_guessed_scheme(server)}://{server}"
    try:
        parts = urlsplit(target)
        port = parts.port
    except ValueError as error:
        raise _unusable("The port or host in the store URL does not parse") from error
    if parts.username is not None or parts.password is not None:
        raise _unusable("A store URL holds no user and no key", "Set ELYSIACTL_WEAVIATE_API_KEY instead.")
    if parts.scheme not in _HTTP_PORTS or not parts.hostname or parts.path not in ("", "/") or parts.fragment:
        raise _unusable("The store URL is not weaviate:http[s]://host:port")
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise _unusable("The part of the store URL behind '?' does not parse") from error
    query = dict(pairs)
    if len(query) < len(pairs):
        raise _unusable("A name is twice in the part of the store URL behind '?'")
    if unknown := sorted(set(query) - set(_QUERY_NAMES)):
        raise _unusable(f"A store URL knows no {unknown[0][:40]!r}", f"It knows {', '.join(_QUERY_NAMES)}.")
    secure, host = parts.scheme == "https", parts.hostname
    grpc_host, grpc_port = _default_grpc(secure, host)
    given = query.get("grpc_port", str(grpc_port))
    if not given.isascii() or not given.isdigit() or not 0 < int(given) < 65_536:
        raise _unusable("What the store URL gives as grpc_port is no port")
    given_host = query.get("grpc_host", grpc_host)
    if not _HOST.fullmatch(given_host):
        raise _unusable("What the store URL gives as grpc_host is no host's name", "Give a name or an address alone.")
    return WeaviateAddress(
        secure=secure,
        host=host,
        port=port or _HTTP_PORTS[parts.scheme],
        grpc_host=given_host.lower(),
        grpc_port=int(given),
        tenant=query.get("tenant", tenant),
        vector=query.get("vector", vector),
    )


def _guessed_scheme(server: str) -> str:
    host = urlsplit(f"//{server}").hostname or ""
    return "https" if host.endswith(_CLOUD_DOMAINS) else "http"


def _default_grpc(secure: bool, host: str) -> tuple[str, int]:
    """Weaviate Cloud answers gRPC under a name of its own (``weaviate.connect.helpers``, client 4.23)."""
    if secure and host.endswith(_CLOUD_DOMAINS):
        if host.endswith(".weaviate.network"):
            name, _, domain = host.partition(".")
            return f"{name}.grpc.{domain}", _CLOUD_GRPC_PORT
        return f"grpc-{host}", _CLOUD_GRPC_PORT
    return host, _GRPC_PORT


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _unusable(message: str, next_step: str = "Use weaviate:http://host:8080 or weaviate:https://host.") -> UsageError:
    return UsageError(f"{message}.", next_step=next_step)
