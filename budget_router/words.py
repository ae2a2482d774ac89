"""The form that all words of the trade share: frozen, checked once at the border, refused in our own terms."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from budget_router.errors import InvalidInput


def storable(text: str) -> str:
    """Return `text` if every database and JSON can hold it; raises ValueError with the mend for NUL and lone surrogates."""
    if "\0" in text:
        raise ValueError(f"text holds a NUL byte at {text.index(chr(0))}: remove it, databases refuse it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text holds a lone surrogate at {error.start}: decode its source as UTF-8 with errors='replace'"
        ) from error
    return text


Text = Annotated[str, AfterValidator(storable)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(storable)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Time = AwareDatetime


class Word(BaseModel):
    """A frozen value; a wrong field raises `InvalidInput` that names the field, what was found and the limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, /, **fields: Any) -> None:  # Any: pydantic checks the fields just below
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise InvalidInput(explain(type(self).__name__, error)) from error

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a word back from `model_dump_json`; raises InvalidInput if it is not one."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InvalidInput(explain(cls.__name__, error)) from error


def explain(subject: str, error: ValidationError) -> str:
    """Tell a pydantic error as one line of found, limit and mend."""
    faults = []
    for fault in error.errors(include_url=False):
        place = ".".join(str(part) for part in fault["loc"])
        found = repr(fault["input"])
        shown = found if len(found) <= 60 else found[:57] + "..."
        place = f"{place}: " if place else ""
        if fault["type"] == "string_unicode":
            faults.append(place + "text holds a lone surrogate: decode its source as UTF-8 with errors='replace'")
        elif fault["type"] == "value_error":  # one of our own sentences, complete as it is
            faults.append(place + str(fault["ctx"]["error"]))
        else:
            faults.append(f"{place}{fault['msg']} (found {shown})")
    return f"{subject}: " + "; ".join(faults)
