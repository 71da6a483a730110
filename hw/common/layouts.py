"""Every payload layout and bundle of the RTL. Fields and their order come from `golden/`, so that both sides agree."""

from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from kv_endpoint.golden.common import messages, policy
from kv_endpoint.golden.events import port as events
from kv_endpoint.golden.pipeline import metadata

__all__ = [
    "command",
    "command_answer",
    "CommandKind",
    "commit",
    "commit_note",
    "covered_event",
    "covered_look",
    "data_op",
    "dev_load_thresholds",
    "Domain",
    "engine_note",
    "entry",
    "filter_done",
    "filter_op",
    "filter_question",
    "filter_verdict",
    "FilterOp",
    "Hold",
    "id_bits",
    "launched_snoop",
    "layout",
    "LINE_BITS",
    "message",
    "page_command",
    "page_done",
    "page_tag_bits",
    "place_strobe",
    "policy_layout",
    "prefetch_counts",
    "prefetch_request",
    "recall_candidate",
    "record",
    "region_layout",
    "sidecar_op",
    "SidecarKind",
    "slot",
    "slot_stream",
    "snoop_layout",
    "snoop_place",
    "snoop_tag_bits",
    "stream_layout",
    "TableRead",
    "uncovered_head",
    "victim_answer",
    "victim_request",
    "waits_on",
]

LINE_BITS = 512


def layout(fields):
    """An Amaranth struct layout of ((field, shape), ...), the first field in the lowest bits."""
    return data.StructLayout(dict(fields))


def message(channel):
    """A CXL.mem message: `req`, `rwd`, `ndr` or `drs`."""
    return layout(messages.FIELDS[channel])


def entry(config):
    """A metadata entry, 64 bits."""
    return layout(metadata.entry_fields(config))


def id_bits(config):
    """Width of a read slot's or write slot's number."""
    return (max(config.read_slots, config.write_slots) - 1).bit_length()


def slot(config):
    """A slot of the metadata pipeline (`golden.pipeline.metadata.Slot`).

    `id` is a read slot or, with `rwd`, a write slot; `mode` (`golden.common.mode.Mode`) is that of the block's
    region; `access` (`golden.common.line_access.Access`) is what `host` asks of the snoop filter, `retry` a
    `golden.common.line_access.Retry`.
    """
    return layout(
        (
            ("kind", 5), ("rwd", 1), ("id", id_bits(config)), ("tag", 16), ("head", config.head_bits),
            ("block", config.block_bits), ("line", config.line_bits), ("value", 16), ("frame", config.frame_bits),
            ("outcome", 5), ("mode", 1), ("access", 4), ("host", 1), ("retry", 2),
        )
    )  # fmt: skip


def commit(config):
    """What the pipeline shows of each slot in the clock in which it commits; nobody can hold it back.

    `grant` (`golden.common.line_access.Grant`): how it is completed, if it is.
    """
    return layout(
        (
            ("valid", 1), ("slot", slot(config)), ("before", entry(config)), ("after", entry(config)), ("outcome", 5),
            ("touch", 1), ("event", 1), ("grant", 2),
        )
    )  # fmt: skip


def data_op(config):
    """Work for the datapath (`golden.pipeline.metadata.DataKind`); `grant` (`golden.common.line_access.Grant`) is the
    Cmp of its NDR.
    """
    return layout(
        (
            ("kind", 3), ("rwd", 1), ("id", id_bits(config)), ("mode", 1), ("frame", config.frame_bits),
            ("line", config.line_bits), ("grant", 2),
        )
    )  # fmt: skip


def record(config, lane):
    """A record of the event port."""
    return layout(events.record_fields(config, lane))


def engine_note(config):
    """A record of lane `engine` before it has its sequence number."""
    return layout(events.record_fields(config, events.Lane.ENGINE)[1:])


def commit_note(config):
    """An engine note that cannot be refused: of an operation of the snoop filter, in the clock of its commit."""
    return layout((("valid", 1), ("note", engine_note(config))))


def policy_layout():
    """The policy registers."""
    return layout(policy.policy_fields())


def region_layout(config):
    """One region: `base` in lines (HPA >> 6), `heads` that it holds, the endpoint-wide number of its first head."""
    return layout(
        (
            ("base", messages.ADDRESS_BITS), ("heads", config.heads.bit_length()), ("first_head", config.head_bits),
            ("enabled", 1), ("mode", 1), ("cached", 1), ("hosts", 2),
        )
    )  # fmt: skip


class SidecarKind(enum.Enum, shape=2):
    """What an engine asks of a frame's sidecar rows."""

    #: no line written, none poisoned
    CLEAR = 0
    #: what lay there is lost: nothing written and every line poisoned, every scale that of poison
    POISON = 1
    #: write it back if it changed, and forget it
    FLUSH = 2


def sidecar_op(config):
    return layout((("kind", SidecarKind), ("mode", 1), ("frame", config.frame_bits)))


def page_tag_bits(config):
    """Width of a page command's tag: {write, number of the miss or demotion slot}."""
    return 1 + (max(config.miss_slots, config.demotion_slots) - 1).bit_length()


def page_command(config):
    """To the flash controller: move page `page` (a block index) to frame `frame` of DDR5, or with `write` back.

    `mode` (`golden.common.mode.Mode`) says which lines the page is made of (`Config.frame_lines`).
    """
    return layout(
        (
            ("write", 1), ("tag", page_tag_bits(config)), ("page", config.index_bits), ("frame", config.frame_bits),
            ("mode", 1),
        )
    )  # fmt: skip


def page_done(config):
    """From the flash controller: command `tag` ended; `failed`: the frame (or page) holds nothing to rely on."""
    return layout((("tag", page_tag_bits(config)), ("failed", 1)))


class Domain(enum.Enum, shape=2):
    """Among which heads a victim is sought."""

    #: the requester's head alone (it is at its maximum quota)
    OWN = 0
    #: heads of the requester's pool above their minimum quota, and the requester's
    SHARED = 1
    #: every head of the requester's pool, protection and quotas waived (a write that has no other way)
    ANY = 2


def prefetch_request(config):
    """A block to fetch ahead; `source` is a `golden.events.port.PrefetchSource`."""
    return layout((("head", config.head_bits), ("block", config.block_bits), ("mode", 1), ("source", 2)))


def stream_layout(config):
    """A stream descriptor (`golden.prefetch.stream_descriptor`): `length` blocks `base`, `base` + `stride`, ...

    `base` is a metadata index {head, block}, `stride` a power of two, `ahead` how many may be fetched before they are
    read, `mode` that of their region.
    """
    return layout(
        (
            ("enabled", 1), ("base", config.index_bits), ("length", config.index_bits + 1),
            ("stride", config.index_bits + 1), ("ahead", 8), ("mode", 1),
        )
    )  # fmt: skip


def prefetch_counts():
    """What happened to prefetches in this clock."""
    return layout((("queued", 1), ("dropped", 1)))


def filter_question(config):
    """What a slot asks of the snoop filter: `access`, `host`, `retry` and `line` of the slot, its sector, and whether
    its mode is `lossy`.
    """
    return layout(
        (
            ("valid", 1), ("access", 4), ("host", 1), ("retry", 2), ("lossy", 1), ("sector", config.sector_bits),
            ("line", 2),
        )
    )  # fmt: skip


def filter_verdict():
    """What the filter says (`golden.coherency.filter.Verdict`): `held` is 0 or an outcome HELD_*, `grant` a `Grant`."""
    return layout((("held", 5), ("owner", 1), ("grant", 2)))


def snoop_layout(config):
    """A snoop (`golden.common.line_access.Snoop`)."""
    return layout((("kind", 2), ("host", 1), ("sector", config.sector_bits), ("lines", 4)))


class FilterOp(enum.Enum, shape=2):
    """An operation of the filter beside the slots (`golden.coherency.filter`)."""

    ANSWER = 0
    RECALL = 1
    SCRUB = 2


def filter_op(config):
    """`tag`: of an ANSWER, its snoop's BITag; `snoop`: its sector, or for SCRUB in its lowest bits the set; of an
    ANSWER also its host, and in `lines` the lines answered; `states`: what the host says of each line (`LineState`,
    2 bits a line); `everything`: SCRUB takes every line.
    """
    return layout(
        (
            ("kind", FilterOp), ("tag", snoop_tag_bits(config)), ("snoop", snoop_layout(config)), ("states", 8),
            ("everything", 1),
        )
    )  # fmt: skip


def snoop_tag_bits(config):
    """Width of a BITag, the number of a place in the snoop table."""
    return (config.snoops - 1).bit_length()


def launched_snoop(config):
    """A snoop that begins in a clock with `valid`."""
    return layout((("valid", 1), ("snoop", snoop_layout(config))))


def snoop_place(config):
    """A place of the snoop table that a snoop may take, if one is `free`."""
    return layout((("free", 1), ("tag", snoop_tag_bits(config))))


def place_strobe(config):
    """Place `tag` of the snoop table, in a clock with `valid`."""
    return layout((("valid", 1), ("tag", snoop_tag_bits(config))))


def waits_on(config):
    """What a held request waits for: `none`: nothing, `any`: any place of the snoop table, else place `tag`."""
    return layout((("none", 1), ("any", 1), ("tag", snoop_tag_bits(config))))


def filter_done(config):
    """An operation of the filter in the clock of its commit.

    `launched`: a snoop begins with it; `full`: one would, but there is no place; `busy`: SCRUB has passed over lines
    that it is for, since their sector has a snoop, which is not of them, or with two hosts may not be.
    """
    return layout((("valid", 1), ("op", filter_op(config)), ("launched", 1), ("full", 1), ("busy", 1)))


def covered_event(config):
    """In this clock one thing more keeps block `index` covered (`up`), or one less: a sector in use, a read held."""
    return layout((("valid", 1), ("index", config.index_bits), ("up", 1)))


def covered_look(config):
    """The block that is asked about in a clock with `enable`."""
    return layout((("enable", 1), ("index", config.index_bits)))


def uncovered_head(config):
    """The head of a block that is covered no longer."""
    return layout((("valid", 1), ("head", config.head_bits)))


def recall_candidate(config):
    """A block that would leave were it not covered; `needed`: a request found none that may leave."""
    return layout((("valid", 1), ("needed", 1), ("head", config.head_bits), ("block", config.block_bits)))


def dev_load_thresholds():
    """Requests accepted and not yet answered from which on responses say a higher load (`golden.front.devload`)."""
    return layout((("optimal", 10), ("moderate", 10), ("severe", 10)))


def victim_request(config):
    """Question to the victim engine; `head`, `block` is the block that needs a frame, `waivable`: if nothing else is
    left, an announced one may leave for it.
    """
    return layout((("head", config.head_bits), ("block", config.block_bits), ("domain", Domain), ("waivable", 1)))


def victim_answer(config):
    """`own_key`, `own_zero`: of the block that needs a frame: its key, and whether its EMA is 0. The rest describes the
    victim, if `found`.
    """
    return layout(
        (
            ("found", 1), ("waived", 1), ("head", config.head_bits), ("block", config.block_bits),
            ("frame", config.frame_bits), ("key", config.key_bits), ("own_key", config.key_bits), ("own_zero", 1),
        )
    )  # fmt: skip


class CommandKind(enum.Enum, shape=2):
    """What the CSR block asks of the allocator."""

    PIN = 0
    UNPIN = 1
    #: quotas of `head`: `minimum`, `maximum`
    QUOTA = 2
    #: pool size: `maximum`, of the pool of `mode`
    POOL = 3


def command(config):
    """A command of the CSR block; `head` and `block` as the host wrote them, so that the allocator can refuse them."""
    return layout((("kind", CommandKind), ("mode", 1), ("head", 16), ("block", 16), ("minimum", 32), ("maximum", 32)))


def command_answer():
    """`reason` is a `golden.events.port.RefusalKind`, where `refused`."""
    return layout((("refused", 1), ("reason", 4)))


class Hold(wiring.Signature):
    """Asking for the pipeline to stand still. `request` until done; `granted` once no slot is in flight."""

    def __init__(self):
        super().__init__({"request": Out(1), "granted": In(1)})


class TableRead(wiring.Signature):
    """A read port of the metadata table: `entry` is that of the `index` of the last clock with `enable`."""

    def __init__(self, config):
        super().__init__({"enable": Out(1), "index": Out(config.index_bits), "entry": In(entry(config))})


def slot_stream(config):
    return stream.Signature(slot(config))


def availability(config):
    """What a block of a head may have now, of the pool of its mode.

    `at_maximum`: its head holds all it may; `pool_full`; `for_read`, `for_write`: a frame is free that a read, or a
    write, may take; `frame`: the free frame that is given out next.
    """
    return data.StructLayout(
        {"at_maximum": 1, "pool_full": 1, "for_read": 1, "for_write": 1, "frame": config.frame_bits}
    )


def coherency_registers():
    """What the host sets for snoops.

    `timeout`: clocks after which one is late (0: none). `recall_all`: every line is to be taken back. `snoop_limit`:
    how many are under way at most.
    """
    return data.StructLayout({"timeout": 24, "recall_all": 1, "snoop_limit": 13})


def bi_events():
    """What happened to snoops in this clock.

    `snoop`: a BISnp counts as sent. `answer`: answers took effect. `recall`: a sector is taken back. `bad_birsp`: a
    BIRsp answered nothing. `timed_out`: a BISnp was not answered in time.
    """
    return data.StructLayout(dict.fromkeys(("bad_birsp", "timed_out", "snoop", "answer", "recall"), 1))
