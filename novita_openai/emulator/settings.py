"""What the emulator's settings may be; each is checked whenever it is set."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, InstanceOf, StrictBool, StrictInt, ValidationError

from novita_openai.emulator.faults import Fault
from novita_openai.emulator.models import Model  # noqa: TC001 - pydantic reads the annotations

__all__ = ["EmulatorSettings", "checked"]

_ROUNDING: Final = 1e-9


def _in_order(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError("the least is more than the most")
    return span


def _known_shares(shares: dict[str, float]) -> dict[str, float]:
    for kind in shares:
        Fault(kind)
    if (total := sum(shares.values())) > 1 + _ROUNDING:
        raise ValueError(f"together they are {total:g}")
    return shares


_Name = Annotated[str, Field(min_length=1)]
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Positive = Annotated[_Number, Field(gt=0)]
_Seconds = Annotated[_Number, Field(ge=0)]
_Span = Annotated[tuple[_Seconds, _Seconds], AfterValidator(_in_order)]
_Shares = Annotated[dict[str, Annotated[_Number, Field(ge=0, le=1)]], AfterValidator(_known_shares)]
_PerModel = _Positive | dict[str, _Positive | None] | None


class EmulatorSettings(BaseModel):
    """The settings that are checked; a description completes the sentence "<name> must be ..."."""

    model_config = ConfigDict(validate_assignment=True)

    models: tuple[InstanceOf[Model] | _Name, ...] = Field(description="a list of ids and Models")
    keys: dict[_Name, _Number | None] | tuple[_Name, ...] | None = Field(
        description="None, a list of keys, or keys with their credit in dollars", repr=False
    )
    rpm: _PerModel = Field(description="above 0 requests a minute, or that for each model")
    tpm: _PerModel = Field(description="above 0 tokens a minute, or that for each model")
    burst: Annotated[_Number, Field(ge=1)] | None = Field(description="None or at least 1 request")
    concurrency: _PerModel = Field(description="above 0 requests, or that for each model")
    retry_after: StrictBool | _Seconds = Field(description="True, False or at least 0 seconds")
    latency: _Seconds | _Span = Field(description="at least 0 seconds, or the least and the most of them")
    chunk_interval: _Seconds = Field(description="at least 0 seconds")
    faults: _Shares = Field(description="shares of requests by kind of fault, from 0 to 1 together")
    clock: _Positive = Field(description="above 0 seconds in each second")
    batch_seconds: _Seconds = Field(description="at least 0 seconds")
    batch_status_case: Literal["lower", "upper"] = Field(description="'lower' or 'upper'")
    batch_list_delay: _Seconds = Field(description="at least 0 seconds")
    batch_list_pages: StrictBool = Field(description="True or False")
    port: StrictInt = Field(ge=0, le=65_535, description="0 (a free one) to 65535")


def checked(name: str, value: Any) -> Any:
    """Return a setting's value in the form in which it is kept; raise ``ValueError`` for an invalid one."""
    settings = EmulatorSettings.model_construct()
    try:
        setattr(settings, name, value)
    except ValidationError as error:
        raise ValueError(_describe(name, value, error)) from None  # pydantic's own text shows the value, a key too
    return getattr(settings, name)


def _describe(name: str, value: Any, error: ValidationError) -> str:
    field = EmulatorSettings.model_fields[name]
    given = f", not {value!r}" if field.repr else "; what was given is not shown, as it may hold a key"
    contexts = [each.get("ctx", {}) for each in error.errors()]
    reasons = [str(context["error"]) for context in contexts if "error" in context]
    return ": ".join([f"{name} must be {field.description}{given}", *reasons])
