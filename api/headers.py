"""The headers with which a run is asked for, read at once.

FastAPI takes 10 µs of CPU for each parameter of a route (measured, 0.165), as much as all of them
take here; no route is asked as often as this one.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import Header
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import Headers

#: RFC 9110's visible characters: a key is named, and not written about.
_KEY: dict[str, Any] = {"min_length": 1, "max_length": 255, "pattern": r"^[\x21-\x7e]*$"}
IdempotencyKey = Annotated[str | None, Header(**_KEY)]


class AskHeaders(BaseModel):
    """Headers that say more of a run than its body."""

    idempotency_key: Annotated[str | None, Field(alias="idempotency-key", **_KEY)] = None
    prefer: Annotated[str | None, Field(max_length=200)] = None
    agents_webhook: Annotated[str | None, Field(alias="agents-webhook", max_length=2000)] = None
    traceparent: Annotated[
        str | None,
        Field(description="The caller's span (W3C Trace Context); what is none is left out."),
    ] = None

    @classmethod
    def of(cls, headers: Headers) -> Self:
        """Those of a request.

        Raises:
            RequestValidationError: one is too long, or not of its form.
        """
        told = {name: headers[name] for name in _NAMES if name in headers}
        try:
            return cls.model_validate(told)
        except ValidationError as error:
            found = error.errors(include_url=False)
            raise RequestValidationError(
                [{**e, "loc": ("header", *e["loc"])} for e in found]
            ) from None


_NAMES = tuple(field.alias or name for name, field in AskHeaders.model_fields.items())
#: The same for the page of the API (OpenAPI's parameter objects).
PARAMETERS: list[dict[str, Any]] = [
    {
        "name": name,
        "in": "header",
        "required": False,
        **({"description": schema.pop("description")} if "description" in schema else {}),
        "schema": schema,
    }
    for name, schema in AskHeaders.model_json_schema()["properties"].items()
]
