"""What the typed parameters of layouts, allocations and scalings share: strict types, and words for what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from mmrope_eval.errors import UserError
from mmrope_eval.words import nearest, shown


class VariantError(UserError, ValueError):
    """A RoPE variant that cannot be: one sentence naming the parameter and the fix."""


class Parameters(BaseModel):
    """The parameters of one kind of layout, allocation or scaling: exactly its own, of exactly their types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` with the known word that is closest in any letter case, or nothing."""
    close = nearest(word, known)
    return f" (did you mean '{close}'?)" if close else ""


def takes(words: str) -> WrapValidator:
    """The check of a type, failing with one phrase however many alternatives the type has."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise ValueError(f"cannot be {shown(value)}; it takes {words}") from None

    return WrapValidator(check)


def must(words: str, holds: Callable[[Any], bool]) -> AfterValidator:
    """The check that something `holds` of a value; `words` go on the sentence "must ..., not VALUE"."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError(f"must {words}, not {list(value) if isinstance(value, tuple) else value}")
        return value

    return AfterValidator(check)


_POSITIVE = must("be positive", lambda value: value > 0)


_LARGEST = 2**63
# An integer stays an integer: the fingerprint of a variant tells 16 from 16.0.
FiniteNumber = (
    Annotated[StrictInt, Field(gt=-_LARGEST, lt=_LARGEST)] | Annotated[StrictFloat, Field(allow_inf_nan=False)]
)
"""An int or a float as it was written; a bool, a text, nan and infinity are none. For use inside `takes`."""
Number = Annotated[FiniteNumber, takes("a finite number")]
Positive = Annotated[Number, _POSITIVE]
NotNegative = Annotated[Number, must("not be negative", lambda value: value >= 0)]
Share = Annotated[Number, must("lie between 0 and 1", lambda value: 0 <= value <= 1)]
PositiveInt = Annotated[StrictInt, Field(gt=-_LARGEST, lt=_LARGEST), takes("a whole number"), _POSITIVE]
Switch = Annotated[StrictBool, takes("true or false")]
Words = Annotated[StrictStr, takes("text")]


def as_tuple(value: Any) -> Any:
    """YAML and JSON write a tuple as a list."""
    return tuple(value) if isinstance(value, list) else value
