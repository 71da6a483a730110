"""The host agents and the protocol monitor, against a device in plain Python: sound on a right one, and not fooled."""

from collections import Counter

import pytest

from kv_endpoint.golden.common.config import preset
from kv_endpoint.golden.common.line_access import Access
from kv_endpoint.golden.common.messages import BISnpOpcode
from kv_endpoint.tb.agents.snoop_agent import Manners
from kv_endpoint.tb.checks.coherent_image import CoherenceError
from kv_endpoint.tb.checks.image import DataMismatch
from kv_endpoint.tb.checks.responses import ProtocolError
from kv_endpoint.tb.stimuli.coherent_traffic import DROP, STORE, Shares
from tests.support.coherent_device import FAULTS, CoherentBench

#: sectors that meet in few sets of the filter, and single lines far apart
LINES = [*range(16), *range(16), *range(16, 32), *(line * 37 % 2048 for line in range(24))]
#: completions late, snoops early: BISnp overtakes the Cmp of its line
LATE = {"stalls": {"ndr": 0.7, "bisnp": 0.0}, "manners": Manners(look=(0, 2))}
#: much is read that another host owns, and that host gives up little
CURRENT = {
    "shares": Shares({Access.READ_OWN: 4, Access.READ_CURRENT: 8, STORE: 6, Access.WRITE_KEEP: 2, DROP: 1}),
    "manners": Manners(keep=0.9),
}


def bench(*, hosts, seed, requests=600, **more):
    print(f"seed {seed}")
    return CoherentBench(preset("tiny", hosts=hosts), seed=seed, lines=LINES, requests=requests, recalls=0.02, **more)


@pytest.mark.parametrize("hosts", [1, 2])
def test_a_right_device_passes_and_every_kind_of_traffic_happens(hosts):
    counts, requests, most = Counter(), Counter(), 0
    for seed, more in ((1, {}), (2, LATE), (3, CURRENT), (4, {})):
        run = bench(hosts=hosts, seed=seed, **more)
        run.run()
        assert not run.device.refused
        most = max(most, run.monitor.most_snoops)
        for host in run.hosts:
            counts.update(host.snoops.counts)
            requests.update(host.counts)
        for channel, opcode in run.monitor.counts:
            counts[channel, opcode] += 1
    assert most == preset("tiny").snoops
    for kind in ("early", "late", "write_backs", "block_answers", "line_answers"):
        assert counts[kind] > 5, kind
    for access in Access:
        assert access == Access.PLAIN or requests[access.name] > 5, access.name
    assert requests[STORE] > 20 and requests[DROP] > 20
    asked = {key[1] for key in counts if key[0] == "bisnp"}
    assert asked == (set(BISnpOpcode) if hosts == 2 else {BISnpOpcode.INV, BISnpOpcode.INV_BLK})


@pytest.mark.parametrize(
    ("fault", "hosts"),
    # A single host is never asked for less than all.
    [(fault, hosts) for fault in FAULTS for hosts in (1, 2) if (fault, hosts) != ("exclusive taken for invalid", 1)],
)
def test_each_fault_of_a_device_is_noticed(fault, hosts):
    more = {"exclusive taken for invalid": CURRENT, "ack overtakes": LATE}.get(fault, {})
    seen = 0
    for seed in (1, 2):
        run = bench(hosts=hosts, seed=seed, requests=900, fault=fault, **more)
        run.LIMIT = 12_000
        with pytest.raises((ProtocolError, DataMismatch, CoherenceError, AssertionError)):
            run.run()
        seen += run.device.faults_made
    assert seen


def test_a_run_repeats_by_its_seed():
    runs = [bench(hosts=2, seed=seed, requests=200) for seed in (5, 5, 6)]
    for run in runs:
        run.run()
    first, again, other = ((run.now, run.monitor.counts, run.hosts[1].snoops.counts) for run in runs)
    assert first == again != other
