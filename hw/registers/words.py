"""Which words a register takes, as far as its own fields go."""

from kv_endpoint.hw.registers.map import Kind

__all__ = ["word_is_legal"]


def word_is_legal(register, word):
    """Whether a write of `word` respects the fields of `register`; of several pulses exactly one must be set."""
    legal = (word & (~register.mask & 0xFFFFFFFF)) == 0
    for field in register.fields:
        if field.encoding:
            legal = legal & word[field.low : field.low + field.width].matches(*field.encoding)
        if field.least:
            legal = legal & (word[field.low : field.low + field.width] >= field.least)
        if field.most < (1 << field.width) - 1:
            legal = legal & (word[field.low : field.low + field.width] <= field.most)
    if register.rising:
        parts = [word[field.low : field.low + field.width] for field in register.fields]
        for below, above in zip(parts[:-1], parts[1:], strict=True):
            legal = legal & (below <= above)
    pulses = [1 << field.low for field in register.fields if field.kind == Kind.PULSE]
    if pulses:
        legal = legal & word.matches(*pulses)
    return legal
