"""What all contracts share: strict, immutable pydantic models of JSON values."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

#: A name for an agent, voter or candidate as users write it.
Name = Annotated[str, Field(min_length=1, max_length=200)]
#: Seconds, positive.
Seconds = Annotated[float, Field(gt=0, le=30 * 24 * 3600)]

__all__ = ["Contract", "JsonValue", "Name", "Seconds"]


class Contract(BaseModel):
    """A value that travels in a payload. Unknown fields are refused, so typos are seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def compact(self) -> dict[str, Any]:
        """JSON without what is at its default; reading it again gives an equal value."""
        return self.model_dump(mode="json", exclude_defaults=True)
