"""One run from checked inputs to `results.json`: choose the engine, run it, write down what it found."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from golden.config import Config
from golden.csr import reset_regions
from golden.mode import Mode
from sim.golden_run import run_golden
from sim.progress import Progress
from sim.results import NAME, results, write_atomically
from sim.settings import Settings, SettingsError
from sim.timing import SCALED_TIMING
from sim.tools import require_simulator
from sim.traffic import FIRST_STEP, traffic
from sim.workload import check_fits
from tb.build import SIMULATORS

__all__ = ["ENGINES", "Run", "prepare"]

ENGINES = (*SIMULATORS, "golden")


@dataclass(frozen=True)
class Run:
    """A run whose inputs have been found sound."""

    config: Config
    workload: object
    settings: Settings
    simulator: str
    out: Path
    waves: bool
    trace: bool = False

    def execute(self):
        """Run, write `results.json` and return (its contents, complaints in words).

        Raises `tb.build.SimulationFailed` where the simulation cannot be run to its end, OSError where `out` cannot be
        written any more.
        """
        # A result of an earlier run must not pass for this one's if this one fails.
        (self.out / NAME).unlink(missing_ok=True)
        settings = self.settings
        region = replace(reset_regions(self.config)[0], mode=Mode[settings.mode.upper()], cached=settings.cacheable > 0)
        steps = settings.run_steps(self.workload)
        policy = settings.policy()
        progress = Progress(steps)

        def operations():
            return traffic(self.workload, settings, steps, config=self.config, region=region, leap_cap=policy.leap_cap)

        common = {
            "config": self.config,
            "region": region,
            "policy": policy,
            "frames": settings.frames(self.workload, self.config),
            "quotas": settings.quotas(self.workload),
            "first_step": FIRST_STEP,
            "progress": progress,
        }
        if self.simulator == "golden":
            measured = run_golden(operations(), **common)
        else:
            # Here, since only these runs need Amaranth and cocotb, which take a second to import.
            from sim.rtl_run import run_rtl

            measured = run_rtl(
                operations,
                simulator=self.simulator,
                timing=SCALED_TIMING,
                out=self.out,
                waves=self.waves,
                seed=settings.seed,
                throttle=settings.throttle,
                snoop_clocks=settings.snoop_clocks,
                trace=self.trace,
                **common,
            )
        progress.clear()
        result = results(
            config=self.config,
            simulator=self.simulator,
            workload=self.workload,
            settings=settings,
            timing=SCALED_TIMING,
            measured=measured,
        )
        write_atomically(self.out, result)
        return result, measured.complaints


def prepare(*, config, workload, settings, simulator, out, waves, trace=False):
    """Check everything that can be checked before the run; the folder `out` is created last.

    Raises `SettingsError` or `WorkloadError`.
    """
    if settings.prefill:
        workload = workload.prefilled(settings.prefill, settings.prefill_chunk)
    check_fits(workload, config)
    settings.run_steps(workload)
    settings.frames(workload, config)
    if simulator not in ENGINES:
        raise SettingsError(f"--simulator {simulator}: must be one of {', '.join(ENGINES)}")
    if simulator == "golden":
        if waves:
            raise SettingsError("--waves: must be left out with --simulator golden, which has no signals")
        if trace:
            raise SettingsError("--trace: must be left out with --simulator golden, which has no messages")
        if settings.cacheable:
            raise SettingsError("--cacheable: must be 0 with --simulator golden, which has no messages")
    else:
        require_simulator(simulator)
    return Run(config, workload, settings, simulator, _writable(out), waves, trace)


def _writable(out):
    path = Path(out)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise SettingsError(f"--out {out}: must be a folder that can be written: {error.strerror}") from None
    return path
