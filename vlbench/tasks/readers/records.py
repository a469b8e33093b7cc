"""The records of data sets: what an object of their files must hold."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from vlbench.errors import InputError
from vlbench.specs.bounds import not_truth
from vlbench.specs.catalog import describe


class Record(BaseModel):
    """An object of a data set's file; keys that vlbench does not need are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


Schema = TypeVar("Schema", bound=Record)


def _number_as_text(value: Any) -> Any:
    return str(value) if type(value) is int else value


Identifier = Annotated[str, BeforeValidator(_number_as_text)]  # or an integer
Number = Annotated[int, BeforeValidator(not_truth)]  # or its digits as text


def checked(where: str, content: Any, schema: type[Schema]) -> Schema:
    """The record that an object holds. Raises InputError if it misses a key or has a value of the wrong type.

    Args:
        where: begins the error.
    """
    try:
        return schema.model_validate(content if isinstance(content, dict) else {})
    except ValidationError as error:
        raise InputError(f"{where}: {describe(error, schema)}") from error
