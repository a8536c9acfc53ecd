"""The store URL of a Weaviate server: one spelling for one store, and no secret in it."""

import pytest

from elysia_dagster.errors import UsageError
from elysia_dagster.stores import open_store
from elysia_dagster.stores.weaviate_address import WeaviateAddress, parse_address


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("weaviate:http://localhost:8080", "weaviate:http://localhost:8080"),
        ("weaviate:http://LocalHost", "weaviate:http://localhost:8080"),
        ("weaviate:http://localhost:8080/", "weaviate:http://localhost:8080"),
        ("weaviate:http://localhost?grpc_port=50051&grpc_host=LOCALHOST", "weaviate:http://localhost:8080"),
        ("weaviate:http://h:1?grpc_host=g&grpc_port=2", "weaviate:http://h:1?grpc_host=g&grpc_port=2"),
        ("weaviate:http://h:1?grpc_port=2&grpc_host=g", "weaviate:http://h:1?grpc_host=g&grpc_port=2"),
        ("weaviate:https://h", "weaviate:https://h:443"),
        ("weaviate:http://[::1]:9", "weaviate:http://[::1]:9"),
        ("weaviate:http://h?tenant=a%26b", "weaviate:http://h:8080?tenant=a%26b"),
        ("weaviate:http://h?grpc_host=%3A%3A1", "weaviate:http://h:8080?grpc_host=%3A%3A1"),
        ("weaviate:http://h?vector=title", "weaviate:http://h:8080?vector=title"),
        (
            "weaviate:https://x1.c0.europe-west3.gcp.weaviate.cloud",
            "weaviate:https://x1.c0.europe-west3.gcp.weaviate.cloud:443",
        ),
    ],
)
def test_one_store_has_one_spelling(url: str, canonical: str) -> None:
    assert parse_address(url).url == canonical
    assert parse_address(canonical).url == canonical


def test_every_part_is_told() -> None:
    address = parse_address("weaviate:https://h:1?grpc_host=g&grpc_port=2&tenant=t&vector=v")
    assert address == WeaviateAddress(secure=True, host="h", port=1, grpc_host="g", grpc_port=2, tenant="t", vector="v")


@pytest.mark.parametrize(
    ("host", "grpc_host"),
    [
        ("x1.c0.europe-west3.gcp.weaviate.cloud", "grpc-x1.c0.europe-west3.gcp.weaviate.cloud"),
        ("name.weaviate.network", "name.grpc.weaviate.network"),
    ],
)
def test_the_cloud_has_a_host_of_its_own_for_grpc(host: str, grpc_host: str) -> None:
    """As ``weaviate.connect_to_weaviate_cloud`` connects."""
    for address in (parse_address(f"weaviate:https://{host}"), parse_address("weaviate:", server=host)):
        assert (address.secure, address.host, address.port) == (True, host, 443)
        assert (address.grpc_host, address.grpc_port) == (grpc_host, 443)


def test_the_server_of_the_settings() -> None:
    assert parse_address("weaviate:", server="http://h:1").url == "weaviate:http://h:1"
    assert parse_address("weaviate:", server="h:1").url == "weaviate:http://h:1"
    assert parse_address("weaviate:http://other:2", server="http://h:1").url == "weaviate:http://other:2"
    with pytest.raises(UsageError, match="names no server") as error:
        parse_address("weaviate:")
    assert "ELYSIACTL_WEAVIATE_URL" in error.value.next_step


def test_tenant_and_vector_of_the_settings_count_where_the_url_names_none() -> None:
    assert parse_address("weaviate:http://h", tenant="t", vector="v").tenant == "t"
    assert parse_address("weaviate:http://h?tenant=u&vector=w", tenant="t", vector="v").tenant == "u"
    assert parse_address("weaviate:http://h?vector=w", vector="v").vector == "w"


@pytest.mark.parametrize(
    "url",
    [
        "weaviate:ftp://h",
        "weaviate:h:8080",
        "weaviate:http://",
        "weaviate:http://h:99999",
        "weaviate:http://h:port",
        "weaviate:http://h/path",
        "weaviate:http://h#part",
        "weaviate:http://h?grpc_port=0",
        "weaviate:http://h?grpc_port=x",
        "weaviate:http://h?grpc_port=70000",
        "weaviate:http://h?nothing",
        "weaviate:http://h?tenant=a&tenant=b",
        "weaviate:http://[::1",
    ],
)
def test_what_does_not_parse_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        parse_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "weaviate:http://me:SESAME@h",
        "weaviate:http://SESAME@h",
        "weaviate:http://h?api_key=SESAME",
        "weaviate:https://h?SESAME",
        "weaviate:http://h:SESAME",
        "weaviate:http://h?grpc_port=SESAME",
        "weaviate:http://h?grpc_host=me:SESAME@g",
        "weaviate:http://h?grpc_host=SESAME%20",
        "weaviate:http://h?grpc_host=g/SESAME",
    ],
)
def test_a_key_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_address(url)
    assert "SESAME" not in str(error.value)


@pytest.mark.parametrize("url", ["weviate:http://me:SESAME@h", "http://me:SESAME@h", "SESAME", ""])
def test_of_an_unknown_store_only_the_scheme_is_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="not known") as error:
        open_store(url)
    assert "SESAME" not in str(error.value)
