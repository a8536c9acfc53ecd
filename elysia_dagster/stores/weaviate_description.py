"""What a collection's description carries for us: whose it is (incarnation) and what made its vectors (model).

A description is a sentence for people, and for programs that show collections to a language model, with a small JSON
object behind the word ``elysia_dagster``. With tenants every tenant has marks of its own.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

SENTENCE = (
    "Source code and documents of git repositories, in chunks of some 40 lines: each object is one chunk of one file, "
    "with its text (content), its place (repository, relative_path, start_line, end_line) and its language."
)
_WORD = "elysia_dagster="


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Of one collection, or of one tenant of it."""

    incarnation: str | None = None
    model_id: str | None = None
    dimensions: int = 0


@dataclass(frozen=True, kw_only=True)
class Description:
    """A description, taken apart. ``tenants`` holds marks by tenant; '' is a collection without tenants."""

    text: str = SENTENCE
    tenants: dict[str, Marks]

    def marks(self, tenant: str) -> Marks:
        """The marks of a tenant, '' for none; empty ones where there are none."""
        return self.tenants.get(tenant, Marks())

    def marked(self, tenant: str, marks: Marks) -> "Description":
        """With other marks for one tenant."""
        return replace(self, tenants={**self.tenants, tenant: marks})

    def __str__(self) -> str:
        data = {
            tenant: {"incarnation": each.incarnation, "model": each.model_id, "dimensions": each.dimensions}
            for tenant, each in self.tenants.items()
        }
        return f"{self.text} {_WORD}{json.dumps(data, sort_keys=True)}".strip()


def parse_description(text: str | None) -> Description:
    """What a description says; one that is not ours, or was edited past recognition, carries no marks."""
    text = text or ""
    begin = text.rfind(_WORD)
    if begin < 0:
        return Description(text=text, tenants={})
    try:
        data, end = json.JSONDecoder().raw_decode(text[begin + len(_WORD) :])
        tenants = {str(tenant): _marks(each) for tenant, each in data.items()}
    except (ValueError, AttributeError, KeyError, TypeError):
        return Description(text=text, tenants={})
    rest = text[begin + len(_WORD) + end :]
    return Description(text=f"{text[:begin].rstrip()}{rest.rstrip()}", tenants=tenants)


def _marks(data: dict[str, Any]) -> Marks:
    return Marks(incarnation=data["incarnation"], model_id=data["model"], dimensions=int(data["dimensions"]))
