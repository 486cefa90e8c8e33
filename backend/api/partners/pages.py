"""Pages of a list: each cursor says after which row the next page begins, so rows that come or go shift nothing.

A cursor is signed for its company, list and filters: one that was altered, or is another's, is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from pydantic import BaseModel, Field

from backend.api.problems import Problem

PAGE = 50
"""Rows of a page unless the client says."""

LARGEST_PAGE = 200

Cursor = Annotated[str, Field(max_length=4_096, description="From `next` of the page before.")]
"""Where a page begins. Names are part of it, and may be long."""

_MAC_BYTES = 16

Row = TypeVar("Row")
Item = TypeVar("Item", bound=BaseModel)


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next: str | None = Field(description="Where the next page is; null at the end. Also in the `Link` header.")


@dataclass(frozen=True, slots=True)
class Listing:
    """One list as one request asks for it."""

    key: bytes
    """Signs cursors; the same on every node."""
    path: str
    company_id: UUID
    filters: Mapping[str, str | list[str]]
    """The query without `cursor` and `limit`."""
    limit: int

    def position(self, cursor: str | None) -> list[object] | None:
        """The sort key after which the page begins; None for the first page. Raises a 422 `Problem`."""
        if cursor is None:
            return None
        try:
            sealed = base64.urlsafe_b64decode(cursor.encode("ascii") + b"==")
            mac, content = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
            if hmac.compare_digest(mac, self._mac(content)):
                position: list[object] = msgspec.json.decode(content, type=list[object])
                return position
        except (ValueError, msgspec.DecodeError):
            pass
        raise Problem(
            422, "not a cursor of this list with these filters", field="cursor", reason="invalid", more={"errors": []}
        )

    def page(self, rows: Sequence[Row], key: Callable[[Row], list[object]]) -> tuple[Sequence[Row], str | None]:
        """The rows of the page, and where the next one is; `rows` has one more than the limit when there is one."""
        if len(rows) <= self.limit:
            return rows, None
        shown = rows[: self.limit]
        content = msgspec.json.encode(key(shown[-1]))
        cursor = base64.urlsafe_b64encode(self._mac(content) + content).rstrip(b"=").decode()
        query = urlencode({**self.filters, "limit": str(self.limit), "cursor": cursor}, doseq=True)
        return shown, f"{self.path}?{query}"

    def _mac(self, content: bytes) -> bytes:
        about = msgspec.json.encode([self.path, self.company_id, sorted(self.filters.items()), content.decode()])
        return hmac.digest(self.key, about, hashlib.sha256)[:_MAC_BYTES]


def cursor_key(secret: bytes) -> bytes:
    """The key for cursors, derived from a secret that all nodes share."""
    return hmac.digest(secret, b"askpro cursors", hashlib.sha256)
