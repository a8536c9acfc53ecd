"""A collection's schema on Weaviate: what a new one has, and what an existing one must have."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from weaviate.classes import config

from elysia_dagster.errors import CollectionMismatch, UsageError
from elysia_dagster.settings import Settings
from elysia_dagster.stores.weaviate_address import WeaviateAddress

Schema = dict[str, Any]
"""A class as Weaviate's REST interface has it (``/v1/schema/{class}``)."""

DEFAULT_VECTOR = "default"
"""The name that Weaviate's clients give to the only vector (client 4.16 and newer)."""


@dataclass(frozen=True, kw_only=True)
class Property:
    """A property of an object, and what it is indexed for."""

    name: str
    kind: str
    about: str
    tokenization: str = ""
    searchable: bool = False
    filterable: bool = True

    def schema(self) -> Schema:
        """As the server takes it."""
        made: Schema = {
            "name": self.name,
            "dataType": [self.kind],
            "description": self.about,
            "indexFilterable": self.filterable,
        }
        if self.kind == "text":
            made |= {"tokenization": self.tokenization, "indexSearchable": self.searchable}
        return made


def _name(name: str, about: str) -> Property:
    return Property(name=name, kind="text", about=about, tokenization="field")


def _number(name: str, about: str) -> Property:
    return Property(name=name, kind="int", about=about)


PROPERTIES = (
    _name("file_path", "Repository and path of the file: <repository>/<relative_path>"),
    _name("relative_path", "Path of the file in its repository"),
    _name("file_name", "Last part of the path"),
    _name("repository", "Name of the git repository"),
    _name("language", "Language of the file, by its name"),
    _name("extension", "Extension of the file's name, with its dot"),
    _name("content_hash", "SHA-256 of the file's bytes, in hex"),
    _name("write_hash", "SHA-256 of chunk text, vector, model, chunker and the document's content_hash, in hex"),
    Property(
        name="content", kind="text", about="Text of the chunk", tokenization="word", searchable=True, filterable=False
    ),
    _number("size_bytes", "Bytes of the whole file"),
    _number("line_count", "Lines of the whole file"),
    Property(name="last_modified", kind="date", about="When the file was last modified"),
    _name("document_id", "The id that all chunks of one file share"),
    _number("chunk_index", "Number of the chunk in its file, from 0"),
    _number("start_line", "First line of the chunk in its file, from 1"),
    _number("end_line", "Last line of the chunk in its file"),
    _name("commit", "Commit of the repository that brought this version"),
)
"""Every object's properties. Text but ``content`` is one token (``field``): it is compared whole.

``content`` is searchable alone: a filter by it uses that index too (``inverted/searcher.go``, server 1.38), and a
second one for filters halves the speed of inserts.
"""

FILTERED = ("repository", "document_id")
"""What this project's own filters rely on: compared whole, or the wrong objects are counted and removed."""


def new_collection(name: str, address: WeaviateAddress, settings: Settings, *, dimensions: int, text: str) -> Schema:
    """The schema of a collection that does not exist yet; ``dimensions`` 0 is for the store's own vectorizer.

    Null state, length and timestamps are indexed for Weaviate's Elysia, which filters by them. A new write wins over an
    older delete, and the reverse, on replicas that were down (``TimeBasedResolution``): a document that is removed and
    comes back keeps its ids, and any other strategy would let an old removal take the new object away.
    """
    vectorizer = parse_vectorizer(settings.weaviate_vectorizer) if dimensions == 0 else {"none": {}}
    if vectorizer is None:
        raise UsageError(
            "The store has no vectorizer for a new collection.",
            next_step="Set ELYSIACTL_WEAVIATE_VECTORIZER, or choose another embedder.",
        )
    schema: Schema = {
        "class": name,
        "description": text,
        "properties": [each.schema() for each in PROPERTIES],
        "vectorConfig": {
            address.vector or DEFAULT_VECTOR: {
                "vectorizer": {
                    module: {**config, **({"properties": ["content"]} if module != "none" else {})}
                    for module, config in vectorizer.items()
                },
                "vectorIndexType": "hnsw",
                "vectorIndexConfig": {"distance": "cosine"},
            }
        },
        "invertedIndexConfig": {"indexNullState": True, "indexPropertyLength": True, "indexTimestamps": True},
        "replicationConfig": {"factor": settings.weaviate_replication},
    }
    if settings.weaviate_replication > 1:
        schema["replicationConfig"] |= {"asyncEnabled": True, "deletionStrategy": "TimeBasedResolution"}
    if settings.weaviate_shards and not address.tenant:
        schema["shardingConfig"] = {"desiredCount": settings.weaviate_shards}
    if address.tenant:
        schema["multiTenancyConfig"] = {"enabled": True}
    return schema


def missing_properties(schema: Schema) -> list[Property]:
    """What an existing collection lacks. Raises ``CollectionMismatch`` for what it has otherwise."""
    there = {each["name"]: each for each in schema.get("properties") or ()}
    missing = []
    for wanted in PROPERTIES:
        found = there.get(wanted.name)
        if found is None:
            missing.append(wanted)
            continue
        if found["dataType"] != [wanted.kind]:
            raise _refused(schema, wanted, f"is {' or '.join(found['dataType'])}", f"must be {wanted.kind}")
        if wanted.name in FILTERED and found.get("tokenization") != wanted.tokenization:
            raise _refused(
                schema, wanted, f"has the tokenization {found.get('tokenization')}", f"must have {wanted.tokenization}"
            )
        if wanted.name in FILTERED and not found.get("indexFilterable", True):
            raise _refused(schema, wanted, "cannot be filtered by", "must be filterable")
        if wanted.searchable and not found.get("indexSearchable", True):
            raise _refused(schema, wanted, "cannot be searched", "must be searchable")
    return missing


def _refused(schema: Schema, wanted: Property, found: str, must: str) -> CollectionMismatch:
    return CollectionMismatch(
        f"Property {wanted.name} of collection {schema['class']} {found}, and {must}.",
        next_step="Choose another --collection: this one cannot be written as it is.",
        collection=schema["class"],
    )


def check_tenancy(schema: Schema, address: WeaviateAddress) -> None:
    """Raises ``CollectionMismatch`` where a tenant is named for a collection without, or the reverse.

    And for a collection that makes tenants by itself: one that was dropped would come back empty with the next write of
    any program, and nothing of it would tell, since its incarnation is written in the collection.
    """
    tenancy = schema.get("multiTenancyConfig") or {}
    has_tenants = bool(tenancy.get("enabled"))
    if has_tenants and tenancy.get("autoTenantCreation"):
        raise CollectionMismatch(
            f"Collection {schema['class']} makes tenants by itself (autoTenantCreation): one that was dropped would "
            "come back empty, unnoticed.",
            next_step="Switch autoTenantCreation off in its multiTenancyConfig, or choose another --collection.",
            collection=schema["class"],
        )
    if has_tenants and not address.tenant:
        raise CollectionMismatch(
            f"Collection {schema['class']} has tenants, and none is named.",
            next_step="Set ELYSIACTL_WEAVIATE_TENANT, or add ?tenant=… to the store URL.",
        )
    if address.tenant and not has_tenants:
        raise CollectionMismatch(
            f"Collection {schema['class']} has no tenants, and {address.tenant} is named.",
            next_step="Unset ELYSIACTL_WEAVIATE_TENANT, or choose another --collection.",
        )


def vector_name(schema: Schema, address: WeaviateAddress) -> str | None:
    """The named vector to write, None for a collection with one that has no name.

    Raises ``CollectionMismatch`` where the one that is asked for is not there, or it is not clear which is meant.
    """
    names = sorted(schema.get("vectorConfig") or {})
    if not names:
        if address.vector:
            raise CollectionMismatch(
                f"Collection {schema['class']} has no named vectors, and {address.vector} is asked for.",
                next_step="Unset ELYSIACTL_WEAVIATE_VECTOR.",
            )
        return None
    if address.vector in names:
        return address.vector
    if not address.vector and len(names) == 1:
        return str(names[0])
    raise CollectionMismatch(
        f"Collection {schema['class']} has the vectors {', '.join(names)}, "
        f"{f'and not {address.vector}' if address.vector else 'and none is chosen'}.",
        next_step="Set ELYSIACTL_WEAVIATE_VECTOR to one of them.",
    )


def parse_vectorizer(setting: str) -> dict[str, Schema] | None:
    """``{module: its settings}`` of ELYSIACTL_WEAVIATE_VECTORIZER, None where that is empty. Raises ``UsageError``."""
    if not setting:
        return None
    if not setting.lstrip().startswith("{"):
        return {setting.strip(): {}}
    try:
        parsed = json.loads(setting)
        ((module, config),) = parsed.items()
        if not isinstance(config, dict):
            raise TypeError("the module's settings are no object")
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            "ELYSIACTL_WEAVIATE_VECTORIZER is neither a module's name nor JSON {module: {…}}.",
            next_step='For example: {"text2vec-openai": {"model": "text-embedding-3-small"}}',
        ) from error
    return {module: config}


def vectorizer_of(schema: Schema, name: str | None) -> dict[str, Schema] | None:
    """``{module: its settings}`` of a vector of an existing collection, None where it makes none."""
    if name is None:
        module = schema.get("vectorizer") or "none"
        found = {module: (schema.get("moduleConfig") or {}).get(module) or {}}
    else:
        found = dict(schema["vectorConfig"][name].get("vectorizer") or {"none": {}})
    return None if set(found) <= {"none"} else found


def vectorizer_id(vectorizer: dict[str, Schema]) -> str:
    """The model's name in the ledger: ``store:<module>[:<model>]:<hash of all its settings>``."""
    ((module, config),) = vectorizer.items()
    kept = {key: value for key, value in (config or {}).items() if key not in _NO_VECTORS}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]
    model = str(kept.get("model") or "")
    return ":".join(filter(None, ("store", module, model, digest)))


_NO_VECTORS = ("baseURL", "baseUrl", "apiEndpoint", "inferenceUrl", "properties", "vectorizeClassName")
"""Settings of a vectorizer that do not change the vectors of a text: where it is asked, and what we set ourselves."""


def to_client(wanted: Property) -> config.Property:
    """A property as the client adds it to a collection."""
    return config.Property(
        name=wanted.name,
        data_type=config.DataType(wanted.kind),
        description=wanted.about,
        index_filterable=wanted.filterable,
        index_searchable=wanted.searchable if wanted.kind == "text" else None,
        tokenization=config.Tokenization(wanted.tokenization) if wanted.tokenization else None,
    )


_SAID = re.compile(r"'message': (['\"])(.*?)\1\}")
"""The server's words in what the client makes of a refusal."""


def refused_by_server(collection: str, told: str) -> UsageError:
    """The error for a new collection that the server does not make; ``told`` is what the client says of it."""
    said = _SAID.search(told)
    return UsageError(
        f"The server cannot make collection {collection} as the settings say: {said[2] if said else told}.",
        next_step="Mend the setting that this is about (ELYSIACTL_WEAVIATE_…), or the server.",
        collection=collection,
    )
