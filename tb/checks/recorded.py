"""Reading what a batch run recorded: records in sequence order, messages, and the trace."""

from dataclasses import dataclass

from kv_endpoint.golden.common.messages import FIELDS
from kv_endpoint.golden.events.port import Lane, unpack
from kv_endpoint.tb.lib import payload
from kv_endpoint.tb.lib.record_order import Merger
from kv_endpoint.tb.stimuli.stimulus import TAGS

__all__ = [
    "EVENTS", "MESSAGES", "TRACE", "Answer", "Offer", "Traced", "read_events", "read_messages",
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
