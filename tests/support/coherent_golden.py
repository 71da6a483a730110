"""A stand-in for the hardware with hosts that cache: snoops, answers, held requests in random order too."""

from kv_endpoint.golden.coherency.snoops import answer_aux, snoop_aux
from kv_endpoint.golden.coherency.state import HELD
from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK, Access, Grant, LineState, SnoopKind
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import EngineKind, ErrorKind
from kv_endpoint.golden.pipeline.metadata import Outcome, SlotKind
from kv_endpoint.golden.registers import rules as csr
from tests.support.concurrent_golden import ConcurrentDevice

__all__ = ["CoherentDevice", "region_writes", "regions_of"]

#: how a host holds a line, and what it may ask for then (CXL table 3-55); it may drop S and E silently
INVALID, SHARED, EXCLUSIVE, MODIFIED = "I", "S", "E", "M"
ASKS = {
    INVALID: (
        Access.READ_CURRENT, Access.READ_INVALIDATE, Access.READ_SHARED, Access.READ_DATA, Access.READ_OWN, Access.OWN,
        Access.FLUSH, Access.WRITE_THROUGH, Access.WRITE_BACK,
    ),
    SHARED: (Access.READ_SHARED, Access.READ_DATA, Access.READ_OWN, Access.OWN, Access.FORGET, Access.FLUSH),
    EXCLUSIVE: (Access.FORGET, Access.FLUSH, Access.READ_CURRENT),
    MODIFIED: (Access.WRITE_BACK, Access.WRITE_KEEP),
}  # fmt: skip
SAYS = {INVALID: LineState.I, SHARED: LineState.S, EXCLUSIVE: LineState.A}
#: lines of a block that hosts use
LINES = 12


def kind_of(access):
    """The slot kind of a request."""
    if access.is_write:
        return SlotKind.WRITE
    return SlotKind.RELEASE if access in (Access.FLUSH, Access.FORGET) else SlotKind.READ


def region_writes(config, regions):
    """Register writes that make the regions of a build these, (heads, CTRL fields) each, one behind the other."""
    first = 0
    yield "REGION[0].CTRL", csr.pack("REGION[0].CTRL", HOSTS=1)
    for number, (heads, control) in enumerate(regions):
        yield f"REGION[{number}].BASE_HI", number
        yield f"REGION[{number}].FIRST_HEAD", first
        yield f"REGION[{number}].HEADS", heads
        yield f"REGION[{number}].CTRL", csr.pack("REGION[0].CTRL", ENABLED=1, **control)
        first += heads


class CoherentDevice(ConcurrentDevice):
    """`regions`: (heads, CTRL fields) of each, as `region_writes` takes them; `faults`: bad answers and late ones come
    too.
    """

    def __init__(self, config, seed, *, regions, faults=False, **more):
        super().__init__(config, seed, **more)
        self._copies = {}
        self._pending = {}
        self._faults = faults
        for name, value in region_writes(config, regions):
            self.note(EngineKind.CSR_WRITE, key=csr.address(name), aux=value)

    def _busy(self):
        coherent = self.golden.coherent
        return super()._busy() or len(coherent.held) or coherent.snoops.outstanding

    # Hosts ------------------------------------------------------------------------------------------------------------

    def demand(self, head, block):
        if len(self.golden.coherent.held) + self.golden.misses.may_be_granted >= self.config.read_slots:
            return
        if self.random.random() < 0.5:
            # Where hosts meet
            head, block = 0, self.random.randrange(2)
        region = self.golden.region_of(head)
        host = self.random.choice([host for host in range(self.config.hosts) if region.hosts >> host & 1])
        line = self.random.randrange(LINES)
        where = host, head, block, line
        if where in self._pending:
            return
        access = Access.PLAIN
        if region.cached:
            held = self._copies.get(where, INVALID)
            access = self.random.choice(ASKS[held])
            if region.shared and access == Access.WRITE_THROUGH:
                self.slot(SlotKind.ANSWER, tag=self.next_tag(), rwd=True, outcome=Outcome.SHARED_WRITE)
                return
        kind = kind_of(access) if access else self.random.choice((SlotKind.READ, SlotKind.WRITE))
        self._pending[where] = access
        self.slot(
            kind, head, block, line=line, rwd=kind == SlotKind.WRITE, tag=self.next_tag(), access=access, host=host
        )

    def slot(self, kind, head=0, block=0, **fields):
        waiting = list(self.golden.misses.waiting.get((head, block), ()))
        result = super().slot(kind, head, block, **fields)
        if kind == SlotKind.ANSWER and result.outcome == Outcome.UNWRITABLE:
            request = next(each for each in waiting if each.tag == fields["tag"])
            where = request.host, head, block, request.line
            if request.access.is_write:
                self._copies.pop(where, None)
            del self._pending[where]
        elif "access" in fields and result.outcome not in HELD | {Outcome.MISS, Outcome.FIRST_WRITE}:
            where = fields["host"], head, block, fields["line"]
            del self._pending[where]
            self._completed(where, fields["access"], result)
        return result

    def _completed(self, where, access, result):
        """A request is completed: what the host does with its copy."""
        if access.caches:
            own = {Grant.CMP_S: SHARED, Grant.CMP_E: EXCLUSIVE}[result.grant]
            self._copies[where] = MODIFIED if own == EXCLUSIVE and self.random.random() < 0.5 else own
        elif access == Access.WRITE_KEEP and result.outcome != Outcome.NOT_OWNER:
            self._copies[where] = EXCLUSIVE
        elif access not in (Access.PLAIN, Access.READ_CURRENT, Access.READ_INVALIDATE):
            self._copies.pop(where, None)

    # Engines ----------------------------------------------------------------------------------------------------------

    def engines(self):
        pick, held = self.random.random(), self.golden.coherent.held
        if pick < 0.25:
            self.snoops()
        elif pick < 0.4 and held.ready:
            self.again(self.random.choice(held.ready))
        elif pick < 0.43:
            self.take_back()
        else:
            super().engines()

    def again(self, slot):
        self.slot(
            slot.kind, slot.head, slot.block, tag=slot.tag, line=slot.line, access=slot.access, host=slot.host,
            retry=slot.retry,
        )  # fmt: skip

    def take_back(self):
        coherent = self.golden.coherent
        has_place = coherent.snoops.has_place
        if self.random.random() < 0.3:
            number, everything = self.random.randrange(self.config.filter_sets), self.random.randrange(2)
            if coherent.filter.scrub(number, everything=everything, may_launch=has_place).launched:
                self.note(EngineKind.BI_SCRUB, key=number, aux=everything)
        elif coherent.covered:
            head, block = self.random.choice(sorted(coherent.covered))
            for number in range(SECTORS_PER_BLOCK):
                sector = coherent.sector(head, block, number * SECTOR_LINES)
                if coherent.filter.recall(sector, may_launch=has_place).launched:
                    self.note(EngineKind.BI_RECALL, head=head, block=block, key=number)
                    return

    def snoops(self):
        """One thing about an outstanding snoop."""
        outstanding = self.golden.coherent.snoops.outstanding
        if self._faults and self.random.random() < 0.02:
            self.note(EngineKind.ERROR, key=ErrorKind.BAD_BIRSP, aux=self.random.getrandbits(30))
        if not outstanding:
            return
        tag = self.random.choice(sorted(outstanding))
        place = outstanding[tag]
        head, block, sector = self.config.split_sector(place.snoop.sector)
        if not place.sent:
            self.note(EngineKind.BI_SNOOP, head=head, block=block, key=sector, aux=snoop_aux(tag, place.snoop))
        elif self._faults and not place.late and self.random.random() < 0.05:
            self.note(EngineKind.ERROR, key=ErrorKind.SNOOP_TIMEOUT, aux=tag)
        else:
            self.answer(tag, place, head, block, sector)

    def answer(self, tag, place, head, block, sector):
        """Some lines of a snoop, or a write-back that has to come first."""
        host, said = place.snoop.host, {}
        for line in range(SECTOR_LINES):
            if not place.open >> line & 1 or self.random.random() < 0.2:
                continue
            where = host, head, block, sector * SECTOR_LINES + line
            pending = self._pending.get(where)
            if pending is not None and pending.is_write:
                continue
            if self._copies.get(where) == MODIFIED:
                access = self.random.choice((Access.WRITE_BACK, Access.WRITE_KEEP))
                self._pending[where] = access
                self.slot(
                    SlotKind.WRITE, head, block, rwd=True, tag=self.next_tag(), line=where[-1], access=access, host=host
                )
                return
            if pending is not None and self.random.random() < 0.5:
                self.slot(SlotKind.ANSWER, tag=self.next_tag(), rwd=True, outcome=Outcome.CONFLICT)
            said[line] = self._says(where, place.snoop.kind)
        if said:
            self.note(EngineKind.BI_ANSWER, head=head, block=block, key=sector, aux=answer_aux(tag, said))

    def _says(self, where, kind):
        """How the host holds a clean line from now on."""
        own = self._copies.get(where, INVALID)
        if kind == SnoopKind.INV or self.random.random() < 0.2:
            own = INVALID
        elif kind == SnoopKind.DATA and own == EXCLUSIVE:
            own = SHARED
        self._copies[where] = own
        return SAYS[own]


def regions_of(config):
    """Of two hosts: a shared region, one that only host 0 has and that is not cached, one of host 1 in mode mxint8. Of
    one: all heads in one cached region.
    """
    if config.hosts == 1:
        return [(config.heads, {"CACHED": 1, "HOSTS": 1})]
    return [
        (config.heads - 2, {"CACHED": 1, "HOSTS": 3}),
        (1, {"HOSTS": 1}),
        (1, {"CACHED": 1, "HOSTS": 2, "MODE": Mode.MXINT8}),
    ]
