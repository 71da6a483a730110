"""Payloads of streams as integers: packing and unpacking by a table of fields."""

__all__ = ["fields_of", "pack", "unpack"]


def pack(fields, values):
    """The integer of `values`, a dict, laid out by `fields` = ((name, bits), ...), lowest bits first.

    Fields that are not given are 0. Raises ValueError for a value that does not fit and for a name that is no field.
    """
    payload, shift, left = 0, 0, dict(values)
    for name, bits in fields:
        value = int(left.pop(name, 0))
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} must fit {bits} bits, not {value}")
        payload |= value << shift
        shift += bits
    if left:
        raise ValueError(f"no field {', '.join(left)}; the fields are {', '.join(name for name, _ in fields)}")
    return payload


def unpack(fields, payload):
    """The dict of fields of an integer that `pack` made."""
    values = {}
    for name, bits in fields:
        values[name] = payload & (1 << bits) - 1
        payload >>= bits
    return values


def fields_of(layout):
    """((field, bits), ...) of an Amaranth struct layout, lowest bits first."""
    return tuple((name, field.width) for name, field in layout)
