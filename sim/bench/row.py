"""One line of what `python -m sim bench` prints: a measured number beside what it must reach."""

import json
import operator
from dataclasses import dataclass

from kv_endpoint.sim.results.provenance import provenance

__all__ = ["Row", "write_rows"]

_RELATIONS = {">=": operator.ge, "<=": operator.le, "=": operator.eq}


@dataclass(frozen=True)
class Row:
    """`bench` is the name that `--only` takes. Without `required` the number is only reported.

    `command` measures it again; by default it is that bench.
    """

    bench: str
    name: str
    measured: float
    unit: str
    relation: str = ""
    required: float | None = None
    command: str = ""

    def __post_init__(self):
        if (self.required is None) != (self.relation == "") or self.relation not in ("", *_RELATIONS):
            raise ValueError(f"row {self.name!r}: relation and number must come together, not {self.relation!r}")
        if not self.command:
            object.__setattr__(self, "command", f"python -m sim bench --only {self.bench}")

    @property
    def verdict(self):
        if self.required is None:
            return "reported"
        return "ok" if _RELATIONS[self.relation](self.measured, self.required) else "FAILED"

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
        required = "" if self.required is None else f"{self.relation} {number(self.required)}"
        return f"{self.verdict:8}  {number(self.measured):>12} {self.unit:<16} {required:<14} {self.name}"


def number(value):
    """`value` as a person reads it: three digits after the point below 10, one below 100."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.3f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def write_rows(path, rows, broken=()):
    """Write `rows` and the names of benches that are `broken` as JSON, with where they come from.

    `python -m kv_endpoint.sim.bench.measured` makes `docs/measured.md` of such files.
    """
    contents = {"provenance": provenance(), "rows": [row.as_dict() for row in rows], "broken": list(broken)}
    path.write_text(json.dumps(contents, indent=1) + "\n")
