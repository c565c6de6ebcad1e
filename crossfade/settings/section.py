"""What every section of the settings has in common."""

from pydantic import BaseModel, ConfigDict

__all__ = [
    "Section",
]


class Section(BaseModel):
    """One table of ``crossfade.toml``: frozen, and an unknown key in it is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
