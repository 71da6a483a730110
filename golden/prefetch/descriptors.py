"""How far the stream descriptors have come: which block each asks for next, and which it may ask for."""

from dataclasses import dataclass

from kv_endpoint.golden.pipeline.metadata import State
from kv_endpoint.golden.prefetch.stream_descriptor import StreamDescriptor

__all__ = ["DescriptorCourses"]


@dataclass(slots=True)
class _Course:
    """One stream since it was enabled: blocks asked for or passed over, and touches of its blocks in any order."""

    stream: StreamDescriptor
    position: int = 0
    touched: int = 0

    @property
    def end(self):
        """The first position that it may not ask for yet."""
        return min(self.stream.length, self.touched + self.stream.ahead)

    def position_of(self, index):
        """Position of a block that the stream may ask for now, or None."""
        if index not in self.stream:
            return None
        position = (index - self.stream.base) // self.stream.stride
        return position if self.position <= position < self.end else None


class DescriptorCourses:
    """The streams of an endpoint, in turns. Blocks are metadata indices {head, block}.

    The RTL works at one block at a time. If its stream is switched off meanwhile, it may still be asked for: before
    any other, and only it.
    """

    def __init__(self, config):
        self._courses = [_Course(StreamDescriptor()) for _ in range(config.streams)]
        self._on = False
        #: courses that the block under way may belong to besides those that are on
        self._former = []
        #: the stream that asked last
        self._last = 0

    def set_registers(self, streams, on):
        """The descriptors as they are now, and whether streams are switched on. Enabling one starts it."""
        if self._on and not on:
            self._former += [course for course in self._courses if course.stream.enabled]
        self._on = on
        for number, stream in enumerate(streams):
            course = self._courses[number]
            if course.stream.enabled and not stream.enabled:
                self._former.append(course)
            if course.stream.enabled != stream.enabled:
                self._courses[number] = _Course(stream)
            else:
                course.stream = stream

    def touched(self, index):
        """A block was touched."""
        for course in self._courses:
            if course.stream.enabled:
                course.touched += index in course.stream

    def positions(self):
        """Blocks asked for or passed over since each stream was enabled."""
        return tuple(course.position for course in self._courses)

    def asked(self, index):
        """A stream asks for a block: whether one may."""
        current = [course for course in self._courses if self._on and course.stream.enabled]
        for course in (*self._former, *current):
            position = course.position_of(index)
            if position is not None:
                course.position = position + 1
                self._former.clear()
                return True
        return False

    def candidate(self, state_of):
        """Index of the block that is asked for next, or None; blocks that are not COLD are passed over.

        `state_of(index)` is the `State` of a block.
        """
        count = len(self._courses)
        for distance in range(1, count + 1):
            number = (self._last + distance) % count
            course = self._courses[number]
            while self._on and course.stream.enabled and course.position < course.end:
                index = course.stream.base + course.position * course.stream.stride
                if state_of(index) == State.COLD:
                    self._last = number
                    return index
                course.position += 1
        return None
