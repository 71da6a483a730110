"""Reading what a batch run recorded: records in sequence order, messages, trace, and the end-to-end data check."""

from dataclasses import dataclass

from golden.common.messages import FIELDS, DRSOpcode
from golden.events.port import Lane, unpack
from golden.front.address import Target, decode
from tb.checks.image import DataMismatch, Image
from tb.lib import payload
from tb.lib.record_order import Merger
from tb.stimuli.operations import TAGS
from tb.stimuli.regions import region_of

__all__ = [
    "EVENTS", "MESSAGES", "TRACE", "Answer", "Offer", "Traced", "check_data", "read_events", "read_messages",
    "read_trace",
]  # fmt: skip

#: files of a run's folder
EVENTS = "events.txt"
MESSAGES = "messages.txt"
TRACE = "trace.txt"

_LANES = {"S": Lane.SLOT, "E": Lane.ENGINE}
_CHANNELS = {"N": "ndr", "D": "drs"}
#: letters of a trace
_TRACE_CHANNELS = {"Q": "req", "W": "rwd", "B": "bisnp", "P": "birsp", **_CHANNELS}
#: fields that a trace leaves out
_PAYLOAD = ("be", "data")


@dataclass(frozen=True)
class Offer:
    """A message is offered for the first time. `number` is its running number in the stimulus."""

    clock: int
    number: int


@dataclass(frozen=True)
class Answer:
    """A response on `channel` (ndr, drs): `latency` clocks after its message's first offer."""

    clock: int
    number: int
    channel: str
    latency: int
    fields: dict


@dataclass(frozen=True)
class Traced:
    """A message is taken on `channel` (req, rwd, ndr, drs, bisnp, birsp); or a record leaves `lane`, without fields."""

    clock: int
    channel: str | None
    fields: dict | None
    lane: Lane | None = None


def read_trace(path):
    """`Traced` of each line of a trace file, in the order of their clocks."""
    layouts = {
        letter: [(name, bits) for name, bits in FIELDS[channel] if name not in _PAYLOAD]
        for letter, channel in _TRACE_CHANNELS.items()
    }
    with open(path) as file:
        for line in file:
            letter, clock, *text = line.split()
            if letter in _LANES:
                yield Traced(int(clock), None, None, _LANES[letter])
                continue
            yield Traced(int(clock), _TRACE_CHANNELS[letter], payload.unpack(layouts[letter], int(text[0], 16)))


def read_events(path, config):
    """(lane, fields) of each record of an events file in sequence order. Raises `SequenceError` if one is missing."""
    ready = []
    merger = Merger(lambda lane, fields: ready.append((lane, fields)))
    with open(path) as file:
        for line in file:
            letter, text = line.split()
            lane = _LANES[letter]
            merger.add(lane, unpack(config, lane, int(text, 16)))
            yield from ready
            ready.clear()
    merger.finish()


def read_messages(path):
    """`Offer` and `Answer` of each line of a messages file, in the order of their clocks."""
    highest = 0

    def number_of(tag):
        # Far fewer than 2^15 messages are in flight, so the nearest number with this tag is the one.
        nonlocal highest
        number = highest + (tag - highest + TAGS // 2) % TAGS - TAGS // 2
        highest = max(highest, number)
        return number

    with open(path) as file:
        for line in file:
            letter, clock, *rest = line.split()
            if letter == "I":
                yield Offer(int(clock), number_of(int(rest[0])))
                continue
            channel = _CHANNELS[letter]
            fields = payload.unpack(FIELDS[channel], int(rest[1], 16))
            yield Answer(int(clock), number_of(fields["tag"]), channel, int(rest[0]), fields)


def check_data(config, regions, operations, messages, *, poison_allowed=False):
    """Check the data of every read of a block against what memory must hold; returns the number of reads checked.

    `operations` is the stimulus, `messages` what `read_messages` gives for it, recorded with data; both are read
    once, in order. Raises `DataMismatch`.
    """
    image = Image(poison_allowed=poison_allowed)
    numbered = enumerate(operation for operation in operations if operation.channel)
    waiting, due = {}, {}

    def operation_of(number):
        while number not in waiting:
            position, operation = next(numbered)
            waiting[position] = operation
        return waiting[number]

    for message in messages:
        number = message.number
        operation = operation_of(number)
        read = operation.channel == "req"
        place = decode(config, regions, operation.address)
        block = place.target == Target.BLOCK
        mode = region_of(regions, place.head).mode if block else None
        if isinstance(message, Offer):
            due[number] = 2 if read else 1
            if block and read:
                image.read_issued(number, operation.address)
            elif block:
                image.write_issued(number, operation.address, operation.data, operation.be, operation.poison, mode)
            continue
        nxm = message.channel == "drs" and message.fields["opcode"] == DRSOpcode.MEM_DATA_NXM
        if block and nxm:
            raise DataMismatch(f"read {number} of a block was answered MemData-NXM")
        if block and message.channel == "drs":
            image.read_done(number, operation.address, message.fields["data"], bool(message.fields["poison"]), mode)
        elif block and not read:
            image.write_done(number, operation.address)
        due[number] -= 2 if nxm else 1
        if not due[number]:
            del due[number], waiting[number]
    return image.checked
