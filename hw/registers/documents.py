"""Writes what follows from `csr.rdl`: the golden model's map, the register document and the C header.

`python -m kv_endpoint.hw.registers.documents` writes them; with `--check` it writes nothing and fails if one of them
is out of date.
"""

import argparse
import re
import sys
from pathlib import Path

from kv_endpoint.golden.common.config import PRESETS
from kv_endpoint.hw.registers.map import ADDRESS_BITS, PARAMETERS, Kind, registers

__all__ = ["documents", "main"]

_ROOT = Path(__file__).parents[2]
_CONFIG = PRESETS["small"]
#: Most regions and streams that a configuration may have: the golden map lists the registers of all of them.
_ALL = {"regions": 8, "streams": 8}


def _parameter_of_reset():
    """{(register, field): root parameter} of the reset values that follow a parameter: found by changing each."""
    base = {name: getattr(_CONFIG, name) for name in PARAMETERS} | _ALL

    def resets(**overrides):
        return {
            (register.name, field.name): field.reset
            for register in registers(_CONFIG, **base | overrides)
            for field in register.fields
        }

    reference, found = resets(), {}
    for parameter in PARAMETERS:
        for place, reset in resets(**{parameter: base[parameter] - 1}).items():
            if reset != reference[place]:
                found[place] = parameter
    return found


def _golden_map(all_registers, parameter_of):
    lines = [
        '"""The register map. Generated from `hw/registers/csr.rdl` by `make registers`: do not edit."""',
        "",
        '__all__ = ["REGISTERS"]',
        "",
        "#: {register: (byte address, {field: (lowest bit, bits, reset value or None if the configuration decides)})}",
        "REGISTERS = {",
    ]
    for register in all_registers:
        lines.append(f'    "{register.name}": (')
        lines.append(f"        0x{register.address:03X},")
        lines.append("        {")
        for field in register.fields:
            reset = None if (register.name, field.name) in parameter_of else field.reset
            lines.append(f'            "{field.name}": ({field.low}, {field.width}, {reset}),')
        lines.append("        },")
        lines.append("    ),")
    return "\n".join([*lines, "}", ""])


_DOCUMENT_HEAD = """# Registers

Generated from `hw/registers/csr.rdl` by `make registers`: do not edit.

One AXI4-Lite port, 32 bits wide, {bits} address bits. Addresses are byte addresses.

- **SLVERR, and nothing changes**, for: an address without a register; a write to a register without a writable field; a
  write that does not set all four byte strobes; a write of 1 to a bit outside the fields; a value outside an encoding
  or a range;
  what the rules of a register exclude; what is refused.
- **refused** are commands by the allocator, and writes to CTRL of a region or a stream. COMMAND_STATUS says why,
  REFUSED_COMMAND is set in ERROR, and there is a REFUSAL and an ERROR record.
- **held**: the write waits until the metadata pipeline stands still, takes effect in the clock in which its CSR_WRITE
  record (key = byte address, aux = value) is accepted, and is answered then.
- **command**: the write goes to the allocator and is answered when the allocator has carried it out or refused it.
- **rebuild**: a new value changes the eviction keys, and the victim queues are built again.
- Reads never wait for any of this.
- Reset values in italics are parameters of the build (`golden/common/config.py`).
"""


def _split(name):
    """(name without index, whether it stands for all elements of an array); None for elements beyond the first."""
    if "[" not in name:
        return name, False
    return (name.replace("[0]", "[n]"), True) if "[0]" in name else None


def _reset_text(register, field, parameter_of):
    if field.kind == Kind.STATUS:
        return "-"
    parameter = parameter_of.get((register.name, field.name))
    if parameter is not None and field.reset == getattr(_CONFIG, parameter):
        return f"*{parameter}*"
    if parameter is not None:
        # Worked out from several parameters: csr.rdl has the formula.
        return f"{field.reset} at preset {_CONFIG.name}"
    return f"0x{field.reset:X}" if field.reset > 9 else str(field.reset)


def _field_meaning(field):
    meaning = [field.meaning] if field.meaning else []
    meaning += [f"{value} {name}: {text}" for value, (name, text) in field.encoding.items()]
    if field.least or field.most < (1 << field.width) - 1:
        meaning.append(f"{field.least} to {field.most}")
    return "; ".join(meaning) + (" (rebuild)" if field.rebuild else "")


def _document(all_registers, parameter_of):
    by_name = {register.name: register for register in all_registers}
    lines = [_DOCUMENT_HEAD.format(bits=ADDRESS_BITS)]
    lines += ["| address | register | bits | field | access | reset | meaning |", "|---|---|---|---|---|---|---|"]
    for register in all_registers:
        if _split(register.name) is None:
            continue
        name, is_array = _split(register.name)
        address, other = f"0x{register.address:03X}", None
        if is_array:
            other = by_name[register.name.replace("[0]", "[1]")]
            address += f" + 0x{other.address - register.address:X} n"
        marks = [mark for mark in ("held", "command") if getattr(register, mark)]
        rows = []
        for field in register.fields:
            reset = _reset_text(register, field, parameter_of)
            if other and reset != (rest := _reset_text(other, other.field(field.name), parameter_of)):
                reset = f"n = 0: {reset}, else {rest}"
            bits = f"{field.low + field.width - 1}:{field.low}" if field.width > 1 else str(field.low)
            access = ", ".join([field.kind.value, *marks])
            rows.append([bits, field.name, access, reset, _field_meaning(field)])
        if len(rows) == 1:
            # A register of one field takes one row.
            rows[0][-1] = " ".join(text[:1].upper() + text[1:] for text in (register.meaning, rows[0][-1]) if text)
            lines.append(f"| {address} | **{name}** | {' | '.join(rows[0])} |")
        else:
            lines.append(f"| {address} | **{name}** | | | | | {register.meaning} |")
            lines += [f"| | | {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, ""])


def _header(all_registers):
    by_name = {register.name: register for register in all_registers}
    lines = [
        "/* The registers of the endpoint. Generated from hw/registers/csr.rdl by `make registers`: do not edit. */",
        "#ifndef KV_ENDPOINT_REGISTERS_H",
        "#define KV_ENDPOINT_REGISTERS_H",
        "",
        "/* Byte addresses; of each field its lowest bit, its mask in place, and its encoding. */",
    ]
    for register in all_registers:
        if _split(register.name) is None:
            continue
        name, is_array = _split(register.name)
        macro = "KV_" + re.sub(r"\[n\]\.", "_", name)
        if is_array:
            stride = by_name[register.name.replace("[0]", "[1]")].address - register.address
            lines.append(f"#define {macro}(n) (0x{register.address:03X}u + 0x{stride:X}u * (n))")
        else:
            lines.append(f"#define {macro} 0x{register.address:03X}u")
        for field in register.fields:
            lines.append(f"#define {macro}_{field.name}_SHIFT {field.low}")
            lines.append(f"#define {macro}_{field.name}_MASK 0x{((1 << field.width) - 1) << field.low:08X}u")
            for value, (meaning, _) in field.encoding.items():
                lines.append(f"#define {macro}_{field.name}_{meaning} {value}u")
    return "\n".join([*lines, "", "#endif", ""])


def documents():
    """{path: what it must contain} of every file that is generated from `csr.rdl`."""
    all_registers = registers(_CONFIG, **_ALL)
    parameter_of = _parameter_of_reset()
    return {
        _ROOT / "golden" / "registers" / "map.py": _golden_map(all_registers, parameter_of),
        _ROOT / "docs" / "registers.md": _document(all_registers, parameter_of),
        _ROOT / "docs" / "registers.h": _header(all_registers),
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m kv_endpoint.hw.registers.documents", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    check = parser.parse_args(arguments).check
    stale = []
    for path, text in documents().items():
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.relative_to(_ROOT))
    for path in stale:
        print(
            f"{path}: does not match hw/registers/csr.rdl; run: python -m kv_endpoint.hw.registers.documents",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
