"""What the typed parameters of layouts, allocations and scalings share: strict types, and words for what is wrong.

Types and bounds are pydantic's own; the words that stand beside them are looked up only where a value is refused.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from mmrope_eval.errors import UserError
from mmrope_eval.words import nearest, shown


class VariantError(UserError, ValueError):
    """A RoPE variant that cannot be: one sentence naming the parameter and the fix."""


@dataclass(frozen=True)
class Takes:
    """What a parameter takes, in words, however many alternatives its type has."""

    words: str


@dataclass(frozen=True)
class Must:
    """The bound of a parameter in words: they go on the sentence "must ..."."""

    words: str


class Parameters(BaseModel):
    """The parameters of one kind of layout, allocation or scaling: exactly its own, of exactly their types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @classmethod
    def refusal(cls, key: str, value: Any, *, is_bound: bool) -> str | None:
        """Why a parameter cannot have a value, which is of another type or, with `is_bound`, beyond a bound; None
        where the parameter has no words for it."""
        for words in _words(cls.model_fields[key]):
            if is_bound and isinstance(words, Must):
                return f"must {words.words}, not {shown(value)}"
            if not is_bound and isinstance(words, Takes):
                return f"cannot be {shown(value)}; it takes {words.words}"
        return None


def _words(field: Any) -> Iterator[Any]:
    """What stands beside the type of a field, also where it may be None."""
    yield from field.metadata
    for part in typing.get_args(field.annotation):
        yield from getattr(part, "__metadata__", ())


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` with the known word that is closest in any letter case, or nothing."""
    close = nearest(word, words)
    return f" (did you mean '{close}'?)" if close else ""


_LARGEST: Final = 2**63
# An integer stays an integer: the fingerprint of a variant tells 16 from 16.0.
FiniteNumber = (
    Annotated[StrictInt, Field(gt=-_LARGEST, lt=_LARGEST)] | Annotated[StrictFloat, Field(allow_inf_nan=False)]
)
"""An int or a float as it was written; a bool, a text, nan and infinity are none. For use beside a `Takes`."""
Number = Annotated[FiniteNumber, Takes("a finite number")]
Positive = Annotated[Number, Field(gt=0), Must("be positive")]
NotNegative = Annotated[Number, Field(ge=0), Must("not be negative")]
Share = Annotated[Number, Field(ge=0, le=1), Must("lie between 0 and 1")]
PositiveInt = Annotated[StrictInt, Field(gt=0, lt=_LARGEST), Takes("a whole number"), Must("be positive")]
Switch = Annotated[StrictBool, Takes("true or false")]
Words = Annotated[StrictStr, Takes("text")]
