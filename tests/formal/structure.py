"""What cannot depend on what: no path through logic, registers and memories leads from these ports to that one."""

from dataclasses import dataclass

from amaranth.back import rtlil

__all__ = ["Structure"]

_SCRIPT = (
    "read_rtlil {name}.il; hierarchy -top top; proc; flatten; opt_clean; select -set cone w:{output} %ci*; {checks}"
)


@dataclass(frozen=True)
class Structure:
    """`output` of `block` depends on no port in `never`, and on every one in `sure`: glob patterns of port names.

    `sure` shows that the cone is looked at at all.
    """

    block: object
    output: str
    never: tuple
    sure: tuple

    def write(self, folder, name):
        """Write the block to `folder`; returns the script that fails where it does not hold."""
        text = rtlil.convert(self.block, name="top", emit_src=False)
        (folder / f"{name}.il").write_text(text)
        # Each pattern must name a port, or it would say nothing.
        checks = [f"select -assert-any i:{each}" for each in (*self.never, *self.sure)]
        checks += [f"select -assert-none i:{each} @cone %i" for each in self.never]
        checks += [f"select -assert-any i:{each} @cone %i" for each in self.sure]
        return _SCRIPT.format(name=name, output=self.output, checks="; ".join(checks))
