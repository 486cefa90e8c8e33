"""From pydantic's errors to the one that leaves this package."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from backend.providers.delivery import Malformed

Model = TypeVar("Model", bound=BaseModel)


class Tolerant(BaseModel):
    """Payload of a provider: fields we do not know are kept, so that a new one never refuses a delivery."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)


def validated(kind: type[Model], data: object) -> Model:
    """`data` as `kind`. Raises `Malformed` naming the first field at fault."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise Malformed(".".join(str(step) for step in first["loc"]), first["msg"]) from None
