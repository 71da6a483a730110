"""Whether a write to CTRL of a region or a stream is refused, and what follows from those that are not."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.events.port import RefusalKind
from kv_endpoint.hw.common import layouts
from kv_endpoint.hw.registers.descriptors import DescriptorRules
from kv_endpoint.hw.registers.modes import HeadModes

__all__ = ["CtrlJudge", "control"]

_WORD_BITS = 32
#: widths of REGION.HEADS and REGION.FIRST_HEAD, whatever the configuration
_COUNT_BITS, _FIRST_BITS = 13, 12


def control():
    """CTRL of a region; of a stream only `enabled`."""
    return data.StructLayout({"enabled": 1, "mode": 1, "cached": 1, "hosts": 2})


class CtrlJudge(wiring.Component):
    """Judges a write to CTRL in the held pipeline (`golden.registers.rules.refusal`), and keeps what the CTRL
    registers imply.

    A region: at most `heads` + 1 clocks from `start` to `done` (`HeadModes`); a stream: see `DescriptorRules`. Of
    several reasons COVERED goes first, then SHARED_MODE, POOL_CACHED, MODE_BUSY.

    Members
    -------
    regions : In(array of {count 13, first 12, control})
    streams : In(array of {base 32, length 32, stride 32, enabled 1})
        The registers; they change only at `apply`, or while what they belong to is not enabled.
    of_region : In(regions), of_stream : In(streams), after : In(control)
        Whose CTRL is written, one bit at most, and with what. Steady from two clocks before `start` until `apply`.
    pool_frames : In(array by mode of 32), covered : In(1)
        The pool sizes; `Csr.cached_in_use`.
    commit : In(layouts.commit), has_minimum : In(heads)
        See `HeadModes`.
    wanted : Out(1), number : Out
        The write has to be judged: it is to CTRL of a region, or enables a stream. Which one.
    start : In(1)
    done, refused, reason : Out
        `done` for one clock, in which the others are valid.
    apply : In(1)
        The write takes effect in this clock.
    modes, cached : Out(heads)
        The mode of each head; whether hosts may cache its lines.
    region_of : Out(array), used : Out(regions)
        See `DescriptorRules`.
    """

    def __init__(self, *, config):
        self._config = config
        region = data.StructLayout({"count": _COUNT_BITS, "first": _FIRST_BITS, "control": control()})
        self._rules = DescriptorRules(config=config)
        rules = self._rules.signature.members
        super().__init__(
            {
                "regions": In(data.ArrayLayout(region, config.regions)),
                "streams": rules["streams"],
                "of_region": In(config.regions),
                "of_stream": In(config.streams),
                "after": In(control()),
                "pool_frames": In(data.ArrayLayout(_WORD_BITS, len(Mode))),
                "covered": In(1),
                "commit": In(layouts.commit(config)),
                "has_minimum": In(config.heads),
                "wanted": Out(1),
                "number": Out(range(max(config.regions, config.streams))),
                "start": In(1),
                "done": Out(1),
                "refused": Out(1),
                "reason": Out(4),
                "apply": In(1),
                "modes": Out(config.heads),
                "cached": Out(config.heads),
                "region_of": rules["region_of"],
                "used": rules["used"],
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, after = self._config, self.after
        m.submodules.head_modes = head_modes = HeadModes(config=config)
        m.submodules.stream_rules = stream_rules = self._rules

        is_region = self.of_region.any()
        for array in (self.of_region, self.of_stream):
            for number, chosen in enumerate(array):
                with m.If(chosen):
                    m.d.comb += self.number.eq(number)
        region = self.regions[self.number]
        before = Signal(control())
        m.d.comb += [before.eq(region.control), self.wanted.eq(is_region | (self.of_stream.any() & after.enabled))]

        # What is wrong with a region besides the modes of its heads. A region that is switched off may be anything.
        too_small = Signal(len(Mode))
        covered, shared, small = Signal(), Signal(), Signal()
        stays = after.enabled & after.cached & (after.hosts == before.hosts)
        m.d.sync += [
            *(too_small[mode].eq(self.pool_frames[mode] < config.pool_frames_min_cached) for mode in Mode),
            covered.eq(self.covered & before.enabled & before.cached & ~stays),
            shared.eq(after.enabled & after.hosts.all() & (~after.cached | (after.mode != Mode.EXACT))),
            small.eq(after.enabled & after.cached & too_small.bit_select(after.mode, 1)),
        ]
        with m.If(is_region):
            m.d.comb += [self.done.eq(head_modes.done), self.reason.eq(RefusalKind.MODE_BUSY)]
            m.d.comb += self.refused.eq(head_modes.refused | covered | shared | small)
            with m.If(covered):
                m.d.comb += self.reason.eq(RefusalKind.COVERED)
            with m.Elif(shared):
                m.d.comb += self.reason.eq(RefusalKind.SHARED_MODE)
            with m.Elif(small):
                m.d.comb += self.reason.eq(RefusalKind.POOL_CACHED)
        with m.Else():
            m.d.comb += [
                self.done.eq(stream_rules.done),
                self.refused.eq(stream_rules.refused),
                self.reason.eq(stream_rules.reason),
            ]

        m.d.comb += [
            head_modes.commit.eq(self.commit),
            head_modes.has_minimum.eq(self.has_minimum),
            head_modes.start.eq(self.start & is_region),
            head_modes.first.eq(region.first),
            head_modes.count.eq(region.count),
            head_modes.enabled.eq(after.enabled),
            head_modes.mode.eq(after.mode),
            head_modes.cached.eq(after.cached),
            # The heads of a region that is off and stays so may be another's.
            head_modes.apply.eq(self.apply & is_region & (before.enabled | after.enabled)),
            self.modes.eq(head_modes.modes),
            self.cached.eq(head_modes.cached_heads),
            stream_rules.streams.eq(self.streams),
            stream_rules.start.eq(self.start & ~is_region),
            stream_rules.number.eq(self.number),
            stream_rules.apply.eq(self.apply & self.of_stream.any() & after.enabled),
            self.region_of.eq(stream_rules.region_of),
            self.used.eq(stream_rules.used),
        ]
        for rule, of in zip(stream_rules.regions, self.regions, strict=True):
            m.d.comb += [rule.first.eq(of.first), rule.count.eq(of.count), rule.enabled.eq(of.control.enabled)]
        return m
