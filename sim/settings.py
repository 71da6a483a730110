"""The settings of a run: what the command line asks for, checked, and what follows from it for the registers."""

import math
from dataclasses import dataclass

from kv_endpoint.golden.common.config import LINES_PER_BLOCK
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.common.policy import Policy, Priority, ScoreSource, alpha_code, lambda_of

__all__ = [
    "ANNOUNCE", "MODES", "POOLS", "PREFETCH", "PRIORITIES", "SCORES", "STREAM_ORDERS", "SettingsError",
    "Settings",
]  # fmt: skip

PRIORITIES = tuple(p.name.lower() for p in Priority)
SCORES = tuple(s.name.lower() for s in ScoreSource)
POOLS = ("shared", "per-head")
ANNOUNCE = ("layer", "step", "none")
MODES = tuple(m.name.lower() for m in Mode)
STREAM_ORDERS = ("heads", "layers")
#: value of --prefetch -> sources that are on
PREFETCH = {
    "off": (),
    "announced": ("announced",),
    "window": ("window",),
    "streams": ("streams",),
    "all": ("announced", "window", "streams"),
}
#: most clocks that the host can be told to wait
LEAD_MAX = 1_000_000
#: most clocks that a host may take to answer a BISnp here
SNOOP_CLOCKS_MAX = 65_535
#: below it the register's 16 bits are 0, and a score changes nothing; beyond the other lambda, UQ4.20, overflows
ALPHA_MIN, ALPHA_MAX = 1 / 65536, 0.9999


class SettingsError(ValueError):
    """A setting that cannot be used: names the option, the value and the rule."""


@dataclass(frozen=True)
class Settings:
    """One run. `steps` None: all of the workload's."""

    priority: str = "decayed"
    pool: str = "shared"
    announce: str = "layer"
    score: str = "mass"
    alpha: float = 0.2
    gain: float = 8.0
    coverage: float = 0.95
    bypass: bool = True
    protect: bool = True
    mode: str = "exact"
    prefetch: str = "off"
    #: clocks from the Cmp of a layer's hints (or a step's) to its first read
    announce_lead: int = 0
    #: tokens that arrive before the first decode step, and how many of them in one step
    prefill: int = 0
    prefill_chunk: int = 64
    #: which way streams go, and what a chunk reads again: along a head, or a block in all heads, layer after layer
    stream_order: str = "heads"
    #: blocks of weights that a layer reads in every step
    weights: int = 0
    #: the host slows down when responses report load
    throttle: bool = False
    #: share of the reads after which the host may hold the line; it drops it silently and answers each BISnp after so
    #: many clocks
    cacheable: float = 0.0
    snoop_clocks: int = 64
    frames_share: float = 0.25
    #: lines of a block that one block read fetches
    lines_per_read: int = 4
    steps: int | None = None
    seed: int = 1

    def __post_init__(self):
        def require(option, ok, rule):
            if not ok:
                value = getattr(self, option)
                raise SettingsError(f"--{option.replace('_', '-')} {value}: must be {rule}")

        for option, choices in (
            ("priority", PRIORITIES), ("pool", POOLS), ("announce", ANNOUNCE), ("score", SCORES), ("mode", MODES),
            ("prefetch", PREFETCH), ("stream_order", STREAM_ORDERS),
        ):  # fmt: skip
            require(option, getattr(self, option) in choices, f"one of {', '.join(choices)}")
        require("alpha", ALPHA_MIN <= self.alpha <= ALPHA_MAX, f"1/65536 to {ALPHA_MAX}")
        require("gain", math.isfinite(self.gain) and self.gain > 0, "a number above 0")
        require("coverage", 0 < self.coverage <= 1, "above 0 and at most 1")
        require("frames_share", 0 < self.frames_share <= 1, "above 0 and at most 1")
        require("lines_per_read", 1 <= self.lines_per_read <= LINES_PER_BLOCK, f"1 to {LINES_PER_BLOCK}")
        require("announce_lead", 0 <= self.announce_lead <= LEAD_MAX, f"0 to {LEAD_MAX:,} clocks")
        nothing_ahead = self.announce == "none" and self.announce_lead > 0
        require("announce_lead", not nothing_ahead, "0 with --announce none, which announces nothing")
        nothing_named = self.announce == "none" and self.prefetch == "announced"
        require("prefetch", not nothing_named, "another with --announce none, which announces nothing")
        require("prefill", self.prefill >= 0, "at least 0 tokens")
        require("prefill_chunk", self.prefill_chunk >= 1, "at least 1 token")
        require("weights", self.weights >= 0, "at least 0 blocks a layer")
        require("cacheable", 0 <= self.cacheable <= 1, "0 to 1")
        require("snoop_clocks", 0 <= self.snoop_clocks <= SNOOP_CLOCKS_MAX, f"0 to {SNOOP_CLOCKS_MAX:,} clocks")
        require("steps", self.steps is None or self.steps >= 1, "at least 1")
        require("seed", 0 <= self.seed < 1 << 32, "0 to 2^32 - 1")

    @property
    def storage(self):
        """The mode of the KV cache's region."""
        return Mode[self.mode.upper()]

    @property
    def by_layer(self):
        """Streams go from head to head through the layers."""
        return self.stream_order == "layers"

    def policy(self):
        """The policy registers."""
        return Policy(
            priority=Priority[self.priority.upper()],
            score=ScoreSource[self.score.upper()],
            alpha=alpha_code(self.alpha),
            lam=lambda_of(self.alpha),
            protect=self.protect,
            bypass=self.bypass,
            **{f"prefetch_{source}": True for source in PREFETCH[self.prefetch]},
        )

    def run_steps(self, workload):
        """Steps of `workload` that the run takes."""
        if self.steps is not None and self.steps > workload.steps:
            raise SettingsError(f"--steps {self.steps}: workload {workload.name} has {workload.steps}")
        return self.steps or workload.steps

    def frames_per_head(self, workload):
        return max(2, math.floor(self.frames_share * workload.blocks))

    def frames(self, workload, config):
        """Frames of the run's pool; raises `SettingsError` where the preset cannot work with so few."""
        frames = self.frames_per_head(workload) * workload.heads
        least, why = config.pool_frames_min, ""
        if self.cacheable:
            least, why = config.pool_frames_min_cached, " where the host may cache"
        if not least <= frames <= config.pool_frames_max:
            raise SettingsError(
                f"--frames-share {self.frames_share} of {workload.heads} x {workload.blocks} blocks: {frames} frames: "
                f"preset {config.name!r} needs {least} to {config.pool_frames_max}{why}"
            )
        return frames

    def quotas(self, workload):
        """{head: (minimum, maximum)} to set: with a pool per head every head of the workload is held to its share."""
        if self.pool == "shared":
            return {}
        share = self.frames_per_head(workload)
        return dict.fromkeys(range(workload.heads), (share, share))

    def as_dict(self, steps):
        """As `results.json` records them; options that came with weights only where they are used."""
        added = {"stream_order": self.stream_order} if self.by_layer else {}
        if self.weights:
            added["weights"] = self.weights
        return {
            "priority": self.priority, "pool": self.pool, "announce": self.announce, "score": self.score,
            "alpha": self.alpha, "gain": self.gain, "coverage": self.coverage, "bypass": self.bypass,
            "protect": self.protect, "frames_share": self.frames_share, "lines_per_read": self.lines_per_read,
            "steps": steps, "mode": self.mode, "prefetch": self.prefetch, "announce_lead": self.announce_lead,
            "prefill": self.prefill, "prefill_chunk": self.prefill_chunk, "throttle": self.throttle,
            "cacheable": self.cacheable, "snoop_clocks": self.snoop_clocks, **added,
        }  # fmt: skip
