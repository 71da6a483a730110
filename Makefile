# `make sim` and `make test` do all of their own set-up; `make help` lists the rest.
SIM ?= verilator
PRESET ?= small
WORKLOAD ?= attention-a
SEED ?= 1
MODE ?= exact
PREFETCH ?= off
LEAD ?= 0
CACHEABLE ?= 0
# Icarus simulates some hundred clocks a second: so few steps keep `make sim SIM=icarus` below ten minutes, and so few
# frames let blocks leave all the same; where the host may cache, the pool has to be larger.
ICARUS_OPTIONS ?= --steps 48 $(if $(filter 0,$(CACHEABLE)),--frames-share 0.0625)
ARGS ?=
BLOCKS ?= compressor decompressor

# Tests whose records count in `make coverage`, for what the runs of hosts do not do
COVERAGE_TESTS ?= tests/tb/scenarios/test_coherency.py tests/tb/scenarios/test_refusals.py tests/tb/scenarios/test_endpoint.py tests/lockstep/test_traffic.py

# What the command line may set. A misspelt name would otherwise change nothing, in silence.
VARIABLES = SIM PRESET WORKLOAD SEED MODE PREFETCH LEAD CACHEABLE ICARUS_OPTIONS ARGS BLOCKS COVERAGE_TESTS ROWS OUT REMOVE
SET = $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
UNKNOWN := $(filter-out $(VARIABLES) -%,$(SET))
ifneq ($(UNKNOWN),)
$(error $(UNKNOWN): no variable of this Makefile; must be one of $(VARIABLES))
endif
# One word of the shell, whatever is in it.
quoted = '$(subst ','\'',$(1))'

PYTHON := .venv/bin/python
SIM_OUT = $(call quoted,$(or $(OUT),out))
# what `make measured` puts into docs/measured.md
ROWS ?= build/bench.json
VERILOG_OUT = $(call quoted,$(or $(OUT),out/verilog-$(PRESET)))
WAVES_OUT = $(call quoted,$(or $(OUT),out/waves))
COVERAGE_OUT = $(call quoted,$(or $(OUT),out/coverage))
COVERAGE_OF_TESTS = build/coverage
OF_RUN = --workload $(call quoted,$(WORKLOAD)) --preset $(call quoted,$(PRESET)) --simulator $(call quoted,$(SIM)) \
	--mode $(call quoted,$(MODE))
RUN = $(PYTHON) -m sim run $(OF_RUN) --seed $(call quoted,$(SEED)) --prefetch $(call quoted,$(PREFETCH)) \
	--announce-lead $(call quoted,$(LEAD)) --cacheable $(call quoted,$(CACHEABLE)) --out $(SIM_OUT)

TESTS = $(PYTHON) -m pytest -n auto --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup sim test quick verilog waves lint bench regress coverage fpga formal mutants measured registers clean clean-results

help:
	@echo "make sim      run WORKLOAD through the RTL at PRESET on SIM, checked event by event; results in OUT"
	@echo "make test     the regression (some 18 minutes at first)"
	@echo "make quick    lint, the golden models, a lock-step run and a test of each block (three minutes)"
	@echo "make verilog  synthesizable Verilog and manifest.json of PRESET in OUT"
	@echo "make waves    a short run as waves to look at, with layouts for GTKWave and Surfer; in OUT"
	@echo "make registers  write the register document, C header and golden map anew from hw/registers/csr.rdl"
	@echo "make lint     ruff check, ruff format --check, and whether the register documents are up to date"
	@echo "make bench    the measured numbers of the README (long)"
	@echo "make regress  the long tests, and a million random requests of hosts that cache of each of three seeds from SEED on"
	@echo "make coverage  which bins of coherency the tests and runs of COVERAGE_TESTS hit, and what they reach of the Verilog"
	@echo "make fpga     size and clock of BLOCKS on an ECP5-85, by yosys and nextpnr (minutes a block)"
	@echo "make formal   every proof of the RTL, as a table (minutes)"
	@echo "make mutants  break the RTL on purpose, one mutation at a time: each must fail (long)"
	@echo "make measured  write docs/measured.md anew, with the rows of ROWS, files that --json= of these commands wrote"
	@echo "make clean    remove build products; results and .venv stay"
	@echo "make clean-results  which files of results below OUT a later run would replace; REMOVE=1 removes them"
	@echo "variables: SIM=verilator|icarus|golden ($(SIM)) PRESET=tiny|small ($(PRESET)) WORKLOAD= ($(WORKLOAD))"
	@echo "           MODE=exact|mxint8 ($(MODE)) PREFETCH=off|announced|window|streams|all ($(PREFETCH)) LEAD=clocks ($(LEAD))"
	@echo "           CACHEABLE=share of the reads after which the host may hold the line ($(CACHEABLE))"
	@echo "           OUT= SEED= ($(SEED)) ARGS= (more options of: python -m sim run --help)"

setup:
	@scripts/setup.sh

sim: setup
ifeq ($(SIM),icarus)
	@echo "Icarus is a hundred times slower than Verilator: the run is shortened by $(ICARUS_OPTIONS) (ICARUS_OPTIONS=)"
	@$(RUN) $(ICARUS_OPTIONS) $(ARGS)
else
	@$(RUN) $(ARGS)
endif

test: setup
	@$(PYTHON) -m tests.support.builds
	@$(TESTS) --durations=10 $(ARGS)

quick: lint
	@$(TESTS) --quick --durations=3 $(ARGS)

verilog: setup
	@$(PYTHON) -m hw.verilog --preset $(call quoted,$(PRESET)) --out $(VERILOG_OUT)

waves: setup
	@$(PYTHON) -m sim waves $(OF_RUN) --out $(WAVES_OUT) $(ARGS)

lint: setup
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m kv_endpoint.hw.registers.documents --check

bench: setup
	@mkdir -p build
	@$(PYTHON) -m sim bench --json build/bench.json $(ARGS)

regress: setup
	@mkdir -p build
	@$(TESTS) --long --durations=10
	@$(PYTHON) -m sim bench --only regress --seed $(call quoted,$(SEED)) --seeds 3 --json build/regress.json $(ARGS)

coverage: setup
	@rm -rf $(COVERAGE_OF_TESTS)
	@KV_ENDPOINT_COVERAGE=$(abspath $(COVERAGE_OF_TESTS)) $(PYTHON) -m pytest -q -n auto -k "not icarus" $(COVERAGE_TESTS)
	@$(PYTHON) -m sim coverage --verilog --out $(COVERAGE_OUT) $(COVERAGE_OF_TESTS) $(ARGS)

formal: setup
	@mkdir -p build
	@$(PYTHON) -m tests.formal --json build/formal.json $(ARGS)

fpga: setup
	@$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["fpga"], sep="\n")' \
		| $(PYTHON) -m pip install --disable-pip-version-check --quiet -c constraints.txt -r /dev/stdin
	@$(PYTHON) -m kv_endpoint.hw.area --preset $(call quoted,$(PRESET)) $(BLOCKS)

mutants: setup
	@mkdir -p build
	@$(PYTHON) -m tests.mutants --json build/mutants.json $(ARGS)

measured: setup
	@$(PYTHON) -m kv_endpoint.sim.bench.measured $(ROWS)

registers: setup
	@$(PYTHON) -m kv_endpoint.hw.registers.documents

clean:
	rm -rf build .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

clean-results: setup
	@$(PYTHON) -m kv_endpoint.sim.results.clean $(call quoted,$(or $(OUT),out)) $(if $(REMOVE),--remove)
