"""What marks nothing marks nothing, also where the number is unknown."""

import shutil
import subprocess

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module, Signal

from kv_endpoint.hw.lib.one_hot import bit_of

BENCH = """
module bench;
    reg strobe; reg [2:0] number; wire [7:0] bits;
    marks dut (.strobe(strobe), .number(number), .bits(bits));
    initial begin
        strobe = 1; number = 3'bx;
        #1 strobe = 0;
        #1 $display("%b", bits);
        strobe = 1; number = 5;
        #1 $display("%b", bits);
        strobe = 0;
        #1 $display("%b", bits);
    end
endmodule
"""


@pytest.mark.quick
def test_the_bit_of_the_number_is_set_and_no_other_even_if_the_number_is_unknown(tmp_path):
    if shutil.which("iverilog") is None:
        pytest.fail("Icarus: `iverilog` must be installed (Debian package `iverilog`)")
    m = Module()
    strobe, number, bits = Signal(name="strobe"), Signal(3, name="number"), Signal(8, name="bits")
    m.d.comb += bits.eq(bit_of(strobe, number))
    (tmp_path / "marks.v").write_text(verilog.convert(m, name="marks", ports=[strobe, number, bits]) + BENCH)
    command = ["iverilog", "-g2005", "-s", "bench", "-o", tmp_path / "marks.vvp", tmp_path / "marks.v"]
    subprocess.run(command, check=True, capture_output=True)
    told = subprocess.run(["vvp", tmp_path / "marks.vvp"], check=True, capture_output=True, text=True)
    assert told.stdout.split() == ["00000000", "00100000", "00000000"]
