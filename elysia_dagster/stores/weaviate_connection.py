"""The connection to a Weaviate server: made when first used, made anew after an outage, retried within a budget."""

import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import weaviate
from weaviate.classes.init import AdditionalConfig, Auth, Timeout
from weaviate.collections import Collection
from weaviate.connect import ConnectionParams

from elysia_dagster.stores.weaviate_address import WeaviateAddress
from elysia_dagster.stores.weaviate_errors import ObjectsNotTaken, translating
from elysia_dagster.stores.weaviate_retries import Retries

LARGEST_MESSAGE_BYTES = 104_858_000
"""What a server takes that does not say (``MAX_GRPC_MESSAGE_LENGTH``, client 4.23)."""

_Result = TypeVar("_Result")


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
    ) -> None:
        """Opens nothing yet."""
        self.address = address
        self._api_key = api_key
        self._timeout = Timeout(init=connect_s, query=query_s, insert=insert_s)
        self._retries = Retries(url=address.server, budget_s=retry_s)
        self._guard = threading.RLock()
        self._client: weaviate.WeaviateClient | None = None
        self.largest_message_bytes = LARGEST_MESSAGE_BYTES
        self.version = ""

    def client(self) -> weaviate.WeaviateClient:
        """The client, connected. Raises the SDK's own errors."""
        with self._guard:
            if self._client is None:
                self._client = self._connected()
            return self._client

    def collection(self, name: str) -> Collection[Any, Any]:
        """A handle; nothing is asked."""
        handle: Collection[Any, Any] = self.client().collections.use(name)
        return handle.with_tenant(self.address.tenant) if self.address.tenant else handle

    def call(
        self,
        attempt: Callable[[], _Result],
        *,
        collection: str = "",
        again: Callable[[], _Result] | None = None,
        deadline: float | None = None,
    ) -> _Result:
        """What ``attempt`` gives, tried again (``again``, where the two differ) while the server does not answer.

        ``deadline`` is a time of ``time.monotonic``. What is raised is translated, unless its meaning is not known.
        """
        with translating(url=self.address.url, collection=collection):
            return self._retries.call(
                attempt, collection=collection, again=again, after_failure=self._after_failure, deadline=deadline
            )

    def close(self) -> None:
        """Closes what is open; the next call opens it again."""
        with self._guard:
            client, self._client = self._client, None
            if client is not None:
                client.close()

    def _after_failure(self, error: Exception) -> None:
        """A channel that failed waits up to two minutes before it looks for the server again: the next one is new."""
        if not isinstance(error, ObjectsNotTaken):
            self.close()

    def _connected(self) -> weaviate.WeaviateClient:
        _silence()
        address = self.address
        client = weaviate.WeaviateClient(
            ConnectionParams.from_params(
                http_host=address.host,
                http_port=address.port,
                http_secure=address.secure,
                grpc_host=address.grpc_host,
                grpc_port=address.grpc_port,
                grpc_secure=address.secure,
            ),
            auth_client_secret=Auth.api_key(self._api_key) if self._api_key else None,
            additional_config=AdditionalConfig(timeout=self._timeout, trust_env=False),
            skip_init_checks=True,
        )
        try:
            client.connect()
            meta = client.get_meta()
        except BaseException:
            client.close()
            raise
        self.version = str(meta.get("version", ""))
        self.largest_message_bytes = int(meta.get("grpcMaxMessageSize", LARGEST_MESSAGE_BYTES))
        return client


def _silence() -> None:
    """The client's advice to programmers is none to our users; what goes wrong is raised."""
    warnings.filterwarnings("ignore", module=r"weaviate(\.|$)")
    logging.getLogger("weaviate-client").setLevel(logging.CRITICAL)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
