"""The hint line in progress: STEP if it moves the counter, its blocks one by one, and the ANSWER that ends it."""

from kv_endpoint.golden.common.mismatch import Mismatch
from kv_endpoint.golden.front.hints import ENTRIES_MAX, HeaderCheck, check_header, pack_hint
from kv_endpoint.golden.pipeline.metadata import Outcome

__all__ = ["HintLine"]

_HEADER_OF = {
    Outcome.HINT_DONE: HeaderCheck.CURRENT,
    Outcome.HINT_STALE: HeaderCheck.STALE,
    Outcome.HINT_EXHAUSTED: HeaderCheck.EXHAUSTED,
}


class HintLine:
    """What the lines of an endpoint must look like; one is answered before the next begins.

    Parameters
    ----------
    endpoint : golden.follow.follower.Follower
        Its step counter and policy registers say what a header does.
    """

    def __init__(self, endpoint):
        self._endpoint = endpoint
        #: whether a hint has loaded the step counter
        self._loaded = False
        #: (head, tag) and blocks so far, whether the line moved the step, its exhausted header
        self._line = None
        self._blocks = 0
        self._stepped = False
        self._exhausted = None

    def step(self, aux):
        """STEP: the step that the line's header, the low 16 bits of `aux`, moves the counter to."""
        if self._line is not None or self._stepped:
            raise Mismatch("kind", "the ANSWER of the hint line before", "STEP")
        header, step = self._header(aux & 0xFFFF)
        if header != HeaderCheck.ADVANCE:
            raise Mismatch("aux", f"no step, since its header is {header.name}", aux)
        if aux != step:
            raise Mismatch("aux", step, aux)
        self._loaded = self._stepped = True
        return step

    def exhausted(self, aux):
        """ERROR STEP_EXHAUSTED: the line's ANSWER must say the same."""
        header, _ = self._header(aux & 0xFFFF)
        if header != HeaderCheck.EXHAUSTED:
            raise Mismatch("aux", "the header of a step at the counter's end", aux)
        self._exhausted = aux

    def block(self, slot):
        """HINT: one block of the line."""
        line = slot.head, slot.tag
        if not self._loaded:
            raise Mismatch("kind", "STEP of the first hint line", slot.kind.name)
        if self._line is None:
            self._line = line
        self._same_line(line)
        self._blocks += 1
        if self._blocks > ENTRIES_MAX:
            raise Mismatch("kind", f"at most {ENTRIES_MAX} blocks in a hint line", slot.kind.name)

    def answer(self, slot):
        """ANSWER with an outcome of hints: the line ends."""
        outcome = slot.outcome
        self._same_line((slot.head, slot.tag))
        if slot.block:
            raise Mismatch("block", 0, slot.block)
        if outcome != Outcome.HINT_DONE and (self._line is not None or self._stepped):
            raise Mismatch("outcome", Outcome.HINT_DONE.name, outcome.name)
        if (outcome == Outcome.HINT_EXHAUSTED) != (self._exhausted is not None):
            raise Mismatch("outcome", "HINT_EXHAUSTED after its ERROR, and only then", outcome.name)
        if self._exhausted not in (None, slot.value):
            raise Mismatch("value", self._exhausted, slot.value)
        if outcome in _HEADER_OF:
            header, _ = self._header(slot.value)
            if header != _HEADER_OF[outcome]:
                if outcome == Outcome.HINT_DONE:
                    raise Mismatch("value", self._endpoint.now & 0xFFFF, slot.value)
                raise Mismatch("outcome", f"that of a header which is {header.name}", outcome.name)
        self._line = self._exhausted = None
        self._blocks, self._stepped = 0, False

    def owed(self):
        """(head, block, what) of everything that has to come yet."""
        if self._line is not None or self._stepped:
            yield self._line[0] if self._line else 0, 0, "the ANSWER of a hint line"

    def _header(self, step16):
        endpoint = self._endpoint
        return check_header(
            endpoint.config, pack_hint(step16, []), endpoint.now, self._loaded, endpoint.policy.leap_cap
        )

    def _same_line(self, line):
        for name, expected, seen in zip(("head", "tag"), self._line or line, line, strict=True):
            if expected != seen:
                raise Mismatch(name, expected, seen)
