"""Flash: moves pages between its own store and the frames of DDR5, on the endpoint's commands."""

import random

from kv_endpoint.hw.common import layouts
from kv_endpoint.tb.agents.memory import POISON_LINE, Answers
from kv_endpoint.tb.lib.bus import StreamSink, StreamSource, gated, stalls
from kv_endpoint.tb.lib.payload import fields_of, unpack

__all__ = ["FlashAgent"]


class FlashAgent:
    """The flash controller: `page_command` in, `page_done` out, any number of pages on their way.

    A page read takes `read_clocks` and fills the frame in the clock in which its completion is offered; a program
    takes `program_clocks` and captures the frame in the clock in which it is accepted. With `share` the ports stall
    and times vary from half to twice, so completions come out of order. `fails(write, page)` says whether a command
    fails: what it should have filled then holds garbage. `gates` close the ports (`tb.lib.bus.gated`). Raises
    AssertionError for a tag in use and for a page that was never programmed.
    """

    def __init__(
        self,
        dut,
        clock,
        clocks,
        config,
        store,
        *,
        read_clocks,
        program_clocks,
        seed=0,
        share=0.0,
        fails=None,
        moved=None,
        gates=None,
    ):
        self._config, self._clocks, self._store = config, clocks, store
        self._clocks_of = {0: read_clocks, 1: program_clocks}
        self._rng, self._share = random.Random(f"{seed}/flash"), share
        self._fails = fails or (lambda write, page: False)
        self._moved = moved
        self._busy = set()
        self._pages = {}
        #: commands accepted: page reads, page programs
        self.reads = self.programs = 0
        command = fields_of(layouts.page_command(config))
        self._sink = StreamSink(
            dut,
            "page_command",
            clock,
            decode=lambda payload: unpack(command, payload),
            pauses=gated(gates, "page_command", stalls(f"{seed}/page_command", share)),
            callback=self._command,
        )
        source = StreamSource(
            dut,
            "page_done",
            clock,
            fields=fields_of(layouts.page_done(config)),
            pauses=gated(gates, "page_done", stalls(f"{seed}/page_done", share)),
        )
        self._answers = Answers(clock, clocks, source, self._complete)

    @property
    def idle(self):
        return self._answers.idle

    def deafen(self, deaf):
        """In a reset: what the endpoint still offers in its first clock is no command."""
        self._sink.deaf = deaf

    def forget(self):
        """In a reset: pages that are on their way are not moved."""
        self._busy.clear()
        self._answers.forget()

    def _command(self, command):
        tag, page = command["tag"], command["page"]
        assert tag not in self._busy, f"page command with tag {tag}, which is in use"
        self._busy.add(tag)
        captured = None
        if command["write"]:
            self.programs += 1
            captured = [self._store.read(line) for line in self._frame_lines(command)]
        else:
            self.reads += 1
            assert page in self._pages, f"page {page} is read and was never programmed"
        delay = self._clocks_of[command["write"]]
        if self._share:
            delay = self._rng.randint(max(1, delay // 2), 2 * delay)
        self._answers.schedule(self._clocks.now + delay, tag, (command, captured))
        if self._moved is not None:
            self._moved()

    def _complete(self, item):
        command, captured = item
        failed = self._fails(bool(command["write"]), command["page"])
        places = self._frame_lines(command)
        garbage = [POISON_LINE] * len(places)
        if command["write"]:
            self._pages[command["page"]] = garbage if failed else captured
        else:
            lines = garbage if failed else self._pages[command["page"]]
            for line, data in zip(places, lines, strict=True):
                self._store.write(line, data)
        self._busy.remove(command["tag"])
        return {"tag": command["tag"], "failed": int(failed)}

    def _frame_lines(self, command):
        return self._config.frame_lines(command["mode"], command["frame"])
