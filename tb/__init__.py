"""The bench: cocotb agents and simulation-only Verilog around the endpoint, for Verilator and Icarus."""
