"""How a flow's parameters look in Prefect's form."""

from typing import Any

from pydantic import Field
from pydantic.fields import FieldInfo

__all__ = ["titled"]


def titled(title: str, **limits: Any) -> FieldInfo:
    """A parameter's heading in the form, to be put into ``Annotated``, with pydantic's limits.

    Prefect takes the description from the docstring and the heading, whatever ``title`` says,
    from the parameter's name; only the schema's extra part goes over it.
    """
    field: FieldInfo = Field(json_schema_extra={"title": title}, **limits)
    return field
