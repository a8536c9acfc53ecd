"""The connection to a Weaviate server: made when first used, made anew after an outage, retried within a budget."""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc  # type: ignore[import-untyped]
import httpx
import weaviate
from weaviate.classes.config import ConsistencyLevel
from weaviate.classes.init import AdditionalConfig, Auth, Timeout
from weaviate.collections import Collection
from weaviate.config import GrpcConfig
from weaviate.connect import ConnectionParams
from weaviate.connect.v4 import _ExpectedStatusCodes
from weaviate.exceptions import ResponseCannotBeDecodedError, UnexpectedStatusCodeError
from weaviate.util import _decode_json_response_dict

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.stores.weaviate_address import WeaviateAddress
from elysia_dagster.stores.weaviate_errors import ObjectsNotTaken, translating
from elysia_dagster.stores.weaviate_retries import Retries

LARGEST_MESSAGE_BYTES = 104_858_000
"""What a server takes that does not say (``MAX_GRPC_MESSAGE_LENGTH``, client 4.23)."""

_CHANNEL_OPTIONS = [("grpc.enable_http_proxy", 0)]
"""gRPC would take a proxy from the environment, whatever ``trust_env`` says."""

_Result = TypeVar("_Result")


@dataclass(kw_only=True)
class _Opened:
    """A client, and how many calls are in the middle of using it."""

    client: weaviate.WeaviateClient
    users: int = 0
    is_dropped: bool = False


class WeaviateConnection:
    """A client of one server, of which only the configured addresses are ever contacted. Times are in seconds.

    Threads may share it. Every method raises ``StoreUnavailable`` once ``retry_s`` has gone by without an answer.
    """

    def __init__(
        self,
        address: WeaviateAddress,
        *,
        api_key: str,
        connect_s: float,
        query_s: float,
        insert_s: float,
        retry_s: float,
        stop_requested: Callable[[], bool],
    ) -> None:
        """Opens nothing yet. ``stop_requested`` ends a wait for the server with ``Interrupted``."""
        self.address = address
        self._api_key = api_key
        self._timeout = Timeout(init=connect_s, query=query_s, insert=insert_s)
        self._retries = Retries(url=address.server, budget_s=retry_s, stop_requested=stop_requested)
        self.check_stop = self._retries.check_stop
        self._guard = threading.RLock()
        self._connect_s = connect_s
        self._opened: _Opened | None = None
        self._used = threading.local()
        self.largest_message_bytes = LARGEST_MESSAGE_BYTES

    def client(self) -> weaviate.WeaviateClient:
        """The client of the attempt that ``call`` is making in this thread."""
        opened: _Opened = self._used.opened
        return opened.client

    def collection(self, name: str) -> Collection[Any, Any]:
        """A handle for the attempt that ``call`` is making; nothing is asked."""
        handle: Collection[Any, Any] = self.client().collections.use(name)
        return handle.with_tenant(self.address.tenant) if self.address.tenant else handle

    def get(self, path: str, params: dict[str, str] | None = None) -> dict[str, Any] | None:
        """What the REST interface gives at a path, for the attempt that ``call`` is making; None where nothing is.

        For what the client has no call of its own: an object by its id past the inverted index (its look-up is a
        filter), a schema as the server has it (its own takes 14 ms to be made into objects and back).
        """
        answer = self.client()._connection.get(
            path=path,
            params=params,
            error_msg=f"{path} was not read",
            status_codes=_ExpectedStatusCodes(ok_in=[200, 404], error=path),
        )
        assert isinstance(answer, httpx.Response)  # no promise of one: the client is no asynchronous one
        return None if answer.status_code == 404 else _decode_json_response_dict(answer, path)

    def object(self, collection: str, id_: str, consistency: ConsistencyLevel) -> dict[str, Any] | None:
        """The properties of an object by its id, past the inverted index; None where it is not there. See ``get``."""
        params = {"consistency_level": consistency.value}
        if self.address.tenant:
            params["tenant"] = self.address.tenant
        found = self.get(f"/objects/{collection}/{id_}", params)
        return None if found is None else dict(found.get("properties") or {})

    def call(
        self,
        attempt: Callable[[], _Result],
        *,
        collection: str = "",
    ) -> _Result:
        """What ``attempt`` gives, tried again while the server does not answer, until the end of ``until`` at most.

        What is raised is translated, unless its meaning is not known.
        """

        def connected() -> _Result:
            with self._using():
                return attempt()

        with translating(url=self.address.url, collection=collection):
            return self._retries.call(
                connected,
                collection=collection,
                after_failure=self._after_failure,
                deadline=getattr(self._used, "until", None),
            )

    @contextmanager
    def until(self, deadline: float) -> Iterator[None]:
        """Nothing is tried again in this block, by this thread, after ``deadline``, a time of ``time.monotonic``."""
        self._used.until = deadline
        try:
            yield
        finally:
            del self._used.until

    def close(self) -> None:
        """Closes what is open, as soon as no call uses it any more; the next call opens it again."""
        with self._guard:
            opened, self._opened = self._opened, None
            if opened is not None:
                opened.is_dropped = True
                self._close_unused(opened)

    def _after_failure(self, error: Exception) -> None:
        """A channel that failed waits up to two minutes before it looks for the server again: the next one is new."""
        if not isinstance(error, ObjectsNotTaken):
            self.close()

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Connects where that is needed. What another thread drops meanwhile stays open until the block ends."""
        with self._guard:
            if self._opened is None:
                self._opened = _Opened(client=self._connected())
            opened = self._opened
            opened.users += 1
        self._used.opened = opened
        try:
            yield
        finally:
            del self._used.opened
            with self._guard:
                opened.users -= 1
                self._close_unused(opened)

    def _close_unused(self, opened: _Opened) -> None:
        if opened.is_dropped and not opened.users:
            opened.client.close()

    def _connected(self) -> weaviate.WeaviateClient:
        _silence()
        address = self.address
        client = weaviate.WeaviateClient(
            ConnectionParams.from_params(
                http_host=address.http_host,
                http_port=address.port,
                http_secure=address.secure,
                grpc_host=address.grpc_target_host,
                grpc_port=address.grpc_port,
                grpc_secure=address.secure,
            ),
            auth_client_secret=Auth.api_key(self._api_key) if self._api_key else None,
            additional_config=AdditionalConfig(
                timeout=self._timeout,
                trust_env=False,
                grpc_config=GrpcConfig(channel_options=_CHANNEL_OPTIONS),
            ),
            skip_init_checks=True,  # they ask PyPI for the client's newest version
        )
        try:
            self.largest_message_bytes = self._ask_meta(client)
            self._check_grpc()
            _switch_off_retries(client)
        except BaseException:
            client.close()
            raise
        return client

    def _ask_meta(self, client: weaviate.WeaviateClient) -> int:
        """Connects; how many bytes the server takes at once. Raises ``StoreUnavailable`` where it is none."""
        try:
            client.connect()
            return int(client.get_meta().get("grpcMaxMessageSize", LARGEST_MESSAGE_BYTES))
        except (ResponseCannotBeDecodedError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._another_program() from error
        except UnexpectedStatusCodeError as error:
            if error.status_code == 404:
                raise self._another_program() from error
            raise

    def _another_program(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"What answers at {self.address.server} is no Weaviate server.",
            next_step="Check host and port of the store, and what stands before the server.",
            store=self.address.url,
        )

    def _check_grpc(self) -> None:
        """Raises ``ConnectionError`` where nothing takes gRPC connections: the REST interface may be there alone."""
        host, port = self.address.grpc_target_host, self.address.grpc_port
        if self.address.secure:
            channel = grpc.secure_channel(f"{host}:{port}", grpc.ssl_channel_credentials(), options=_CHANNEL_OPTIONS)
        else:
            channel = grpc.insecure_channel(f"{host}:{port}", options=_CHANNEL_OPTIONS)
        health = channel.unary_unary("/grpc.health.v1.Health/Check")  # bytes in, bytes out: an empty message
        try:
            health(b"", timeout=self._connect_s)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise ConnectionError(
                    f"nothing takes gRPC connections at {host}:{port}, which grpc_host and grpc_port in the store URL "
                    f"name: {error.details()}"
                ) from None  # else the sentence would be that of the cause
        finally:
            channel.close()


def _switch_off_retries(client: weaviate.WeaviateClient) -> None:
    """Puts ``_Untried`` in the place of the client's gRPC stub, which is a private part of it."""
    stub = getattr(client._connection, "_grpc_stub", None)
    if stub is None:
        raise RuntimeError(
            "weaviate-client has no WeaviateClient._connection._grpc_stub any more: use weaviate-client 4.23, or mend "
            "elysia_dagster.stores.weaviate_connection for this version."
        )
    client._connection._grpc_stub = _Untried(stub)  # type: ignore[assignment]


class _Untried:
    """A gRPC stub whose calls fail at once where the server is gone.

    The client would try them up to five times more, 63 s in all, without a word: who tries again here is ``Retries``.
    """

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._stub, name)

        def call(*arguments: Any, **options: Any) -> Any:
            try:
                return method(*arguments, **options)
            except grpc.RpcError as error:
                if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNAVAILABLE:
                    raise ConnectionError(error.details() or "the server is gone") from error
                raise

        return call


def _silence() -> None:
    """The client's advice to programmers is none to our users; what goes wrong is raised."""
    warnings.filterwarnings("ignore", module=r"weaviate(\.|$)")
    logging.getLogger("weaviate-client").setLevel(logging.CRITICAL)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
