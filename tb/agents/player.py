"""Issue rules of a stimulus, clock for clock as in `tb/hdl/player.v`, over the interactive host."""

from collections import deque

from cocotb.triggers import FallingEdge, ReadOnly

from kv_endpoint.golden.host.operations import Op
from kv_endpoint.tb.agents.throttle import Throttle
from kv_endpoint.tb.stimuli.stimulus import LOOKAHEAD

__all__ = ["Player"]


class Player:
    """Plays operations through a host, reads and writes on their own, as many outstanding as allowed.

    In each clock, after the responses of that clock have been seen: operations are taken from the stimulus until one
    has to wait (a fence, a wait, or a full look-ahead queue); then each channel that is free offers its next message
    from the next clock on, if the issue rate lets it (`throttle`).
    """

    def __init__(self, host, operations, *, max_reads, max_writes, throttle=False):
        self._host = host
        self._operations = iter(operations)
        self._limits = {"req": max_reads, "rwd": max_writes}
        self._queues = {"req": deque(), "rwd": deque()}
        self._throttle = Throttle() if throttle else None
        self._next = None
        #: clock in which the wait at the front ends, None if none is there
        self._wait_end = None
        self._ended = False

    def _idle(self, channel):
        return not self._queues[channel] and not self._host.outstanding(channel)

    def _take(self):
        """Take operations until one has to wait."""
        while True:
            if self._next is None:
                self._next = next(self._operations, None)
                if self._next is None:
                    self._ended = True
                    return
            operation = self._next
            if operation.op == Op.FENCE_WRITES:
                if not self._idle("rwd"):
                    return
            elif operation.op == Op.FENCE_ALL:
                if not (self._idle("req") and self._idle("rwd")):
                    return
            elif operation.op == Op.WAIT:
                now = self._host.clocks.now
                if self._wait_end is None:
                    self._wait_end = now + operation.clocks
                if now < self._wait_end:
                    return
                self._wait_end = None
            elif operation.op == Op.REGISTER:
                raise ValueError("a stimulus with register writes can be played in the batch form only")
            else:
                queue = self._queues[operation.channel]
                if len(queue) == LOOKAHEAD:
                    return
                queue.append((self._host.next_tag(), operation))
            self._next = None

    def _may_offer(self, channel):
        if self._throttle is not None and not self._throttle.free(channel):
            return False
        return self._host.free(channel) and self._host.outstanding(channel) < self._limits[channel]

    async def run(self):
        """Returns when every message is answered."""
        falling = FallingEdge(self._host.clock)
        while True:
            await falling
            await ReadOnly()
            self._take()
            if self._throttle is not None:
                self._throttle.clock(self._host.loads)
            for channel, queue in self._queues.items():
                if queue and self._may_offer(channel):
                    tag, operation = queue.popleft()
                    self._host.issue(channel, operation.message(tag))
                    if self._throttle is not None:
                        self._throttle.offered(channel)
            if self._ended and self._idle("req") and self._idle("rwd"):
                return
