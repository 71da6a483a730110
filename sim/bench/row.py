"""One line of what `python -m sim bench` prints: a measured number beside what it must reach."""

import operator
from dataclasses import dataclass

__all__ = ["Row"]

_RELATIONS = {">=": operator.ge, "<=": operator.le, "=": operator.eq}


@dataclass(frozen=True)
class Row:
    """`bench` is the name that `--only` takes. Without `required` the number is only reported."""

    bench: str
    name: str
    measured: float
    unit: str
    relation: str = ""
    required: float | None = None

    def __post_init__(self):
        if (self.required is None) != (self.relation == "") or self.relation not in ("", *_RELATIONS):
            raise ValueError(f"row {self.name!r}: relation and number must come together, not {self.relation!r}")

    @property
    def verdict(self):
        if self.required is None:
            return "reported"
        return "ok" if _RELATIONS[self.relation](self.measured, self.required) else "FAILED"

    @property
    def command(self):
        return f"python -m sim bench --only {self.bench}"

    def as_dict(self):
        return {
            "bench": self.bench,
            "name": self.name,
            "measured": self.measured,
            "unit": self.unit,
            "required": None if self.required is None else f"{self.relation} {self.required}",
            "verdict": self.verdict,
            "command": self.command,
        }

    def text(self):
        def number(value):
            if isinstance(value, int):
                return f"{value:,}"
            return f"{value:,.3f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"

        required = "" if self.required is None else f"{self.relation} {number(self.required)}"
        return f"{self.verdict:8}  {number(self.measured):>12} {self.unit:<16} {required:<14} {self.name}"
