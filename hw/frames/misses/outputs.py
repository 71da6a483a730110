"""What the miss engine sends about the miss at hand: slots, notes, sidecar operations, page commands."""

__all__ = ["MissOutputs"]


class MissOutputs:
    """The outgoing streams of the engine, whose payloads name the miss at hand unless a state says otherwise.

    Parameters
    ----------
    engine : MissEngine
        Whose ports these are.
    table : MissTable
    """

    def __init__(self, engine, table):
        self._table = table
        self.slots, self.notes = engine.engine_slots, engine.notes
        self.page_commands, self.sidecar_ops, self._sidecar_done = (
            engine.page_commands, engine.sidecar_ops, engine.sidecar_done,
        )  # fmt: skip

    def name_miss(self, m):
        """Name the miss at hand in every payload."""
        table, slot, command = self._table, self.slots.payload, self.page_commands.payload
        sel, (head, block) = table.sel, table.place
        m.d.comb += [
            slot.head.eq(head),
            slot.block.eq(block),
            slot.frame.eq(table.frame[sel]),
            slot.mode.eq(table.mode[sel]),
            self.sidecar_ops.payload.mode.eq(table.mode[sel]),
            self.sidecar_ops.payload.frame.eq(table.frame[sel]),
            command.tag.eq(sel),
            command.page.eq(table.index[sel]),
            command.frame.eq(table.frame[sel]),
            command.mode.eq(table.mode[sel]),
        ]

    def offer_slot(self, m, kind, **values):
        """Offer a slot about the miss's block."""
        slot = self.slots.payload
        m.d.comb += [
            slot.kind.eq(kind),
            self.slots.valid.eq(1),
            *(getattr(slot, name).eq(value) for name, value in values.items()),
        ]

    def offer_note(self, m, kind, **values):
        """Offer a note about the miss's block."""
        note = self.notes.payload
        head, block = self._table.place
        values = {"head": head, "block": block} | values
        m.d.comb += [
            note.kind.eq(kind),
            self.notes.valid.eq(1),
            *(getattr(note, name).eq(value) for name, value in values.items()),
        ]

    def sidecar_states(self, m, name, kind, then):
        """State `name`: an operation on the sidecar rows of the miss's frame."""
        with m.State(name):
            m.d.comb += [self.sidecar_ops.payload.kind.eq(kind), self.sidecar_ops.valid.eq(1)]
            with m.If(self.sidecar_ops.ready):
                m.next = f"{name}_WAIT"
        with m.State(f"{name}_WAIT"):
            with m.If(self._sidecar_done):
                m.next = then
