"""Stimuli: the operations of a host as the text that the batch form's player reads, and the limits of a player.

A message's tag is its running number modulo 2^16, reads and writes counted together.
"""

from kv_endpoint.golden.host.operations import Op

__all__ = ["FIRST_TAG", "LOOKAHEAD", "TAGS", "WRITES_MAX", "line", "write_stimulus"]

TAGS = 1 << 16
#: tags of caching hosts that share the ports with a stimulus begin here
FIRST_TAG = TAGS // 2
#: reads (and writes) taken from the stimulus before they can be issued
LOOKAHEAD = 16
#: writes to one line in flight at once; more would make the possible orders too many (and no host does it)
WRITES_MAX = 4


def line(operation):
    """The line of text of an operation: hexadecimal numbers, `op [address [byte enables] [data]]` or `op clocks`."""
    text = f"{operation.op:x}"
    if operation.op == Op.WAIT:
        text += f" {operation.clocks:x}"
    if operation.channel or operation.op == Op.REGISTER:
        text += f" {operation.address:x}"
    if operation.op == Op.WRITE_PARTIAL:
        text += f" {operation.be:x}"
    if operation.channel == "rwd" or operation.op == Op.REGISTER:
        text += f" {operation.data:x}"
    return text


def write_stimulus(path, operations):
    """Write the text of `operations`, an END after them, and return the number of messages in it."""
    messages = 0
    with open(path, "w") as file:
        for operation in operations:
            messages += operation.channel is not None
            file.write(line(operation) + "\n")
        file.write(f"{Op.END:x}\n")
    return messages
