"""What the sentences mean that a Weaviate server gives for one object of a batch, or in place of a status code.

A batch answer has a text for each object that was not taken, and no code. A text that the object itself causes is a
rejection; one that the state of the server causes is an outage that came dressed as a rejection. Files named below are
those of the server's source, 1.38.11; "seen" says that a real server of that version gave the text. The wordings of
older servers that are known are marked.
"""

import re
from enum import Enum


class Verdict(Enum):
    """Whose fault it is that an object was not taken."""

    OUTAGE = "outage"  # the server's state: trying the same again later may help
    REJECTED = "rejected"  # the object's own: the same again gives the same
    MISSING = "missing"  # the collection or tenant is not there, or one is set where the other kind is
    FORBIDDEN = "forbidden"  # the server refuses the key, or the key may not do that


def classify_object_message(message: str) -> Verdict:
    """Whose fault a per-object text is. One never seen before is a rejection of that object alone."""
    for pattern, verdict in _IN_ORDER:
        if pattern.search(message):
            return verdict
    return Verdict.REJECTED


def may_be_half_written(message: str) -> bool:
    """Whether an object that was not taken may be stored all the same, and lack in an index, here or on a replica.

    It reads back as if it were there, and no search finds it; an identical insert changes nothing. It is to be deleted
    before it is sent again. What a vectorizer says comes before anything is stored.
    """
    if _BEFORE_STORED.search(message):
        return False
    return bool(_HALF_WRITTEN.search(message) or _OTHER_NODE.search(message))


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{each})" for each in patterns), re.IGNORECASE)


_WHATEVER_FOLLOWS = _any_of(
    # usecases/replica/errors/errors.go, ErrReplicas; older: replica/finder.go. Seen (the word before it on 1.30)
    r"^(?:broadcast: )?cannot reach enough replicas",
    r"^cannot achieve consistency level",  # usecases/replica/errors/errors.go, MsgCLevel: replicator.go, PutObjects
    r'parse id "" as uuid',  # grpc/v1/batch_delete.go: a shard that does not delete has no id to tell. Seen, read-only
)
"""What follows is a replica's own reason, for one that it does not know the collection yet; or a wrong one."""

_OWN_FAULT = _any_of(
    # usecases/objects/validation/properties_validation.go, extractAndValidateProperty. Seen, with the value quoted
    r'^(?:\w[\w ]* ")?(?:property \'[^\']*\': )?invalid [\w\[\]]+( array)? (property|value)\b',
    r"vector with length \d+\. Existing nodes",  # adapters/repos/db/vector/hnsw/insert.go, ValidateBeforeInsert. Seen
    r"vector dimensions do not match the index",  # adapters/repos/db/vector/common, ErrWrongDimensions. Seen
    r"vector lengths don't match",  # adapters/repos/db/vector/hnsw/distancer. Seen (a query)
    r"invalid UUID (length|format)",  # github.com/google/uuid: grpc/v1/batch/parse.go, BatchObjectsFromProto. Seen
    r"(un|mis)(recognized|matched) data type",  # usecases/objects/auto_schema.go, determineType
    # usecases/modulecomponents/clients/openai/openai.go, getError, and its like: what a model says of the text
    r"fail(ed)? with (status|error code):? (400|413|422)\b",
)
"""First of all but ``_WHATEVER_FOLLOWS``: a rejection can quote the object, and what it quotes is nobody's message."""

_KEY = _any_of(
    r"forbidden action",  # usecases/auth/authorization/errors, Forbidden.Error. Seen
    r"^extract auth: ",  # adapters/handlers/grpc/v1/service.go, whose status code is UNKNOWN. Seen
    r"unauthorized: invalid api key",  # usecases/auth/authentication/apikey/client.go. Seen
    r"user is not authenticated",  # usecases/auth/authorization/errors, Unauthenticated.Error
    r"anonymous access not enabled",  # usecases/auth/authentication: middleware of the REST interface. Seen
)

_NOT_THERE = _any_of(
    r"could not find class \S+ in schema",  # adapters/handlers/grpc/v1/service.go, classGetterWithAuthzFunc. Seen
    r"class \S+ not (found|present) in schema",  # usecases/objects/batch_add.go, validateAndGetVector
    r"class not found",  # cluster/schema/schema.go, ErrClassNotFound. Seen (tenants)
    r"could not find index for class",  # adapters/repos/db/batch.go, BatchPutObjects
    r"cannot find index for class",  # adapters/repos/db/batch.go, BatchDeleteObjects
    r"non-existing index for ",  # adapters/repos/db/crud_deletion.go, DeleteObject. Seen, with HTTP status 500
    r"points to collection \S+ which does not exist",  # adapters/handlers/grpc/v1/batch/handler.go, BatchObjects
    r"tenant not found",  # entities/errors/errors_multitenancy.go, ErrTenantNotFound. Seen
    r"has multi-tenancy (en|dis)abled, but request was with",  # adapters/repos/db/multitenancy/validator.go. Seen
)

_STATE = _any_of(
    r'\bread only "',  # usecases/replica/errors/errors.go, StatusText(StatusReadOnly). Seen
    r"local index not ready",  # usecases/replica/errors/errors.go, StatusText(StatusNotReady)
    r"shard not found",  # usecases/replica/errors/errors.go, StatusText(StatusShardNotFound): not made there yet
    r"no (read|write) replica found",  # cluster/router/router.go. Seen, of a server that is being stopped
    r"resolve node name \S+ to host",  # usecases/sharding/remote_index.go. Seen, the same, for each object
    r"error while (getting replicas|trying to find shard)",  # cluster/router/router.go
    r"leader not found|not the leader|store not open",  # cluster/types/errs.go. Seen
    r"deadline exceeded for waiting for update",  # cluster/types/errs.go, ErrDeadlineExceeded
    r"leadership lost|raft is already shutdown|timed out enqueuing",  # github.com/hashicorp/raft, api.go
    r"wait for schema version",  # adapters/repos/db/index.go, putObjectBatch
    r"is read-only",  # entities/storagestate/status.go, ErrStatusReadOnly. Seen, by hand and by full disk
    r"(read-only|scale-out|write-only) mode is enabled",  # usecases/config/operational_mode.go
    r"in maintenance mode",  # adapters/handlers/grpc/server.go, makeMaintenanceModeUnaryInterceptor
    r"tenant not active",  # entities/errors/errors_multitenancy.go, ErrTenantNotActive. Seen
    r"not enough memory",  # entities/errors/transient.go, ErrNotEnoughMemory, ErrNotEnoughMappings. Seen
    r"memory pressure",  # adapters/repos/db/shard_lazyloader.go, index.go
    r"no space left on device|too many open files|cannot allocate memory|input/output error",  # of the system's
    r"shutting down|shutdown in progress|already shut",  # adapters/repos/db/index.go, shard.go
    r"shard busy",  # entities/errors, ErrShardBusyStructuralOp
    r"usage limit exceeded",  # usecases/usagelimits/errors.go, LimitExceededError
    # adapters/clients/client.go and remote_index.go: what another node, or a vectorizer, gave. Seen
    r"\bconnect: |dial tcp|connection (refused|reset)|broken pipe|\bEOF\b|i/o timeout|no such host",
    r"send (http|POST) request|Client\.Timeout",
    r"context (deadline exceeded|canceled)",
    r"(status code:?|unexpected status code) (418|429|5\d\d)\b",
    r"local index \S+ not found",  # usecases/sharding/remote_index_incoming.go. Seen, of a node that is starting
    r"rpc error: code = (Unavailable|Canceled|DeadlineExceeded|Aborted|ResourceExhausted)",  # cluster/rpc. Seen
    # The vectorizer's own state and settings are no object's fault: usecases/modulecomponents/clients/*
    r"fail(ed)? with (status|error code):? (401|403|404|408|429|5\d\d)\b",
    r"no api key found",  # openai.go, getApiKey
    r"no module with name",  # usecases/modules/vectorizer.go: the server was started without it
    r"rate limit (exceeded|quota)",  # usecases/modulecomponents/batch/batch.go, batch_simple.go
    r"429 Too many requests",  # entities/errors, ErrRateLimit
    r"vectorization aborted|fewer vectors than requested",  # usecases/modulecomponents/batch/batch.go
    r'Ollama API failed with error: model "?\S+ not found',  # modules/text2vec-ollama/clients/ollama.go
)

_IN_ORDER = (
    (_WHATEVER_FOLLOWS, Verdict.OUTAGE),
    (_OWN_FAULT, Verdict.REJECTED),
    (_KEY, Verdict.FORBIDDEN),
    (_NOT_THERE, Verdict.MISSING),
    (_STATE, Verdict.OUTAGE),
)

_HALF_WRITTEN = _any_of(
    # adapters/repos/db/shard_write_batch_objects.go, storeAdditionalStorageWithWorkers: after the object is stored
    r"insert to (multi )?vector index: ",  # seen, where memory was used up
    r"update prop-specific indices",
    r"queue not found for target vector",
    r'^(?:\w[\w ]* ")?target vector \S+: ',  # the same with ASYNC_INDEXING
    r"geo prop \S+: ",
)

_BEFORE_STORED = _any_of(r"^(vectorize target vector|update vector: )")  # usecases/modules/vectorizer.go. Seen

_OTHER_NODE = _any_of(  # which may have died in the middle: adapters/clients/client.go, usecases/replica. Seen
    r"^cannot reach enough replicas",
    r"^cannot achieve consistency level",
    r"send http request|connection reset|broken pipe|\bEOF\b|i/o timeout|context (deadline exceeded|canceled)",
)
