"""Regions: which of them a head belongs to, and with it how its data is kept; and what a host writes to set them."""

from kv_endpoint.golden.registers.rules import control

__all__ = ["region_of", "region_writes", "regions_writes"]


def region_of(regions, head):
    """The enabled region that holds `head`, an endpoint-wide number; regions share no head."""
    return next(region for region in regions if region.enabled and 0 <= head - region.first_head < region.heads)


def region_writes(number, region):
    """((register, value), ...) that make region `number` a golden `Region`: off, moved, on again if enabled."""
    prefix = f"REGION[{number}]"
    return (
        (f"{prefix}.CTRL", control(region, enabled=False)),
        (f"{prefix}.BASE_LO", region.base & 0xFFFFFFFF),
        (f"{prefix}.BASE_HI", region.base >> 32),
        (f"{prefix}.FIRST_HEAD", region.first_head),
        (f"{prefix}.HEADS", region.heads),
        (f"{prefix}.CTRL", control(region)),
    )


def regions_writes(regions):
    """[(register, value), ...] that make the endpoint's regions these; those that are to be off go first."""
    writes = [
        (f"REGION[{number}].CTRL", control(region)) for number, region in enumerate(regions) if not region.enabled
    ]
    for number, region in enumerate(regions):
        writes += region_writes(number, region)
    return writes
