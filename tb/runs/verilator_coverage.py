"""Line and toggle coverage as Verilator's simulations write it, of all instances of a module together."""

from collections import Counter

__all__ = ["FILE", "KINDS", "VerilogCoverage"]

#: file of a run's folder
FILE = "coverage.dat"
#: page of a point in the file -> what it counts
KINDS = {"v_line": "lines", "v_branch": "branches", "v_toggle": "toggles"}
_ITEM, _VALUE = "\x01", "\x02"


class VerilogCoverage:
    """`points`: how often it was reached, by (kind, module, where). What runs of one build reached adds up (`read`)."""

    def __init__(self):
        self.points = Counter()
        self._source = None

    def read(self, path):
        """Add what a simulation wrote. Raises ValueError for a line that is no point, or one of another build."""
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.startswith("#"):
                    continue
                try:
                    _, about, count = line.split("'")
                    fields = dict(item.split(_VALUE) for item in about.split(_ITEM)[1:])
                    page, module = fields["page"].split("/", 1)
                    where = fields["o"] if page == "v_toggle" else (int(fields["l"]), fields["o"])
                    self.points[KINDS[page], module.replace("__02e", "."), where] += int(count)
                    source = fields["f"]
                except (KeyError, ValueError):
                    raise ValueError(f"{path}: not a point of coverage: {line!r}") from None
                if self._source not in (None, source):
                    raise ValueError(f"{path}: coverage of {source}, that before was of {self._source}")
                self._source = source

    def shares(self, kind):
        """{module: (points that were reached, all)} of a kind."""
        reached, all_points = Counter(), Counter()
        for (of_kind, module, _), count in self.points.items():
            if of_kind == kind:
                all_points[module] += 1
                reached[module] += count > 0
        return {module: (reached[module], count) for module, count in all_points.items()}

    def missed(self, kind):
        """(module, where) of the points of a kind that were not reached."""
        return sorted(
            (module, where) for (of_kind, module, where), count in self.points.items() if of_kind == kind and not count
        )
