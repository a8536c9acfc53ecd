"""What Weaviate's errors mean: the texts are of the server 1.38.11 and the client 4.23, or of their sources."""

import errno
import pickle
from collections.abc import Callable, Sequence
from email.utils import formatdate

import grpc  # type: ignore[import-untyped]
import httpx
import pytest
from weaviate import exceptions as client

from elysia_dagster.errors import CollectionMismatch, ResourceExhausted, StoreUnavailable
from elysia_dagster.stores import weaviate_errors
from elysia_dagster.stores.weaviate_errors import ObjectsNotTaken, translated, translating
from elysia_dagster.stores.weaviate_messages import Verdict, classify_object_message, may_be_half_written

URL = "weaviate:http://127.0.0.1:8080"
Code = grpc.StatusCode
REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:50051: "
    "Failed to connect to remote host: connect: Connection refused (111)"
)


class FakeCall(grpc.RpcError, grpc.Call):  # type: ignore[misc]
    """As gRPC's own ``_InactiveRpcError``."""

    def __init__(
        self, code: grpc.StatusCode, details: str, metadata: Sequence[tuple[str, str]] = (("server", "grpc"),)
    ) -> None:
        super().__init__(details)
        self._code, self._details, self._metadata = code, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Sequence[tuple[str, str]]:
        return self._metadata

    def initial_metadata(self) -> Sequence[tuple[str, str]]:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> None:
        return None

    def cancel(self) -> None: ...

    def add_callback(self, callback: object) -> bool:
        return False


def raised(what: Callable[[], object]) -> Exception:
    try:
        what()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def batch_error(code: grpc.StatusCode, details: str) -> Exception:
    """As ``ConnectionSync.grpc_batch_objects``: the call is the new error's context only."""

    def fail() -> None:
        try:
            raise FakeCall(code, details)
        except grpc.RpcError as error:
            raise client.WeaviateBatchError(str(error.details()))  # noqa: B904  as the client does

    return raised(fail)


def retried(*calls: FakeCall) -> Exception:
    """As ``_Retry.with_exponential_backoff`` after its last try: each earlier call is the context of the next."""

    def fail(rest: Sequence[FakeCall]) -> None:
        try:
            raise rest[0]
        except grpc.RpcError as error:
            if len(rest) == 1:
                raise client.WeaviateRetryError(str(error), len(calls)) from error
            fail(rest[1:])

    return raised(lambda: fail(calls))


def answered(status: int, body: object = None, *, text: str | None = None) -> Exception:
    answer = httpx.Response(status, json=body) if text is None else httpx.Response(status, text=text)
    return client.UnexpectedStatusCodeError("Collection configuration could not be retrieved.", answer)


def beneath(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


def all_failed(*messages: str) -> Exception:
    return client.WeaviateInsertManyAllFailedError("Here is the set of all errors: {}".format("\n".join(messages)))


OBJECT_MESSAGES = [
    # usecases/replica
    (
        'cannot reach enough replicas: required 2 replicas, got 1: replica "127.0.0.1:23003": "127.0.0.1:23003": '
        'connect: Post "http://127.0.0.1:23003/replicas/indices/C/shards/GRcTXX/objects": dial tcp 127.0.0.1:23003: '
        "connect: connection refused",
        Verdict.OUTAGE,
    ),
    ('cannot reach enough replicas: required 2 replicas, got 1: "a": read only "BAXYuZB9vdSI"', Verdict.OUTAGE),
    ('cannot reach enough replicas: required 2 replicas, got 1: "a": class not found "C"', Verdict.OUTAGE),
    ('cannot achieve consistency level "QUORUM": cannot reach enough replicas', Verdict.OUTAGE),
    ("broadcast: cannot reach enough replicas", Verdict.OUTAGE),
    ('read only "BAXYuZB9vdSI"', Verdict.OUTAGE),
    ('local index not ready "C"', Verdict.OUTAGE),
    ('shard not found "error getting or initializing shard \\"S\\": x"', Verdict.OUTAGE),
    # cluster
    ('resolve node name "node1" to host', Verdict.OUTAGE),
    ("no write replica found", Verdict.OUTAGE),
    ("explorer: list class: search: object search at index c: no read replica found", Verdict.OUTAGE),
    ('error while getting replicas for collection "C" shard "S": x', Verdict.OUTAGE),
    ("leader not found, can not resolve nodes [node2,node3]", Verdict.OUTAGE),
    ("node is not the leader", Verdict.OUTAGE),
    ("auto-schema: update collection: leader not found", Verdict.OUTAGE),
    ("store not open", Verdict.OUTAGE),
    ("wait for schema version 7: deadline exceeded for waiting for update: version got=6 want=7", Verdict.OUTAGE),
    ("leadership lost while committing log", Verdict.OUTAGE),
    ("raft is already shutdown", Verdict.OUTAGE),
    ("timed out enqueuing operation", Verdict.OUTAGE),
    # a shard's state, memory, disk
    ("store is read-only due to: manually set by user", Verdict.OUTAGE),
    ("store is read-only due to: resource pressure", Verdict.OUTAGE),
    ("store is read-only", Verdict.OUTAGE),
    ("tenant not active: 'cold'", Verdict.OUTAGE),
    (
        "insert to vector index: insert doc id 15503 to vector index for target vector default: "
        "add batch of 1 vectors: not enough memory",
        Verdict.OUTAGE,
    ),
    ("cannot process batch: not enough memory mappings", Verdict.OUTAGE),
    ("memory pressure: cannot init shard: not enough memory", Verdict.OUTAGE),
    ("store object in LSM store: write /data/c/x.wal: no space left on device", Verdict.OUTAGE),
    ("open /data/c/segment.db: too many open files", Verdict.OUTAGE),
    ('shard "S", no shutdown: shard shutdown in progress', Verdict.OUTAGE),
    ("already shut or dropped", Verdict.OUTAGE),
    ("node is shutting down", Verdict.OUTAGE),
    ("server is not ready: either starting up or shutting down", Verdict.OUTAGE),
    ("shard busy: structural vector op in progress", Verdict.OUTAGE),
    ("usage limit exceeded: objects count limit of 1000 reached", Verdict.OUTAGE),
    ("read-only mode is enabled temporally at the config level: write operations are not allowed", Verdict.OUTAGE),
    # another node
    (
        'connect: Post "http://127.0.0.1:23523/indices/R1/shards/FTumaQ/objects?schema_version=4": '
        "dial tcp 127.0.0.1:23523: connect: connection refused",
        Verdict.OUTAGE,
    ),
    ('remote shard object search S: status code: 422, error: local index "R1" not found', Verdict.OUTAGE),
    (
        "could not get class R1: rpc error: code = Canceled desc = grpc: the client connection is closing",
        Verdict.OUTAGE,
    ),
    ("status code: 418, error: 418 Maintenance mode", Verdict.OUTAGE),
    ('connect: Post "http://n2:7101/indices/C/shards/S/objects": EOF', Verdict.OUTAGE),
    ("read tcp 10.0.0.1:7101->10.0.0.2:7101: connection reset by peer", Verdict.OUTAGE),
    ("write tcp 10.0.0.1: broken pipe", Verdict.OUTAGE),
    ("dial tcp: lookup node3: no such host", Verdict.OUTAGE),
    ("context deadline exceeded", Verdict.OUTAGE),
    ("context canceled", Verdict.OUTAGE),
    ("status code: 503 body: (unavailable)", Verdict.OUTAGE),
    ("unexpected status code 500 (oops)", Verdict.OUTAGE),
    # the vectorizer
    ("connection to: OpenAI API failed with status: 429 error: Rate limit reached", Verdict.OUTAGE),
    ("connection to: OpenAI API failed with status: 503", Verdict.OUTAGE),
    ("connection to: OpenAI API failed with status: 401 error: Incorrect API key provided", Verdict.OUTAGE),
    (
        "connection to: OpenAI API failed with status: 400 error: This model's maximum context length is 8192 tokens",
        Verdict.REJECTED,
    ),
    ("fail with status 422: text too long", Verdict.REJECTED),
    ("connection to Cohere failed with status: 400 error: context deadline exceeded", Verdict.REJECTED),
    ('vectorize target vector default: send POST request: Post "http://t2v:8080/vectors": EOF', Verdict.OUTAGE),
    ("fail with status 502: bad gateway", Verdict.OUTAGE),
    ("failed with status: 503 error: Model X is currently loading estimated time: 20", Verdict.OUTAGE),
    ("API Key: no api key found neither in request header: X-Openai-Api-Key nor in environment", Verdict.OUTAGE),
    ('no module with name "text2vec-openai" present', Verdict.OUTAGE),
    ("request rate limit exceeded and will not refresh in time", Verdict.OUTAGE),
    ("wait for rate limit quota: context canceled", Verdict.OUTAGE),
    ("429 Too many requests", Verdict.OUTAGE),
    ("vectorization aborted after an internal error", Verdict.OUTAGE),
    ("vectorizer returned fewer vectors than requested", Verdict.OUTAGE),
    ('connection to Ollama API failed with error: model "x" not found, try pulling it first', Verdict.OUTAGE),
    ("connection to Ollama API failed with error: the input length exceeds the context length", Verdict.REJECTED),
    # collection and tenant
    ("class 'C' not present in schema", Verdict.MISSING),
    ("could not find index for class C. It might have been deleted in the meantime", Verdict.MISSING),
    ('alias "a" points to collection "C" which does not exist', Verdict.MISSING),
    ('tenant not found: "a"', Verdict.MISSING),
    ("class Mt has multi-tenancy enabled, but request was without tenant", Verdict.MISSING),
    ("class C has multi-tenancy disabled, but request was with tenant", Verdict.MISSING),
    # the key
    (
        "adminlist: authorization, forbidden action: user 'reader' has insufficient permissions to U [data/x]",
        Verdict.FORBIDDEN,
    ),
    ("user is not authenticated", Verdict.FORBIDDEN),
    # the object's own fault
    (
        "Validate vector index default for target vector 9dcceb9c-ed9e-44c8-a6e4-d7c494d17cec: new node has a vector "
        "with length 9. Existing nodes have vectors with length 8: vector dimensions do not match the index dimensions",
        Verdict.REJECTED,
    ),
    ('conflict "new node has a vector with length 9. Existing nodes have vectors with length 8"', Verdict.REJECTED),
    ("invalid text property 't' on class 'C': not a string, but json.Number", Verdict.REJECTED),
    ("invalid text array property 't' on class 'C': not a text array, but string", Verdict.REJECTED),
    (
        "invalid date property 'd' on class 'C': requires a string with a RFC3339 formatted date, "
        "but the given value is 'connection refused'",
        Verdict.REJECTED,
    ),
    ("conflict \"invalid date property 'd': 'store is read-only'\"", Verdict.REJECTED),
    ("invalid UUID length: 2", Verdict.REJECTED),
    ("unrecognized data type of value 'EOF' - one of 'text' expected", Verdict.REJECTED),
    ("collection C does not have configuration for vector foo", Verdict.REJECTED),
    ("auto-schema: update collection: 'a b' is not a valid property name", Verdict.REJECTED),
    ("an unexpected error occurred: runtime error: index out of range", Verdict.REJECTED),
    ("a sentence that no server has said yet", Verdict.REJECTED),
    ("", Verdict.REJECTED),
]


@pytest.mark.parametrize(("message", "verdict"), OBJECT_MESSAGES, ids=[each[0][:50] for each in OBJECT_MESSAGES])
def test_object_message(message: str, verdict: Verdict) -> None:
    assert classify_object_message(message) is verdict


def test_an_object_that_lacks_in_an_index_is_told_from_one_that_is_not_stored() -> None:
    assert may_be_half_written("insert to vector index: insert doc id 1 to vector index: not enough memory")
    assert may_be_half_written("target vector default: queue is full")
    assert ObjectsNotTaken("update prop-specific indices: x").half_written
    assert not may_be_half_written("store is read-only due to: resource pressure")
    assert not may_be_half_written("vectorize target vector default: EOF")


def refused() -> FakeCall:
    return FakeCall(Code.UNAVAILABLE, REFUSED)


def reset() -> FakeCall:
    return FakeCall(Code.UNAVAILABLE, "recvmsg:Connection reset by peer")


OUTAGES = [
    # (error, whether it may have been applied)
    (refused(), False),
    (reset(), True),
    (FakeCall(Code.UNAVAILABLE, "Socket closed"), True),
    (batch_error(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"), True),
    (batch_error(Code.DEADLINE_EXCEEDED, "Received RST_STREAM with error code 8"), True),
    (batch_error(Code.INTERNAL, "Received RST_STREAM with error code 2"), True),
    (batch_error(Code.CANCELLED, "Channel closed!"), True),
    (batch_error(Code.RESOURCE_EXHAUSTED, "usage limit exceeded: objects count limit of 10 reached"), True),
    (batch_error(Code.UNAVAILABLE, "Received http2 header with status: 503"), True),
    (batch_error(Code.UNKNOWN, "cannot process batch: not enough memory"), True),
    (batch_error(Code.UNKNOWN, "batch delete: cannot find objects: no read replica found"), True),
    (all_failed('resolve node name "node1" to host'), True),
    (batch_error(Code.UNKNOWN, "aggregate: shard busy: structural vector op in progress"), True),
    (batch_error(Code.UNKNOWN, 'batch delete reply: failed to parse id "" as uuid: invalid UUID length: 0'), True),
    (retried(refused(), refused(), refused(), refused()), False),
    (retried(reset(), refused(), refused(), refused()), True),
    (beneath(client.WeaviateConnectionError("x"), httpx.ConnectError("[Errno 111] Connection refused")), False),
    (beneath(client.WeaviateStartUpError("x"), httpx.RemoteProtocolError("Server disconnected")), False),
    (beneath(client.WeaviateTimeoutError("x"), httpx.ReadTimeout("timed out")), True),
    (beneath(client.WeaviateGRPCUnavailableError("v1", ("h", 1)), refused()), False),
    (httpx.ReadError("[Errno 104] Connection reset by peer"), True),
    (httpx.RemoteProtocolError("Server disconnected without sending a response."), True),
    (httpx.WriteTimeout("timed out"), True),
    (httpx.ConnectTimeout("timed out"), False),
    (answered(429, text="slow down"), True),
    (answered(502, text="<html>bad gateway</html>"), True),
    (answered(503, {"error": [{"message": "not ready"}]}), True),
    (answered(500, {"error": [{"message": "leader not found, can not resolve nodes [node2]"}]}), True),
    (answered(422, {"error": [{"message": "leader not found"}]}), True),
    (client.WeaviateClosedClientError(), False),
    (ValueError("Cannot invoke RPC on closed channel!"), False),
    (ObjectsNotTaken("store is read-only due to: resource pressure"), False),
    (ObjectsNotTaken("vectorize target vector default: failed with status: 503"), False),
    (ObjectsNotTaken("store is read-only", others=["update prop-specific indices: x"]), True),
    (ObjectsNotTaken("cannot reach enough replicas"), True),
    (all_failed("cannot reach enough replicas", "invalid UUID length: 2"), True),
]


@pytest.mark.parametrize(("error", "may_be_applied"), OUTAGES, ids=lambda each: repr(each)[:60])
def test_outage(error: Exception, may_be_applied: bool) -> None:
    assert weaviate_errors.is_transient(error)
    assert weaviate_errors.is_unknown_state(error) is may_be_applied
    assert not weaviate_errors.is_too_large(error)
    assert not weaviate_errors.is_refused_content(error)
    known = translated(error, url=URL, collection="C")
    assert isinstance(known, StoreUnavailable)
    assert known.exit_code == 3
    assert URL in known.message
    assert "'C'" in known.message
    assert known.next_step
    assert "\n" not in str(known)
    assert len(known.message) < 500


KEY_ERRORS = [
    answered(401, {"code": 401, "message": "unauthorized: invalid api key"}),
    answered(401, {"code": 401, "message": "anonymous access not enabled. Please authenticate through [API-keys]"}),
    client.InsufficientPermissionsError(httpx.Response(403, json={"error": [{"message": "forbidden action"}]})),
    client.InsufficientPermissionsError(FakeCall(Code.PERMISSION_DENIED, "rbac: authorization, forbidden action")),
    batch_error(Code.UNAUTHENTICATED, "user is not authenticated"),
    batch_error(Code.UNKNOWN, "extract auth: unauthorized: invalid api key"),
    client.AuthenticationFailedError(
        "No login credentials provided. The weaviate instance requires login credentials."
    ),
    all_failed("adminlist: authorization, forbidden action: user 'reader' has insufficient permissions to U [x]"),
    ObjectsNotTaken("rbac: authorization, forbidden action: user 'reader'"),
]


@pytest.mark.parametrize("error", KEY_ERRORS, ids=lambda each: repr(each)[:60])
def test_key(error: Exception) -> None:
    assert not weaviate_errors.is_transient(error)
    assert not weaviate_errors.is_unknown_state(error)
    assert not weaviate_errors.is_refused_content(error)
    known = translated(error, url=URL)
    assert isinstance(known, StoreUnavailable)
    assert f"The server {URL} " in known.message
    assert "refuses the key" in known.message or "wants a key" in known.message
    assert "ELYSIACTL_WEAVIATE_API_KEY or WCD_API_KEY" in known.next_step


MISSING = [
    answered(404, text=""),
    answered(500, {"error": [{"message": "could not delete object: delete from non-existing index for C"}]}),
    batch_error(Code.UNKNOWN, "could not find class C in schema"),
    batch_error(Code.UNKNOWN, "parse params: could not find class C in schema"),
    batch_error(Code.UNKNOWN, "get tenants: failed to execute query: could not get tenants: class not found"),
    batch_error(Code.NOT_FOUND, "gone"),
    ObjectsNotTaken("class 'C' not present in schema"),
]


@pytest.mark.parametrize("error", MISSING, ids=lambda each: repr(each)[:60])
def test_missing_collection(error: Exception) -> None:
    assert not weaviate_errors.is_transient(error)
    known = translated(error, url=URL, collection="C")
    assert isinstance(known, CollectionMismatch)
    assert known.message == f"Collection 'C' does not exist in {URL}."


@pytest.mark.parametrize(
    "error",
    [
        batch_error(Code.UNKNOWN, 'explorer: list class: search: object search at index mt: tenant not found: "a"'),
        all_failed("class Mt has multi-tenancy enabled, but request was without tenant"),
    ],
)
def test_missing_tenant(error: Exception) -> None:
    known = translated(error, url=URL, collection="Mt")
    assert isinstance(known, CollectionMismatch)
    assert "ELYSIACTL_WEAVIATE_TENANT" in known.next_step


TOO_LARGE = [
    batch_error(Code.RESOURCE_EXHAUSTED, "CLIENT: Sent message larger than max (3033600 vs. 2000000)"),
    batch_error(Code.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (3033600 vs. 2000000)"),
    batch_error(Code.RESOURCE_EXHAUSTED, "grpc: received message larger than max (3033600 vs. 2000000)"),
    batch_error(Code.RESOURCE_EXHAUSTED, "grpc: trying to send message larger than max (6040695 vs. 2000000)"),
    batch_error(Code.UNKNOWN, "Received http2 header with status: 413"),
    answered(413, text="<html>413 Request Entity Too Large</html>"),
]


@pytest.mark.parametrize("error", TOO_LARGE, ids=lambda each: repr(each)[:60])
def test_too_large(error: Exception) -> None:
    assert weaviate_errors.is_too_large(error)
    assert not weaviate_errors.is_transient(error)
    assert not weaviate_errors.is_refused_content(error)


REFUSED_CONTENT = [
    batch_error(Code.INVALID_ARGUMENT, "bad"),
    batch_error(Code.INTERNAL, "grpc: error unmarshalling request: string field contains invalid UTF-8"),
    batch_error(Code.INTERNAL, "Received http2 header with status: 400"),
    answered(400, {"error": [{"message": "bad"}]}),
    answered(422, {"error": [{"message": "invalid object: no such prop"}]}),
    raised("a\ud800".encode),
]


@pytest.mark.parametrize("error", REFUSED_CONTENT, ids=lambda each: repr(each)[:60])
def test_refused_content(error: Exception) -> None:
    assert weaviate_errors.is_refused_content(error)
    assert not weaviate_errors.is_transient(error)
    assert not weaviate_errors.is_too_large(error)
    assert translated(error, url=URL, collection="C") is None


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        ValueError("x"),
        TypeError("x"),
        client.WeaviateInvalidInputError("Filter contains_any must have at least one value"),
        batch_error(Code.UNKNOWN, "a sentence that no server has said yet"),
        all_failed("new node has a vector with length 9. Existing nodes have vectors with length 8"),
        all_failed(""),
        FileNotFoundError(2, "No such file"),
    ],
    ids=repr,
)
def test_what_is_not_known_is_a_bug(error: Exception) -> None:
    assert translated(error, url=URL) is None
    assert not weaviate_errors.is_transient(error)
    assert not weaviate_errors.is_refused_content(error)
    with pytest.raises(type(error)), translating(url=URL):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        answered(404, text="<html>not here</html>"),
        answered(301, text=""),
        client.ResponseCannotBeDecodedError("meta", httpx.Response(200, text="<html>login</html>")),
        batch_error(Code.UNIMPLEMENTED, "Received http2 header with status: 404"),
        client.WeaviateStartUpError("Weaviate version 1.20.0 is not supported. Please use 1.27.0 or higher."),
    ],
    ids=lambda each: repr(each)[:60],
)
def test_another_server(error: Exception) -> None:
    known = translated(error, url=URL)
    assert isinstance(known, StoreUnavailable)
    assert "no Weaviate server for this client" in known.message
    assert not weaviate_errors.is_transient(error) or "404" in known.message


def test_a_certificate_does_not_mend_by_waiting() -> None:
    error = beneath(
        client.WeaviateConnectionError("x"),
        httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate"),
    )
    assert not weaviate_errors.is_transient(error)
    assert "No secure connection" in str(translated(error, url=URL))


def test_this_machines_own_limits() -> None:
    error = beneath(httpx.ConnectError("[Errno 24]"), OSError(errno.EMFILE, "Too many open files"))
    assert isinstance(translated(error, url=URL), ResourceExhausted)
    assert not weaviate_errors.is_transient(error)


def test_a_message_has_no_header_and_no_end() -> None:
    call = FakeCall(Code.UNAVAILABLE, "long\n" * 1000, (("authorization", "Bearer SECRET"), ("x", "SECRET")))
    known = translated(call, url=URL, collection="C")
    assert known is not None
    assert "SECRET" not in str(known)
    assert len(str(known)) < 600
    assert str(pickle.loads(pickle.dumps(known))) == str(known)


def test_what_was_before_an_error_is_not_its_reason() -> None:
    def fail() -> None:
        try:
            raise refused()
        except grpc.RpcError:
            raise KeyError("a bug in what follows")  # noqa: B904

    assert translated(raised(fail), url=URL) is None


def test_translating_chains_and_leaves_ours_alone() -> None:
    with pytest.raises(StoreUnavailable) as seen, translating(url=URL, collection="C"):
        raise reset()
    assert isinstance(seen.value.__cause__, FakeCall)
    ours = CollectionMismatch("x")
    with pytest.raises(CollectionMismatch) as same, translating(url=URL):
        raise ours
    assert same.value is ours


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("7", 7, 7), ("0", 0, 0), ("86400", 60, 60), (formatdate(0), 0, 0), ("soon", None, None), ("-3", None, None)],
)
def test_retry_after(text: str, least: float | None, most: float | None) -> None:
    seconds = weaviate_errors.retry_after_s(FakeCall(Code.UNAVAILABLE, "x", (("retry-after", text),)))
    assert (seconds is None) if least is None or most is None else least <= (seconds or 0.0) <= most


def test_retry_after_of_http() -> None:
    request = httpx.Request("GET", "http://127.0.0.1/")
    answer = httpx.Response(503, headers={"retry-after": "12"}, request=request)
    error = raised(answer.raise_for_status)
    assert weaviate_errors.retry_after_s(error) == 12
    assert weaviate_errors.is_transient(error)
    assert weaviate_errors.retry_after_s(ValueError("x")) is None


def test_messages_of_an_insert_that_took_nothing() -> None:
    assert weaviate_errors.messages_of(all_failed("one", "two")) == ["one", "two"]
    assert weaviate_errors.messages_of(ValueError("x")) == []
