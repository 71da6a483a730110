"""A run of the golden model alone: every request served in zero time, so without clocks and latencies."""

import time

from kv_endpoint.golden.endpoint import Endpoint
from kv_endpoint.golden.front.address import Target, decode
from kv_endpoint.golden.front.hints import unpack_hint
from kv_endpoint.golden.host.operations import Op
from kv_endpoint.golden.registers import rules as csr
from kv_endpoint.sim.host.regions import placed
from kv_endpoint.sim.results.statistics import Statistics
from kv_endpoint.sim.run.measured import Measured

__all__ = ["run_golden"]

_NAMES = {csr.address(name): name for name in csr.NAMES}


def run_golden(operations, *, config, regions, policy, pools, quotas, first_step, progress, apart):
    """Serve the host's operations; returns `Measured`. `apart`: heads whose blocks are counted by themselves."""
    measured = Measured(Statistics(apart=apart), 0.0)
    statistics = measured.statistics
    endpoint = Endpoint(config, policy=policy, on_record=statistics.record)
    for name, word in placed(config, regions):
        endpoint.write_register(name, **csr.unpack(name, word))
    sizes = [endpoint.pool(frames, mode) for mode, frames in pools.items()]
    for refusal in (*sizes, *(endpoint.quota(head, *bounds) for head, bounds in quotas.items())):
        if refusal is not None:
            raise RuntimeError(f"the golden endpoint refuses the run's frames: {refusal.name}")
    started = time.monotonic()
    for operation in operations:
        if operation.op == Op.REGISTER:
            name = _NAMES[operation.address]
            endpoint.write_register(name, **csr.unpack(name, operation.data))
            continue
        if operation.channel is None:
            # Everything before it is answered already.
            continue
        where = decode(config, regions, operation.address)
        if where.target == Target.HINT:
            step, _, entries = unpack_hint(operation.data)
            endpoint.hint(where.head, entries, step)
            progress.show(step=statistics.step - first_step, hit_rate=statistics.hit_rate, checked=0)
        elif operation.op == Op.READ:
            measured.host_reads += 1
            endpoint.read(where.head, where.block, where.line)
        else:
            measured.host_writes += 1
            endpoint.write(where.head, where.block, where.line)
    measured.exact_victims = endpoint.follower.victims
    measured.wall_seconds = time.monotonic() - started
    return measured
