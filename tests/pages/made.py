"""The pages that are made of the sources."""

from collections.abc import Callable

from pages.schema_page import schema_page
from pages.settings_page import settings_page

MADE: dict[str, Callable[[], str]] = {"docs/settings.md": settings_page, "docs/schema.md": schema_page}
"""By name, what makes them."""
