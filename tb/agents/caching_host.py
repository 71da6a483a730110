"""A host as a cache sees it: MESI states, requests that obey the rules of a host, and answers to snoops.

Independent of any simulator: `start` begins a request, `poll` gives the messages to send, `on_ndr`, `on_drs` and
`on_bisnp` take what comes, `tick` lets time pass. `tb/agents/cache_agent.py` joins it to the ports. Rules of a host:
CXL 3.0 section 3.5.1 and table 3-55 by the numbering of 3.1.
"""

import random
from collections import Counter, deque
from dataclasses import dataclass, field

from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.messages import (
    DRSOpcode,
    MetaField,
    MetaValue,
    NDROpcode,
    ReqOpcode,
    RwDOpcode,
    SnpType,
)
from kv_endpoint.golden.front.address import Target, decode
from kv_endpoint.golden.host.operations import FULL
from kv_endpoint.tb.agents.snoop_agent import Manners, SnoopAgent
from kv_endpoint.tb.checks.coherent_image import Mesi
from kv_endpoint.tb.checks.image import POISON, LineWrite
from kv_endpoint.tb.checks.responses import ProtocolError
from kv_endpoint.tb.stimuli.stimulus import TAGS

__all__ = ["FIRST_TAG", "CachingHost", "Transaction"]

#: tags below are for messages that a test makes by hand (`tb/agents/host.py`)
FIRST_TAG = TAGS // 2

_INVALID = {"meta_field": MetaField.META0_STATE, "meta_value": MetaValue.INVALID}
_ANY = {"meta_field": MetaField.META0_STATE, "meta_value": MetaValue.ANY}
_SHARED = {"meta_field": MetaField.META0_STATE, "meta_value": MetaValue.SHARED}
_NO_OP = {"meta_field": MetaField.NO_OP}
_SNP_INV, _SNP_DATA, _SNP_CUR = ({"snp_type": snoop} for snoop in (SnpType.SNP_INV, SnpType.SNP_DATA, SnpType.SNP_CUR))
#: the fields that make a message of an access
MESSAGES = {
    Access.READ_CURRENT: {"opcode": ReqOpcode.MEM_RD, **_NO_OP, **_SNP_CUR},
    Access.READ_INVALIDATE: {"opcode": ReqOpcode.MEM_RD, **_NO_OP, **_SNP_INV},
    Access.READ_SHARED: {"opcode": ReqOpcode.MEM_RD, **_SHARED, **_SNP_DATA},
    Access.READ_DATA: {"opcode": ReqOpcode.MEM_RD_DATA, **_NO_OP, **_SNP_DATA},
    Access.READ_OWN: {"opcode": ReqOpcode.MEM_RD, **_ANY, **_SNP_INV},
    Access.OWN: {"opcode": ReqOpcode.MEM_INV, **_ANY, **_SNP_INV},
    Access.FLUSH: {"opcode": ReqOpcode.MEM_INV, **_INVALID, **_SNP_INV},
    Access.FORGET: {"opcode": ReqOpcode.MEM_CLN_EVCT, **_INVALID},
    Access.WRITE_THROUGH: {"opcode": RwDOpcode.MEM_WR, **_INVALID, **_SNP_INV},
    Access.WRITE_BACK: {"opcode": RwDOpcode.MEM_WR, **_INVALID},
    Access.WRITE_KEEP: {"opcode": RwDOpcode.MEM_WR, **_ANY},
}
_ALL = frozenset(Mesi)
#: states from which a host may ask. A flush of a line that is dirty would lose it: it has to be written back before.
_FROM = {
    Access.READ_CURRENT: _ALL,
    Access.READ_INVALIDATE: _ALL,
    Access.READ_SHARED: {Mesi.I, Mesi.S},
    Access.READ_DATA: {Mesi.I, Mesi.S},
    Access.READ_OWN: _ALL,
    Access.OWN: _ALL,
    Access.FLUSH: _ALL - {Mesi.M},
    Access.FORGET: {Mesi.S, Mesi.E},
    Access.WRITE_THROUGH: {Mesi.I},
    Access.WRITE_BACK: {Mesi.M},
    Access.WRITE_KEEP: {Mesi.M},
}
#: requests after which nothing is cached that was not before, and whose data may be any the line had meanwhile
_UNCACHED = {Access.READ_CURRENT, Access.READ_INVALIDATE}
_WITH_DATA = _UNCACHED | {Access.READ_SHARED, Access.READ_DATA, Access.READ_OWN}
_GRANTED = {NDROpcode.CMP_S: Mesi.S, NDROpcode.CMP_E: Mesi.E}


@dataclass
class Transaction:
    """A request from `start` to its last response. `contents`: the data that came, POISON for poison."""

    access: Access
    address: int
    tag: int
    #: clock of its start
    started: int
    #: of OWN: what the host writes as soon as it may; None: nothing
    data: int | None = None
    ndr: NDROpcode | None = None
    drs: DRSOpcode | None = None
    contents: int | None = None
    done: bool = False
    listeners: list = field(default_factory=list)

    @property
    def nxm(self):
        return self.drs == DRSOpcode.MEM_DATA_NXM


class CachingHost:
    """One host's cache over the lines of `regions`, and its part of the protocol.

    Parameters
    ----------
    number : int
        The host, as the endpoint counts: its BI-ID. Its LD-ID is the same unless `ld_id` is given.
    regions : sequence of Region
        Assign to it when the CSRs change.
    image : CoherentImage
        Shared by all hosts; it holds this one's copies.
    seed : any
        Of all that is random here: opcodes that mean the same, and the snoop agent's choices.
    manners : Manners
        How snoops are answered (`tb/agents/snoop_agent.py`).
    unwritable_allowed : bool
        Flash may be unwritable: a read that may be cached may be answered MemData-NXM, MemInv for ownership Cmp.

    A line has at most one Req and one RwD of a host in flight: both only while a snoop has dirty data written. Raises
    `ProtocolError`, `DataMismatch` or `CoherenceError` for what the endpoint may not do.
    """

    def __init__(self, config, *, number, regions, image, seed=0, manners=None, ld_id=None, unwritable_allowed=False):
        self._config = config
        self.number, self.image = number, image
        self.regions = tuple(regions)
        self.ld_id = number if ld_id is None else ld_id
        self._rng = random.Random(f"{seed}/cache {number}")
        self._unwritable_allowed = unwritable_allowed
        self.now = 0
        #: requests by kind, completions, data
        self.counts = Counter()
        self._tags = 0
        self._by_tag = {}
        self._req_of, self._rwd_of = {}, {}
        self._out = {"req": deque(), "rwd": deque(), "birsp": deque()}
        self.snoops = SnoopAgent(self, seed=f"{seed}/snoops {number}", manners=manners or Manners())

    # Requests ---------------------------------------------------------------------------------------------------------

    def state(self, address):
        return self.image.copy(self.number, address).state

    def contents(self, address):
        """What the host's copy holds."""
        return self.image.copy(self.number, address).contents

    def may(self, access, address):
        """Whether a request may be started now: the line's state allows it, and nothing of the line is under way."""
        return self._free(address) and self.state(address) in _FROM[access]

    def may_store(self, address):
        """Whether the host may write its copy now."""
        return self._free(address) and self.state(address).owned

    def may_drop(self, address):
        """Whether the host may drop its copy and tell nobody."""
        return self._free(address) and self.state(address) in (Mesi.S, Mesi.E)

    def start(self, access, address, *, data=None, be=FULL, poison=False):
        """Begin a request and return its `Transaction`.

        `data`: of WRITE_THROUGH what is written, of OWN what the host writes once it owns the line. Raises ValueError
        for what the host may not ask for now.
        """
        if not self.may(access, address):
            raise ValueError(f"{access.name} of line {address:#x} in state {self.state(address).name}: not now")
        return self._start(access, address, data=data, be=be, poison=poison)

    def store(self, address, data):
        """Write the copy of a line that the host owns. Raises ValueError if it may not."""
        if not self.may_store(address):
            raise ValueError(f"store to line {address:#x} in state {self.state(address).name}: not now")
        self.image.store(self.number, address, data)
        self.counts["store"] += 1

    def drop(self, address):
        """Drop a clean copy silently. Raises ValueError if the host may not."""
        if not self.may_drop(address):
            raise ValueError(f"drop of line {address:#x} in state {self.state(address).name}: not now")
        self.image.keep(self.number, address, Mesi.I)
        self.counts["drop"] += 1

    def forget(self, image):
        """In a reset of everything: nothing is under way, nothing is held; `image` is what memory holds now."""
        self.image = image
        self._by_tag.clear()
        self._req_of.clear()
        self._rwd_of.clear()
        for queue in self._out.values():
            queue.clear()
        self.snoops.forget()

    @property
    def outstanding(self):
        """Requests started and not completely answered."""
        return len(self._by_tag)

    @property
    def idle(self):
        """No request is open, no snoop is unanswered, and nothing waits to be sent."""
        return not self._by_tag and not self.snoops.open and not any(self._out.values())

    def oldest(self):
        """A few words on the request that waits longest; None if none does."""
        if not self._by_tag:
            return None
        oldest = min(self._by_tag.values(), key=lambda transaction: transaction.started)
        return (
            f"{oldest.access.name} tag {oldest.tag} of line {oldest.address:#x} of host {self.number}, "
            f"started in clock {oldest.started}"
        )

    def owns(self, ld_id, tag):
        """Whether a response is this host's."""
        return ld_id == self.ld_id and tag >= FIRST_TAG

    def _free(self, address):
        under_way = address in self._req_of or address in self._rwd_of
        return not under_way and not self.snoops.locks(address)

    def _start(self, access, address, *, data=None, be=FULL, poison=False):
        transaction = Transaction(access, address, self._next_tag(), self.now, data)
        self._by_tag[transaction.tag] = transaction
        fields = MESSAGES[access] | {"tag": transaction.tag, "address": address, "ld_id": self.ld_id}
        self.counts[access.name] += 1
        if access.is_write:
            self._rwd_of[address] = transaction
            self._out["rwd"].append(fields | self._write(transaction, be, poison))
            return transaction
        if access in (Access.OWN, Access.FLUSH) and self._rng.random() < 0.5:
            fields |= {"opcode": ReqOpcode.MEM_INV_NT}
        if access in (Access.FLUSH, Access.FORGET):
            self.image.keep(self.number, address, Mesi.I)
        if access in _UNCACHED:
            self.image.read_issued(self.number, (self.number, transaction.tag), address)
        self._req_of[address] = transaction
        self._out["req"].append(fields)
        return transaction

    def _write(self, transaction, be, poison):
        """Data fields of a MemWr; what memory and the host hold from its issue on."""
        access, address = transaction.access, transaction.address
        data = transaction.data
        if access != Access.WRITE_THROUGH:
            data = self.contents(address)
            data, poison = (0, True) if data is POISON else (data, False)
        region = decode(self._config, self.regions, address, self.number).region
        if access != Access.WRITE_THROUGH or not region.shared:
            self.image.written(address, LineWrite(data, be, poison, region.mode))
        if access == Access.WRITE_BACK:
            self.image.keep(self.number, address, Mesi.I)
        elif access == Access.WRITE_KEEP:
            self.image.keep(self.number, address, Mesi.E)
        fields = {"data": data, "poison": int(poison)}
        if be != FULL:
            fields |= {"opcode": RwDOpcode.MEM_WR_PTL, "be_present": 1, "be": be}
        return fields

    def _next_tag(self):
        while True:
            tag = FIRST_TAG + self._tags % (TAGS - FIRST_TAG)
            self._tags += 1
            if tag not in self._by_tag:
                return tag

    # For the snoop agent ----------------------------------------------------------------------------------------------

    def req_of(self, address):
        """The Req of a line that is in flight, or None; `rwd_of` the same of its MemWr."""
        return self._req_of.get(address)

    def rwd_of(self, address):
        return self._rwd_of.get(address)

    def write_back(self, address, *, keep):
        """Have a dirty line written, for a snoop."""
        return self._start(Access.WRITE_KEEP if keep else Access.WRITE_BACK, address)

    def send_conflict(self, transaction):
        fields = {"opcode": RwDOpcode.BI_CONFLICT, "tag": transaction.tag, "ld_id": self.ld_id}
        self._out["rwd"].append(fields | {"address": transaction.address})

    def send_birsp(self, fields):
        self._out["birsp"].append(fields)

    # Messages ---------------------------------------------------------------------------------------------------------

    def poll(self, channel):
        """The next message of a channel (`req`, `rwd`, `birsp`) as a dict of its fields, or None."""
        return self._out[channel].popleft() if self._out[channel] else None

    def tick(self, now):
        """A clock has passed: `now` is its number."""
        self.now = now
        self.snoops.tick(now)

    def on_bisnp(self, fields):
        if fields["bi_id"] != self.number:
            raise ProtocolError(f"BISnp with BI-ID {fields['bi_id']} for host {self.number}")
        place = decode(self._config, self.regions, fields["address"], self.number)
        if place.target != Target.BLOCK or not place.region.cached:
            raise ProtocolError(f"BISnp of line {fields['address']:#x}, which host {self.number} cannot cache")
        self.snoops.take(fields, self.now)

    def on_ndr(self, fields):
        if fields["opcode"] == NDROpcode.BI_CONFLICT_ACK:
            self.snoops.acknowledged(fields["tag"])
            return
        transaction = self._transaction("ndr", fields["tag"])
        if transaction.ndr is not None or transaction.nxm:
            raise ProtocolError(f"second ndr with tag {transaction.tag} of {transaction.access.name}")
        transaction.ndr = NDROpcode(fields["opcode"])
        self._settle(transaction)

    def on_drs(self, fields):
        transaction = self._transaction("drs", fields["tag"])
        if transaction.access not in _WITH_DATA or transaction.drs is not None:
            raise ProtocolError(f"drs with tag {transaction.tag} of {transaction.access.name}, which is not due")
        transaction.drs = DRSOpcode(fields["opcode"])
        if transaction.nxm:
            self.counts["nxm"] += 1
            if not self._unwritable_allowed or transaction.ndr is not None:
                raise ProtocolError(f"MemData-NXM with tag {transaction.tag} for line {transaction.address:#x}")
        else:
            transaction.contents = POISON if fields["poison"] else fields["data"]
        if transaction.access in _UNCACHED:
            key = self.number, transaction.tag
            if transaction.nxm:
                self.image.read_cancelled(key, transaction.address)
            else:
                self.image.read_done(key, transaction.address, transaction.contents, self._name(transaction))
        self._settle(transaction)

    def _transaction(self, channel, tag):
        if tag not in self._by_tag:
            raise ProtocolError(f"{channel} with tag {tag} for host {self.number}, which is not in flight")
        return self._by_tag[tag]

    def _name(self, transaction):
        return f"{transaction.access.name} tag {transaction.tag} of host {self.number}"

    def _settle(self, transaction):
        """Finish a transaction that has all its responses."""
        if not transaction.nxm:
            if transaction.ndr is None or (transaction.access in _WITH_DATA and transaction.drs is None):
                return
            if transaction.access.caches:
                self._granted(transaction)
        place = self._rwd_of if transaction.access.is_write else self._req_of
        del place[transaction.address]
        del self._by_tag[transaction.tag]
        transaction.done = True
        self.counts["completed"] += 1
        for listener in transaction.listeners:
            listener()

    def _granted(self, transaction):
        address, what = transaction.address, self._name(transaction)
        if transaction.access == Access.OWN and transaction.ndr == NDROpcode.CMP and self._unwritable_allowed:
            self.counts["refused"] += 1
            return
        state = _GRANTED.get(transaction.ndr)
        if state is None:
            raise ProtocolError(f"{what} is completed with {transaction.ndr.name}")
        if transaction.access == Access.OWN:
            self.image.own(self.number, address, what)
            if transaction.data is not None:
                self.image.store(self.number, address, transaction.data)
        elif self.state(address).owned:
            # Its own copy is as good or better.
            self.image.check_memory(address, transaction.contents, what)
        else:
            self.image.fill(self.number, address, state, transaction.contents, what)
