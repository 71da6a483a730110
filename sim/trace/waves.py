"""`python -m sim waves`: a short run of the RTL as a wave file that people can read, with layouts for two viewers.

The simulator's own VCD has every signal, as numbers. What is written here has the signals of
`sim/trace/wave_layout.py`, one scope a block; messages, slots, records and states in words, as strings (an extension
that both viewers read).
"""

import shutil
import tempfile
from pathlib import Path

from vcd import VCDWriter
from vcd.gtkw import GTKWSave

from kv_endpoint.sim.results.folder import claimed
from kv_endpoint.sim.run.rtl import WAVES
from kv_endpoint.sim.trace.wave_layout import groups

__all__ = ["WaveError", "rewrite", "save_gtkwave", "save_surfer", "write_waves"]

#: where the simulators' files have the endpoint
ENDPOINT = ("bench", "endpoint")
TOP = "endpoint"
#: what a signal without a known value is shown as
UNKNOWN = "x"


class WaveError(ValueError):
    """A wave file without a signal that the layout names."""


def _declarations(file):
    """{path below the endpoint: (id, bits)} and the timescale in words, read up to the end of the definitions."""
    signals, scope, timescale = {}, [], []
    in_timescale = False
    for line in file:
        words = line.split()
        in_timescale |= words[:1] == ["$timescale"]
        if in_timescale:
            timescale += [word for word in words if not word.startswith("$")]
            in_timescale = "$end" not in words
        elif words[:1] == ["$scope"]:
            scope.append(words[2])
        elif words[:1] == ["$upscope"]:
            scope.pop()
        elif words[:1] == ["$var"]:
            _, _, bits, code, name, *_ = words
            for depth in range(len(scope) - 1):
                if tuple(scope[depth : depth + 2]) == ENDPOINT:
                    # Verilog's escaped names keep their backslash in some files.
                    path = ".".join((*scope[depth + 2 :], name.removeprefix("\\")))
                    signals.setdefault(path, (code, int(bits)))
        elif words[:1] == ["$enddefinitions"]:
            return signals, " ".join(timescale)
    raise WaveError("the wave file has no definitions")


def _changes(file):
    """(time, None, None) and (None, id, value) of each line that follows the definitions; a value is an int or text."""
    for line in file:
        kind, rest = line[0], line[1:].strip()
        if kind == "#":
            yield int(rest), None, None
        elif kind in "01xXzZ":
            yield None, rest, int(kind) if kind in "01" else kind.lower()
        elif kind in "bB":
            bits, code = rest.split()
            yield None, code, int(bits, 2) if set(bits) <= {"0", "1"} else bits


class _Shown:
    """One wave on its way from the simulator's file to the new one."""

    def __init__(self, wave, ids, bits, writer, scope):
        self._wave, self._ids, self._writer = wave, ids, writer
        kind = ("string", None, "") if wave.text else ("wire", bits, "x")
        self._variable = writer.register_var(scope, wave.label, kind[0], size=kind[1], init=kind[2])

    def update(self, time, values):
        found = [values.get(code, UNKNOWN) for code in self._ids]
        self._writer.change(self._variable, time, self._value(found))

    def _value(self, found):
        if self._wave.text is None:
            return found[0]
        if any(isinstance(value, str) for value in found):
            return UNKNOWN
        # A string of a VCD file ends at the first space.
        return self._wave.text(*found).replace(" ", "_")


def rewrite(source, target, layout):
    """Write the waves of `layout`, a sequence of `Group`s, from the simulator's file `source` to `target`.

    Returns the bits of each wave by (group, label), None for one in words. Raises `WaveError` for a signal that is not
    in the file.
    """
    with open(source) as read, open(target, "w") as write:
        signals, timescale = _declarations(read)
        writer = VCDWriter(write, timescale=timescale, date="")
        users, shown = {}, {}
        for group in layout:
            for wave in group.waves:
                missing = [path for path in wave.sources if path not in signals]
                if missing:
                    raise WaveError(f"wave {group.name}.{wave.label}: no signal {missing[0]} in {source}")
                ids = [signals[path][0] for path in wave.sources]
                bits = None if wave.text else signals[wave.sources[0]][1]
                shown[group.name, wave.label] = bits
                one = _Shown(wave, ids, bits, writer, f"{TOP}.{group.name}")
                for code in ids:
                    users.setdefault(code, []).append(one)
        now, values, changed = 0, {}, {}
        for time, code, value in _changes(read):
            if time is not None:
                for one in changed:
                    one.update(now, values)
                now, changed = time, {}
            elif code in users:
                values[code] = value
                changed.update(dict.fromkeys(users[code]))
        for one in changed:
            one.update(now, values)
        writer.close(now)
    return shown


def _name(label, bits):
    return label if bits in (None, 1) else f"{label}[{bits - 1}:0]"


def save_gtkwave(path, waves, shown):
    """Write GTKWave's save file: a group a block, words first."""
    with open(path, "w") as file:
        save = GTKWSave(file)
        save.dumpfile(waves.name, abspath=False)
        save.treeopen(f"{TOP}.")
        save.signals_width(260)
        names = dict.fromkeys(group for group, _ in shown)
        for name in names:
            with save.group(name, closed=False):
                for (group, label), bits in shown.items():
                    if group == name:
                        datafmt = "ascii" if bits is None else "hex"
                        save.trace(f"{TOP}.{group}.{_name(label, bits)}", alias=label, datafmt=datafmt)


def save_surfer(path, shown):
    """Write Surfer's command file: a divider a block, then its waves."""
    lines, last = [], None
    for group, label in shown:
        if group != last:
            lines.append(f"divider_add {group}")
            last = group
        lines.append(f"variable_add {TOP}.{group}.{label}")
    path.write_text("\n".join([*lines, "zoom_fit", ""]))


def write_waves(prepared, config, out):
    """Run `prepared(folder)`, a `sim.run.run.Run`, and leave its waves and their layouts in folder `out`.

    Returns what was complained of. Raises `WaveError`, `SettingsError` where `out` is not for it, and whatever the run
    raises.
    """
    names = [Path(WAVES).with_suffix(suffix).name for suffix in (".vcd", ".gtkw", ".sucl")]
    with claimed(out, names) as folder:
        return _write_waves(prepared, config, folder)


def _write_waves(prepared, config, out):
    """What it does in a folder that is its own."""
    waves = out / WAVES
    with tempfile.TemporaryDirectory(dir=out) as folder:
        run = prepared(folder)
        _, complaints = run.execute()
        new = Path(folder) / "new.vcd"
        shown = rewrite(Path(folder) / WAVES, new, groups(config, run.regions))
        shutil.move(new, waves)
    save_gtkwave(waves.with_suffix(".gtkw"), waves, shown)
    save_surfer(waves.with_suffix(".sucl"), shown)
    print(f"{len(shown)} waves in {waves}")
    print(f"gtkwave {waves} {waves.with_suffix('.gtkw')}    or    surfer {waves} -c {waves.with_suffix('.sucl')}")
    return complaints
