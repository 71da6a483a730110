"""After a batch run: the data of every read against what memory must hold, and how long every message took."""

from kv_endpoint.golden.front.address import Target, decode
from kv_endpoint.golden.front.hints import unpack_hint
from kv_endpoint.golden.host.operations import Op
from kv_endpoint.tb.checks.image import DataMismatch
from kv_endpoint.tb.checks.recorded import Answer, read_messages
from kv_endpoint.tb.checks.recorded_data import check_data

__all__ = ["check_messages"]


def _place(number, operations, config, regions):
    """Step, head, block and line of message `number` of the stimulus."""
    step, messages = 0, (operation for operation in operations if operation.channel)
    for position, operation in enumerate(messages):
        where = decode(config, regions, operation.address)
        if where.target == Target.HINT and operation.op == Op.WRITE:
            step = unpack_hint(operation.data)[0]
        if position == number:
            return f"step {step}, head {where.head}, block {where.block}, line {where.line}"
    raise ValueError(f"the stimulus has no message {number}")


def check_messages(path, operations, config, regions):
    """(reads compared, latency of each message in clocks, the first difference in words or None).

    `operations()` gives the stimulus anew.
    """
    latencies, latest = {}, 0

    def messages():
        nonlocal latest
        for message in read_messages(path):
            latest = message.number
            if isinstance(message, Answer):
                latencies[latest] = max(message.latency, latencies.get(latest, 0))
            yield message

    compared, difference = 0, None
    try:
        compared = check_data(config, regions, operations(), messages())
    except DataMismatch as mismatch:
        difference = f"{_place(latest, operations(), config, regions)}: data: {mismatch}"
    return compared, list(latencies.values()), difference
