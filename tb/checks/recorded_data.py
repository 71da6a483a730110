"""The end-to-end data check of a batch run, from its stimulus and its recorded messages."""

from kv_endpoint.golden.common.messages import DRSOpcode
from kv_endpoint.golden.front.address import Target, decode
from kv_endpoint.golden.host.regions import region_of
from kv_endpoint.tb.checks.image import DataMismatch, Image
from kv_endpoint.tb.checks.recorded import Offer

__all__ = ["check_data"]


def check_data(config, regions, operations, messages, *, poison_allowed=False):
    """Check the data of every read of a block against what memory must hold; returns the number of reads checked.

    `operations` is the stimulus, `messages` what `read_messages` gives for it, recorded with data; both are read
    once, in order. Raises `DataMismatch`.
    """
    image = Image(poison_allowed=poison_allowed)
    numbered = enumerate(operation for operation in operations if operation.channel)
    waiting, due = {}, {}

    def operation_of(number):
        while number not in waiting:
            position, operation = next(numbered)
            waiting[position] = operation
        return waiting[number]

    for message in messages:
        number = message.number
        operation = operation_of(number)
        read = operation.channel == "req"
        place = decode(config, regions, operation.address)
        block = place.target == Target.BLOCK
        mode = region_of(regions, place.head).mode if block else None
        if isinstance(message, Offer):
            due[number] = 2 if read else 1
            if block and read:
                image.read_issued(number, operation.address)
            elif block:
                image.write_issued(number, operation.address, operation.data, operation.be, operation.poison, mode)
            continue
        nxm = message.channel == "drs" and message.fields["opcode"] == DRSOpcode.MEM_DATA_NXM
        if block and nxm:
            raise DataMismatch(f"read {number} of a block was answered MemData-NXM")
        if block and message.channel == "drs":
            image.read_done(number, operation.address, message.fields["data"], bool(message.fields["poison"]), mode)
        elif block and not read:
            image.write_done(number, operation.address)
        due[number] -= 2 if nxm else 1
        if not due[number]:
            del due[number], waiting[number]
    return image.checked
