"""Bitwuzla as a program that speaks SMT-LIB on its standard streams, which yosys-smtbmc wants and PyPI does not have.

Its parser takes commands piece by piece, but loses count of levels between pieces. So what is asserted behind a
(push 1) is kept, and assumed at each (check-sat): then all values of what was found can be asked for without solving
anew.
"""

import os
import sys
import tempfile

import bitwuzla

__all__ = ["install", "main"]

#: what yosys-smtbmc looks for before it uses `--lang smt2`
_HELP = "bitwuzla: --lang smt2\n"


def install(folder):
    """Put a program `bitwuzla` into `folder`, to be used as a part of PATH."""
    program = folder / "bitwuzla"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n')
    program.chmod(0o755)


def _commands(stream):
    """The commands, S-expressions at the outermost level, of a text stream."""
    text, depth, quote = [], 0, ""
    for line in stream:
        for character in line:
            if quote:
                quote = "" if character == quote else quote
            elif character in '"|':
                quote = character
            elif character == ";":
                break
            elif character == "(":
                depth += 1
            elif character == ")":
                depth -= 1
            if depth or character == ")":
                text.append(character)
            if text and not depth:
                yield "".join(text)
                text = []
        if depth:
            text.append("\n")


class _Session:
    def __init__(self):
        options = bitwuzla.Options()
        options.set(bitwuzla.Option.PRODUCE_MODELS, True)
        self._parser = bitwuzla.Parser(bitwuzla.TermManager(), options)
        #: terms asserted behind each open push
        self._frames = []
        self._out = os.dup(1)
        self._capture = tempfile.TemporaryFile()
        os.dup2(self._capture.fileno(), 1)

    def _parse(self, text):
        """What the solver prints for commands."""
        self._capture.seek(0)
        self._capture.truncate()
        self._parser.parse(text, False, False)
        self._capture.seek(0)
        return self._capture.read().decode()

    def _answer(self, text):
        os.write(self._out, text.encode())

    def take(self, command):
        """Follow one command. Returns False at the end."""
        name = command[1:].split(None, 1)[0].rstrip(")")
        if name == "exit":
            return False
        if name == "push":
            self._frames.append([])
        elif name == "pop":
            self._frames.pop()
        elif name == "check-sat" and any(self._frames):
            terms = " ".join(term for frame in self._frames for term in frame)
            self._answer(self._parse(f"(check-sat-assuming ({terms}))"))
        elif name == "assert" and self._frames:
            self._frames[-1].append(command.removeprefix("(assert").rstrip()[:-1])
        else:
            self._answer(self._parse(command))
        return True


def main():
    if "--help" in sys.argv:
        print(_HELP)
        return
    session = _Session()
    for command in _commands(sys.stdin):
        if not session.take(command):
            return


if __name__ == "__main__":
    main()
