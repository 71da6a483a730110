"""One run from checked inputs to `results.json`: choose the engine, run it, write down what it found."""

from dataclasses import dataclass, replace
from pathlib import Path

from kv_endpoint.golden.common.config import Config
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import ScoreSource
from kv_endpoint.sim.host.regions import check_weights, kv_region, weights_of
from kv_endpoint.sim.host.traffic import first_step, traffic
from kv_endpoint.sim.results.folder import check_folder, claimed
from kv_endpoint.sim.results.results import NAME, results, write_atomically
from kv_endpoint.sim.run.golden import run_golden
from kv_endpoint.sim.run.progress import Progress
from kv_endpoint.sim.run.timing import SCALED_TIMING
from kv_endpoint.sim.run.tools import require_simulator
from kv_endpoint.sim.settings import Settings, SettingsError
from kv_endpoint.sim.workload.load import check_fits

__all__ = ["ENGINES", "Run", "RunFailed", "prepare"]

#: what can run a workload: the RTL on a simulator, or the golden model alone
ENGINES = ("verilator", "icarus", "golden")
#: what blocks score by (`--score`)
MASS, ACCESS = ScoreSource.MASS.name.lower(), ScoreSource.ACCESS.name.lower()


class RunFailed(Exception):
    """The simulation could not be built or did not come to its end: says why."""


@dataclass(frozen=True)
class Run:
    """A run whose inputs have been found sound."""

    config: Config
    workload: object
    settings: Settings
    simulator: str
    out: str
    waves: bool
    trace: bool = False
    #: what `results` is told of the command and the workload
    source: dict | None = None
    #: what was chosen for the user, in words
    notes: tuple = ()

    @property
    def weights(self):
        """The run's `sim.workload.weights.Weights`, or None."""
        return weights_of(self.config, self.workload, self.settings)

    @property
    def regions(self):
        """The regions of the KV cache and, where there are any, of the weights."""
        weights = self.weights
        return (kv_region(self.config, self.workload, self.settings), *((weights.region,) if weights else ()))

    def pools(self):
        """{mode: frames} of the pools that the run needs."""
        weights, mode = self.weights, self.settings.storage
        pools = {mode: self.settings.frames(self.workload, self.config)}
        if weights:
            pools[Mode.EXACT] = pools.get(Mode.EXACT, 0) + weights.frames
        return pools

    def execute(self):
        """Run, write `results.json` and return (its contents, complaints in words).

        Raises `RunFailed`; `SettingsError` where `out` is not for it; OSError where it cannot be written any more.
        """
        # A result of an earlier run must not pass for this one's if this one fails: it goes first.
        with claimed(self.out, _planned(self.simulator)) as folder:
            result, complaints = self._executed()
            write_atomically(folder, result)
        return result, complaints

    def _executed(self):
        """The result and the complaints, in a folder that is this run's."""
        settings = self.settings
        region, weights = self.regions[0], self.weights
        steps = settings.run_steps(self.workload)
        policy = settings.policy()
        progress = Progress(steps)

        def operations():
            return traffic(
                self.workload, settings, steps, config=self.config, region=region, leap_cap=policy.leap_cap,
                weights=weights,
            )  # fmt: skip

        common = {
            "config": self.config,
            "regions": self.regions,
            "policy": policy,
            "pools": self.pools(),
            "quotas": settings.quotas(self.workload) | (weights.quotas() if weights else {}),
            "first_step": first_step(weights),
            "apart": weights.heads if weights else (),
            "progress": progress,
        }
        if self.simulator == "golden":
            measured = run_golden(operations(), **common)
        else:
            # Here, since only these runs need Amaranth and cocotb, which take a second to import.
            from kv_endpoint.sim.run.rtl import SimulationFailed, run_rtl

            try:
                measured = run_rtl(
                    operations,
                    simulator=self.simulator,
                    timing=SCALED_TIMING,
                    out=Path(self.out),
                    waves=self.waves,
                    seed=settings.seed,
                    throttle=settings.throttle,
                    snoop_clocks=settings.snoop_clocks,
                    trace=self.trace,
                    **common,
                )
            except SimulationFailed as error:
                raise RunFailed(str(error)) from error
        progress.clear()
        result = results(
            config=self.config,
            simulator=self.simulator,
            workload=self.workload,
            settings=settings,
            timing=SCALED_TIMING,
            measured=measured,
            weights=weights,
            source=self.source,
        )
        return result, measured.complaints


def _planned(simulator):
    """Names of the files that a run writes."""
    if simulator == "golden":
        return (NAME,)
    # Here, since only these runs need Amaranth and cocotb, which take a second to import.
    from kv_endpoint.sim.run.rtl import FILES

    return (NAME, *FILES)


def prepare(*, config, workload, settings, simulator, out, waves, trace=False, source=None):
    """Check everything that can be checked before the run; the folder `out` is created last.

    Raises `SettingsError` or `WorkloadError`.
    """
    if settings.prefill or settings.by_layer:
        workload = workload.prefilled(settings.prefill, settings.prefill_chunk, by_block=settings.by_layer)
    notes = []
    if settings.score == MASS and not workload.hinted:
        settings = replace(settings, score=ACCESS)
        notes.append(
            f"workload {workload.name} has no hints, which --score {MASS} needs: blocks score by --score {ACCESS}"
        )
    check_fits(workload, config)
    settings.run_steps(workload)
    settings.frames(workload, config)
    check_weights(config, workload, settings)
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
    check_folder(str(out), _planned(simulator))
    return Run(config, workload, settings, simulator, str(out), waves, trace, source, tuple(notes))
