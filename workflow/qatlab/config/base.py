"""What every configuration model shares: unknown keys are errors, values never change after validation."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A configuration section. Misspelt keys are refused rather than ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
