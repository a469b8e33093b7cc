"""The version of the lines of a results folder, and of the protocol between a worker and its client.

Each side of a live comparison reports its `PROTOCOL` before anything is measured.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from vlbench.errors import InputError, shortened
from vlbench.frozen import Frozen

RESULT_SCHEMA = 5
PROTOCOL = 5  # one more whenever an action that live comparisons use changes
CACHE_MS = 100  # a shorter pass feels that something else had the caches before it; a longer one refills them


class ResultLine(Frozen):
    """One line of a file of a results folder; docs/results.md explains each key."""

    schema_version: int = Field(default=RESULT_SCHEMA, alias="schema", ge=RESULT_SCHEMA, le=RESULT_SCHEMA)

    def to_line(self) -> str:
        """JSON in ASCII, which every program splits into the same lines."""
        return self.model_dump_json(by_alias=True, ensure_ascii=True)


class SchemaOfLine(BaseModel):
    """Of any line, whatever else it holds."""

    schema_version: Any = Field(default=None, alias="schema")


def check_schema(content: Any, where: str) -> None:
    """Raises InputError if a line of a results folder has another schema than this version reads."""
    schema = content.get("schema") if isinstance(content, dict) else None
    if type(schema) is not int or schema != RESULT_SCHEMA:
        raise InputError(f"{where}: schema {shortened(str(schema))}{remedy(schema)} or name another folder")


def remedy(schema: object) -> str:
    """What to do about a line of another schema, for the end of a message that names the schema."""
    if type(schema) is not int or schema < 1:
        return ", which vlbench never wrote; move the line to another file"
    age = "older" if schema < RESULT_SCHEMA else "newer"
    return f", but this vlbench reads schema {RESULT_SCHEMA} only; use the {age} vlbench that wrote it"
