"""What all sections of settings have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Settings are frozen, and unknown names are errors. Defaults are checked too: two of them can contradict what is set."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        validate_default=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )
