"""The AXI4-Lite side: nothing lost, nothing answered twice, whoever hurries and whoever stalls."""

import random

import pytest
from amaranth.sim import Simulator

from kv_endpoint.hw.lib.axi import RESP_OKAY, RESP_SLVERR
from kv_endpoint.hw.registers.bus import CsrBus

ADDRESS_BITS = 12
COUNT = 120


class Channel:
    """A manager's sender of one channel: offers an item at random, holds it until it is taken."""

    def __init__(self, bus, name, items, fields):
        self.bus, self.name, self.items, self.fields = bus, name, list(items), fields
        self.offered = False

    def drive(self, ctx, eager):
        """Set the pins for this clock. Returns the item that is taken at its end, or None."""
        self.offered = self.offered or bool(self.items) and eager
        ctx.set(getattr(self.bus, f"{self.name}valid"), self.offered)
        for field, value in zip(self.fields, self.items[0] if self.offered else (0,) * len(self.fields), strict=True):
            ctx.set(getattr(self.bus, field), value)
        if self.offered and ctx.get(getattr(self.bus, f"{self.name}ready")):
            self.offered = False
            return self.items.pop(0)
        return None


@pytest.mark.quick
@pytest.mark.parametrize("eagerness", [(1, 1, 1), (0.3, 0.9, 0.9), (0.9, 0.3, 0.9), (0.9, 0.9, 0.2), (0.5, 0.5, 0.5)])
@pytest.mark.parametrize("seed", range(2))
def test_every_access_is_carried_out_once_in_order_and_answered_in_order(seed, eagerness):
    print("seed", seed)
    rng = random.Random(seed)
    address_eager, data_eager, response_eager = eagerness
    dut = CsrBus(address_bits=ADDRESS_BITS)
    bus = dut.bus
    writes = [
        (rng.getrandbits(ADDRESS_BITS), rng.getrandbits(32), rng.choice([0xF, 0xF, 0x7, 0])) for _ in range(COUNT)
    ]
    reads = [rng.getrandbits(ADDRESS_BITS) for _ in range(COUNT)]
    aw = Channel(bus, "aw", [(address,) for address, _, _ in writes], ("awaddr",))
    w = Channel(bus, "w", [(data, strobe) for _, data, strobe in writes], ("wdata", "wstrb"))
    ar = Channel(bus, "ar", [(address,) for address in reads], ("araddr",))

    async def bench(ctx):
        carried_out, responses, expected_responses = [], [], []
        looked_up, answers, expected_answers = [], [], []
        stalled = {}
        for _ in range(COUNT * 40):
            aw.drive(ctx, rng.random() < address_eager)
            w.drive(ctx, rng.random() < data_eager)
            ar.drive(ctx, rng.random() < address_eager)

            done, error = rng.random() < 0.5, rng.random() < 0.3
            ctx.set(dut.write_done, done)
            ctx.set(dut.write_error, error)
            if done and ctx.get(dut.write_valid):
                carried_out.append(tuple(ctx.get(s) for s in (dut.write_address, dut.write_data, dut.write_full)))
                expected_responses.append(RESP_SLVERR if error else RESP_OKAY)

            done, error, word = rng.random() < 0.5, rng.random() < 0.3, rng.getrandbits(32)
            ctx.set(dut.read_done, done)
            ctx.set(dut.read_error, error)
            ctx.set(dut.read_data, word)
            if done and ctx.get(dut.read_valid):
                looked_up.append(ctx.get(dut.read_address))
                expected_answers.append((word, RESP_SLVERR if error else RESP_OKAY))

            for name, signals, taken in (("b", (bus.bresp,), responses), ("r", (bus.rdata, bus.rresp), answers)):
                ready = rng.random() < response_eager
                ctx.set(getattr(bus, f"{name}ready"), ready)
                valid, payload = ctx.get(getattr(bus, f"{name}valid")), tuple(ctx.get(s) for s in signals)
                if name in stalled:
                    assert (valid, payload) == (1, stalled.pop(name)), f"{name} changed before it was taken"
                if valid and ready:
                    taken.append(payload)
                elif valid:
                    stalled[name] = payload
            await ctx.tick()
            if len(responses) == len(answers) == COUNT:
                break
        assert carried_out == [(address, data, strobe == 0xF) for address, data, strobe in writes]
        assert responses == [(response,) for response in expected_responses]
        assert looked_up == reads
        assert answers == expected_answers

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
