"""A device in plain Python that keeps the rules of hw/README.md "Coherency", or breaks one on purpose; and its hosts.

It serves whole lines from a dictionary, so that the host agents and the protocol monitor can be tested without RTL.
"""

import random
from collections import deque
from dataclasses import dataclass, replace

from kv_endpoint.golden.coherency.filter import SnoopFilter, set_of
from kv_endpoint.golden.common.config import SECTOR_LINES
from kv_endpoint.golden.common.line_access import SECTORS_PER_BLOCK, LineState, Retry, answer_lines, snoop_opcode
from kv_endpoint.golden.common.messages import BIRspOpcode, DRSOpcode, NDROpcode
from kv_endpoint.golden.front.address import Region, encode
from kv_endpoint.golden.front.frontend import slot_of_req, slot_of_rwd
from kv_endpoint.golden.pipeline.metadata import DataKind, Entry, Outcome, SlotKind, commit
from kv_endpoint.tb.agents.caching_host import CachingHost
from kv_endpoint.tb.checks.coherent_image import CoherentImage
from kv_endpoint.tb.checks.image import POISON, LineWrite
from kv_endpoint.tb.checks.protocol import ProtocolMonitor
from kv_endpoint.tb.stimuli.coherent_traffic import CoherentTraffic

__all__ = ["FAULTS", "CoherentBench", "CoherentDevice"]

#: what a device may do wrong
FAULTS = (
    "ack overtakes", "two acks", "no ack", "snoop before its completions", "filter forgets when the snoop leaves",
    "low address ignored", "exclusive taken for invalid", "write-back lost", "stale data", "grant under a snoop",
    "BITag used twice", "mask zero", "shared for owned", "response lost", "response twice", "wrong LD-ID",
    "wrong host is asked",
)  # fmt: skip
DELAY_MAX = 30


@dataclass
class _Sent:
    """A snoop that holds a place of the table."""

    snoop: object
    open: int
    sent: bool = False


class CoherentDevice:
    """Takes M2S messages with `take`, gives S2M messages in `out` after `step`, once a clock.

    `fault`: one of `FAULTS`, which then happens at random. `recalls`: probability of a recall of some sector, a clock.
    """

    def __init__(self, config, regions, *, seed, fault=None, recalls=0.0):
        self.config, self.regions = config, regions
        self.fault, self._recalls = fault, recalls
        self._rng = random.Random(f"{seed}/device")
        self.filter = SnoopFilter(config)
        self.out = {"ndr": deque(), "drs": deque(), "bisnp": deque()}
        self._memory = {}
        self._snoops = {}
        self._reqs, self._held = deque(), []
        #: (clock, order, what queues the responses, sector) of what is granted and not answered
        self._flying = []
        self._line_due = {}
        self._now = self._count = 0
        #: BIRsp that were not legal; how often the fault happened
        self.refused = self.faults_made = 0

    @property
    def idle(self):
        return not (self._snoops or self._reqs or self._held or self._flying or any(self.out.values()))

    def _breaks(self, fault, share=0.2):
        made = self.fault == fault and self._rng.random() < share
        self.faults_made += made
        return made

    # Messages ---------------------------------------------------------------------------------------------------------

    def take(self, channel, fields):
        if channel == "req":
            self._reqs.append(fields)
        elif channel == "birsp":
            self._answer(fields)
        else:
            self._rwd(fields)

    def _rwd(self, fields):
        slot = slot_of_rwd(self.config, self.regions, fields)
        if slot.kind == SlotKind.ANSWER:
            if slot.outcome == Outcome.CONFLICT:
                self._acknowledge(fields)
            else:
                self._ndr(fields, NDROpcode.CMP)
            return
        verdict = self.filter.access(slot.access, slot.host, self._sector(slot), slot.line % SECTOR_LINES)
        if not verdict.owner:
            self._ndr(fields, NDROpcode.CMP)
            return
        self.filter.apply(set_of(self.config, self._sector(slot)), verdict)
        be = fields.get("be", 0) if fields.get("be_present") else (1 << 64) - 1
        write = LineWrite(fields["data"], be, bool(fields["poison"]))
        if not self._breaks("write-back lost"):
            address = fields["address"]
            self._memory[address] = write.applied(self._memory.get(address, 0))
        self._fly(fields, None, lambda: self._ndr(fields, NDROpcode.CMP))

    def _acknowledge(self, fields):
        if self._breaks("no ack"):
            return
        self._ndr(fields, NDROpcode.BI_CONFLICT_ACK, first=self._breaks("ack overtakes", 0.8))
        if self._breaks("two acks"):
            self._ndr(fields, NDROpcode.BI_CONFLICT_ACK)

    def _ndr(self, fields, opcode, first=False):
        ld_id = fields["ld_id"] ^ self._breaks("wrong LD-ID", 0.05)
        response = {"opcode": opcode, "tag": fields["tag"], "ld_id": ld_id}
        if self._breaks("response lost", 0.05):
            return
        for _ in range(1 + self._breaks("response twice", 0.05)):
            self.out["ndr"].appendleft(response) if first else self.out["ndr"].append(response)

    def _sector(self, slot):
        index = slot.head * self.config.blocks_per_head + slot.block
        return index * SECTORS_PER_BLOCK + slot.line // SECTOR_LINES

    # Requests ---------------------------------------------------------------------------------------------------------

    def step(self, now):
        self._now = now
        for flight in sorted(self._flying)[:]:
            if flight[0] <= now:
                self._flying.remove(flight)
                flight[2]()
        self._retry_or_take()
        if self._recalls and self._rng.random() < self._recalls:
            self._recall()
        self._send()

    def _retry_or_take(self):
        for number, (fields, slot, waits) in enumerate(self._held):
            if waits is None or waits not in [sent.snoop.sector for sent in self._snoops.values()]:
                del self._held[number]
                self._request(fields, slot)
                return
        if self._reqs:
            fields = self._reqs.popleft()
            self._request(fields, slot_of_req(self.config, self.regions, fields))

    def _request(self, fields, slot):
        sector = self._sector(slot)
        may_launch = len(self._snoops) < self.config.snoops
        verdict = self.filter.access(
            slot.access, slot.host, sector, slot.line % SECTOR_LINES, retry=slot.retry, may_launch=may_launch
        )
        if verdict.held == Outcome.HELD_LINE and not verdict.launched and self._breaks("grant under a snoop"):
            self._grant(fields, slot, NDROpcode.CMP_E if slot.access.caches else NDROpcode.CMP)
            return
        self.filter.apply(set_of(self.config, sector), verdict)
        self._launch(verdict)
        if verdict.held is None:
            self._grant(fields, slot, NDROpcode(verdict.grant))
            return
        retry = Retry.SNOOPED if verdict.held == Outcome.HELD_LINE else Retry.WAITED
        self._held.append((fields, replace(slot, retry=retry), verdict.waits_for))

    def _grant(self, fields, slot, opcode):
        if opcode == NDROpcode.CMP_E and self._breaks("shared for owned"):
            opcode = NDROpcode.CMP_S
        data = commit(Entry(), slot, 0, None).data
        contents = self._memory.get(fields["address"], 0)
        if self._breaks("stale data") and contents is not POISON:
            contents ^= 1

        def respond():
            self._ndr(fields, opcode)
            if data == DataKind.ZEROS and slot.kind == SlotKind.READ:
                response = {"opcode": DRSOpcode.MEM_DATA, "tag": fields["tag"], "ld_id": fields["ld_id"]}
                response |= {"data": 0 if contents is POISON else contents, "poison": int(contents is POISON)}
                self.out["drs"].append(response)

        self._fly(fields, self._sector(slot), respond)

    def _fly(self, fields, sector, respond):
        """Have `respond` called after a while, in order with what concerns the same line."""
        address = fields["address"]
        due = max(self._now + self._rng.randint(1, DELAY_MAX), self._line_due.get(address, 0))
        self._line_due[address] = due
        self._count += 1
        self._flying.append((due, self._count, respond, sector))

    # Snoops -----------------------------------------------------------------------------------------------------------

    def _launch(self, verdict):
        for snoop in verdict.launched:
            free = [tag for tag in range(self.config.snoops) if tag not in self._snoops]
            self._snoops[free[0]] = _Sent(snoop, snoop.lines)

    def _recall(self):
        covered = sorted(self.filter.covered)
        if covered and len(self._snoops) < self.config.snoops:
            head, block = self._rng.choice(covered)
            index = head * self.config.blocks_per_head + block
            sector = index * SECTORS_PER_BLOCK + self._rng.randrange(SECTORS_PER_BLOCK)
            verdict = self.filter.recall(sector)
            self.filter.apply(set_of(self.config, sector), verdict)
            self._launch(verdict)

    def _send(self):
        for tag, sent in self._snoops.items():
            granted = any(sector == sent.snoop.sector for *_, sector in self._flying)
            early = granted and self._breaks("snoop before its completions", 0.9)
            if sent.sent or (granted and not early):
                continue
            sent.sent = True
            self._send_one(tag, sent.snoop)

    def _send_one(self, tag, snoop):
        opcode, low = snoop_opcode(snoop)
        if opcode >= 4 and self._breaks("mask zero"):
            low = 0
        head, block, local = self.config.split_sector(snoop.sector)
        base = encode(self.config, self.regions[0], head, block, local * SECTOR_LINES)
        others = [other for other, sent in self._snoops.items() if sent.sent and other != tag]
        if others and self._breaks("BITag used twice"):
            tag = others[0]
        host = snoop.host ^ self._breaks("wrong host is asked")
        self.out["bisnp"].append({"opcode": opcode, "bi_id": host, "bi_tag": tag, "address": base + low})
        if self._breaks("filter forgets when the snoop leaves", 0.5):
            lines = [line for line in range(SECTOR_LINES) if snoop.lines >> line & 1]
            self._apply_answer(snoop, dict.fromkeys(lines, LineState.I))

    def _answer(self, fields):
        sent = self._snoops.get(fields["bi_tag"])
        if sent is None:
            self.refused += 1
            return
        low, opcode = fields["low_addr"], fields["opcode"]
        if self._breaks("low address ignored", 0.9):
            low = (sent.open & -sent.open).bit_length() - 1
        answered = answer_lines(sent.snoop, sent.open, opcode, low)
        if answered is None:
            self.refused += 1
            return
        if opcode in (BIRspOpcode.E, BIRspOpcode.E_BLK) and self._breaks("exclusive taken for invalid", 0.9):
            answered = dict.fromkeys(answered, LineState.I)
        self._apply_answer(sent.snoop, answered)
        for line in answered:
            sent.open &= ~(1 << line)
        if not sent.open:
            del self._snoops[fields["bi_tag"]]

    def _apply_answer(self, snoop, answered):
        # A filter that has forgotten the sector has nothing to change.
        if any(way is not None and way.sector == snoop.sector for way in self.filter.row(snoop.sector).ways):
            self.filter.apply(set_of(self.config, snoop.sector), self.filter.answer(snoop, answered))


class CoherentBench:
    """`config.hosts` caching hosts, random traffic, the monitor and a device, clock by clock.

    `lines`: the line addresses that all hosts use. `stalls`: probability that a channel pauses, by name.
    """

    LIMIT = 200_000

    def __init__(self, config, *, seed, lines, requests, shares=None, manners=None, stalls=None, **device):
        region = Region(0, config.heads, cached=True, hosts=(1 << config.hosts) - 1)
        self._rng = random.Random(f"{seed}/bench")
        self._stalls = dict.fromkeys(("req", "rwd", "birsp", "ndr", "drs", "bisnp"), 0.3) | (stalls or {})
        self.device = CoherentDevice(config, (region,), seed=seed, **device)
        self.monitor = ProtocolMonitor(config, regions=(region,))
        self.image = CoherentImage()
        self.hosts = [
            CachingHost(config, number=number, regions=(region,), image=self.image, seed=seed, manners=manners)
            for number in range(config.hosts)
        ]
        self.traffic = [
            CoherentTraffic(host, lines, seed=seed, requests=requests, shares=shares) for host in self.hosts
        ]
        self.now = 0

    def run(self):
        """Until every request is answered. Raises what hosts and monitor raise."""
        while not all(traffic.done for traffic in self.traffic) or not self.device.idle:
            assert self.now < self.LIMIT, f"unanswered: {[host.oldest() for host in self.hosts]}"
            self.clock()
        self.monitor.finish()

    def clock(self):
        self.now += 1
        for host, traffic in zip(self.hosts, self.traffic, strict=True):
            host.tick(self.now)
            traffic.tick()
        for channel in ("req", "rwd", "birsp"):
            if self._rng.random() >= self._stalls[channel]:
                self._send(channel)
        self.device.step(self.now)
        for channel, queue in self.device.out.items():
            if queue and self._rng.random() >= self._stalls[channel]:
                fields = queue.popleft()
                self.monitor.take(channel, fields)
                host = self.hosts[fields["bi_id"] if channel == "bisnp" else fields["ld_id"]]
                getattr(host, f"on_{channel}")(fields)

    def _send(self, channel):
        for host in self._rng.sample(self.hosts, len(self.hosts)):
            fields = host.poll(channel)
            if fields is not None:
                fields = {"poison": 0, "be_present": 0, "snp_type": 0, "meta_value": 0, "meta_field": 0} | fields
                self.monitor.take(channel, fields)
                self.device.take(channel, fields)
                return
