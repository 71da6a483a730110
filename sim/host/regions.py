"""The regions of a run: the KV cache in the first, weights, where there are any, in the second."""

from dataclasses import replace

from kv_endpoint.golden.common.config import LINE_BYTES
from kv_endpoint.golden.common.mode import Mode
from kv_endpoint.golden.front.address import Region, region_lines
from kv_endpoint.golden.host.regions import region_writes
from kv_endpoint.golden.registers.rules import control, reset_regions
from kv_endpoint.sim.settings import SettingsError
from kv_endpoint.sim.workload.weights import Weights

__all__ = ["check_weights", "kv_region", "placed", "weights_of"]

#: numbers of the regions
KV, WEIGHTS = 0, 1


def kv_region(config, workload, settings):
    """The region of the KV cache: every head of the endpoint, or with weights the workload's only."""
    whole = reset_regions(config)[KV]
    heads = workload.heads if settings.weights else whole.heads
    return replace(whole, heads=heads, mode=settings.storage, cached=settings.cacheable > 0)


def weights_of(config, workload, settings):
    """The run's `Weights` behind its KV cache, or None. They are stored exactly, whatever the mode of the KV cache."""
    if not settings.weights:
        return None
    kv = kv_region(config, workload, settings)
    heads = -(-workload.layers * settings.weights // config.blocks_per_head)
    region = Region(base=region_lines(config, kv) * LINE_BYTES, heads=heads, first_head=kv.heads)
    return Weights(region, workload.layers, settings.weights, config.blocks_per_head, settings.frames_share)


def check_weights(config, workload, settings):
    """Raise `SettingsError` unless the preset holds the run's weights beside its KV cache."""
    weights = weights_of(config, workload, settings)
    if weights is None:
        return
    asked, free = f"--weights {settings.weights}", config.heads - workload.heads
    if len(weights.heads) > free:
        raise SettingsError(
            f"{asked}: {weights.layers} layers x {weights.blocks} blocks: must fit the {free} heads of "
            f"{config.blocks_per_head} blocks that preset {config.name!r} has beside the {workload.heads} of workload "
            f"{workload.name}"
        )
    if settings.storage != Mode.EXACT and weights.frames < config.pool_frames_min:
        raise SettingsError(
            f"{asked}: {weights.frames} frames: with --mode {settings.mode} they are a pool of their own, which must "
            f"have at least {config.pool_frames_min} at preset {config.name!r}"
        )


def placed(config, regions):
    """[(register, value)] that bring the regions of an endpoint from reset to these; the others stay off."""
    writes = []
    for number, (before, after) in enumerate(zip(reset_regions(config), regions, strict=False)):
        if (before.base, before.heads, before.first_head) != (after.base, after.heads, after.first_head):
            writes += region_writes(number, after)
        elif before != after:
            writes.append((f"REGION[{number}].CTRL", control(after)))
    return writes
