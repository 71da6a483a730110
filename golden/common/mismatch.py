"""The first difference between what a record says and what the golden endpoint says."""

__all__ = ["Mismatch"]


class Mismatch(Exception):
    """A record that cannot be, or one that is still owed.

    `field` is the record's field (or `owed`), `expected` and `seen` are values or a few words. Where it happened
    (`step`, `head`, `block`, `sequence`, `kind`) is filled in by `locate`, since the part that finds a difference knows
    only what it follows.
    """

    def __init__(self, field, expected, seen):
        super().__init__(field, expected, seen)
        self.field, self.expected, self.seen = field, expected, seen
        self.step = self.head = self.block = self.sequence = self.kind = None

    def locate(self, *, step, head, block, sequence, kind):
        """Add the place; returns the mismatch itself."""
        self.step, self.head, self.block, self.sequence, self.kind = step, head, block, sequence, kind
        return self

    def __str__(self):
        return (
            f"step {self.step}, head {self.head}, block {self.block}, {self.kind} (record {self.sequence}): "
            f"{self.field}: expected {self.expected}, seen {self.seen}"
        )
