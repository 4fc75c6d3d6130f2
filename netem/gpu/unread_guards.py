#!/usr/bin/env python3
"""Checks what `rrto kernels` says that kernels do not read of their parameters if one of them has a certain value, by
following what NVIDIA's disassembler prints, with that one value known. Needs no GPU.

    unread_guards.py --rrto BIN --nvdisasm BIN [--architecture SM ...] [--sample N] [--kernels N] LIBRARY ...

Another program in another language on another form of the code: it knows instructions by their names and operands, and
one value at a time (the ends of each case). Prints a table in Markdown, and what is wrong; fails if anything is."""

import argparse
import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from unread import ANY_CONSTANT, CONSTANT, PARAMETERS, SECTION, TEXTURE, width

LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+\{?\s*(?:@(!?)(U?P\w+)\s+)?([A-Z][A-Z0-9_.a-z]*)\s*([^;]*);")
LABEL = re.compile(r"^(\.L_x_\d+):")
TARGET = re.compile(r"`\((\.L_x_\d+)\)")

# Words of the driver's that are no address of the parameters.
HARMLESS = {
    **dict.fromkeys((80, 86, 87, 89), [(0, 0x30), (0x118, 0x120)]),
    90: [(0, 0x30), (0x140, 0x168), (0x188, 0x18C), (0x208, 0x210)],
}
NOT_FOLLOWED = {"BRX", "BRXU", "JMP", "JMX", "JMXU", "RET", "RPCMOV", "CALL.REL"}
STORES = {"ST", "STG", "STL", "STS", "STSM", "RED", "REDG", "BAR", "NOP", "MEMBAR", "DEPBAR", "LDGSTS", "LDGDEPBAR",
          "ERRBAR", "CCTL", "YIELD", "WARPSYNC", "EXIT", "BRA", "BREAK", "BSYNC", "NANOSLEEP", "PREEXIT", "ACQBULK"}
COMPARE = {"LT": lambda a, b: a < b, "EQ": lambda a, b: a == b, "LE": lambda a, b: a <= b, "GT": lambda a, b: a > b,
           "NE": lambda a, b: a != b, "GE": lambda a, b: a >= b, "F": lambda a, b: False, "T": lambda a, b: True}
UNKNOWN = None


class Lost(Exception):
    """The code does what is not followed here."""


class Kernel:
    """The instructions of one: guard, mnemonic and operands, by number; and labels."""

    def __init__(self):
        self.code, self.labels = [], {}


def disassemble(nvdisasm, cubin):
    kernels = collections.defaultdict(Kernel)
    kernel = Kernel()
    command = [nvdisasm, "-c", "-ndf", cubin]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace") as run:
        for line in run.stdout:
            if match := LABEL.match(line):
                kernel.labels[match[1]] = len(kernel.code)
            elif match := LINE.search(line):
                address, negated, predicate, mnemonic, operands = match.groups()
                assert int(address, 16) == 16 * len(kernel.code), line
                operands = [part.strip().replace(".reuse", "") for part in operands.split(",")]
                kernel.code.append(((predicate, bool(negated)), mnemonic.split("."), [part for part in operands if part]))
            elif match := SECTION.match(line):
                kernel = kernels[match[1]]
    return kernels


class Walk:
    """Follows a kernel with one word of its block known."""

    def __init__(self, kernel, architecture, at, length, value):
        self.kernel, self.architecture = kernel, architecture
        self.known = {PARAMETERS[architecture][0] + at: (length, value)}
        self.read = set()
        self.states, waiting = {}, [(0, {})]
        while waiting:
            number, state = waiting.pop()
            if number >= len(kernel.code):
                raise Lost("the code ends")
            old = self.states.get(number)
            # What all ways to here agree on.
            new = state if old is None else {key: value for key, value in old.items() if state.get(key) == value}
            if old is None or new != old:
                self.states[number] = new
                waiting += self.step(number, dict(new))

    def step(self, number, state):
        (predicate, negated), mnemonic, operands = self.kernel.code[number]
        when = self.truth(("!" if negated else "") + (predicate or "PT"), state)
        skipped = dict(state)
        if when is False:
            return [(number + 1, skipped)]
        self.reads(mnemonic, operands)
        ways = [(target, dict(state)) for target in self.jumps(mnemonic, operands, state)]
        if self.falls_through(mnemonic, operands, state):
            self.execute(number, mnemonic, operands, state)
            ways.append((number + 1, state))
        if when is not True:
            ways.append((number + 1, skipped))
        return ways

    def reads(self, mnemonic, operands):
        text = ", ".join(operands)
        if TEXTURE.search(mnemonic[0]):
            raise Lost(mnemonic[0])
        found = list(CONSTANT.finditer(text))
        if len(found) != len(ANY_CONSTANT.findall(text)):
            raise Lost(text)
        for match in found:
            kind, bank, offset = match.groups()
            if kind == "cx" or not bank.startswith("0x"):
                raise Lost(text)
            if int(bank, 16) == 0:
                offset = re.sub(r"^RZ(\+|$)", "", offset) or "0x0"
                if not re.fullmatch("0x[0-9a-f]+", offset):
                    raise Lost(text)
                at, length = int(offset, 16), width(".".join(mnemonic), text, match[0])
                for byte in range(at, at + length):
                    if byte < PARAMETERS[self.architecture][0]:
                        if not any(start <= byte < end for start, end in HARMLESS[self.architecture]):
                            raise Lost(text)
                    self.read.add(byte)

    def jumps(self, mnemonic, operands, state):
        name = mnemonic[0]
        if name in NOT_FOLLOWED or ".".join(mnemonic[:2]) in NOT_FOLLOWED:
            raise Lost(name)
        target = TARGET.search(", ".join(operands))
        if name == "BRA":
            conditions = [self.truth(operand, state) for operand in operands[:-1] if re.fullmatch(r"!?U?P\w+", operand)]
            return [] if False in conditions and len(mnemonic) == 1 else [self.kernel.labels[target[1]]]
        if name == "BSYNC":
            if state.get(operands[0]) is None:
                raise Lost("BSYNC")
            return [state[operands[0]]]
        if name == "WARPSYNC" and "COLLECTIVE" in mnemonic:
            raise Lost(name)
        return []

    def falls_through(self, mnemonic, operands, state):
        conditions = [self.truth(operand, state) for operand in operands if re.fullmatch(r"!?U?P\w+", operand)]
        if mnemonic[0] == "EXIT":
            return not all(condition is True for condition in conditions)
        if mnemonic[0] == "BRA":
            return len(operands) > 1 and not (len(mnemonic) == 1 and all(c is True for c in conditions) and len(conditions) == len(operands) - 1)
        return True

    def execute(self, number, mnemonic, operands, state):
        name, modifiers = mnemonic[0], mnemonic[1:]
        if name == "BSSY":
            state[operands[0]] = self.kernel.labels[TARGET.search(operands[1])[1]]
        elif name in ("ISETP", "UISETP") and "EX" not in modifiers:
            self.compare(modifiers, operands, state)
        elif name in ("PLOP3", "UPLOP3") and operands[0] not in ("PT", "UPT"):
            value = self.table(operands, state)
            state.pop(operands[1], None)
            state[operands[0]] = value
        elif name in STORES:
            pass
        elif name in ("BMOV", "CALL", "LEPC"):
            state.clear()
        elif name in ("R2P", "HGMMA", "IGMMA", "QGMMA", "UTMALDG", "SYNCS", "VOTEU", "ELECT", "B2R"):
            for key in [key for key in state if not key.startswith("B")]:
                del state[key]
        else:
            self.assign(name, modifiers, operands, state)

    def assign(self, name, modifiers, operands, state):
        value = UNKNOWN
        if name in ("LDC", "ULDC") and not set(modifiers) & {"64", "128", "S8", "S16"}:
            value = self.constant(operands[1], {"U8": 1, "U16": 2}.get((modifiers or [""])[0], 4))
        elif name in ("MOV", "UMOV"):
            value = self.value(operands[1], state)
        elif name == "IMAD" and modifiers in (["MOV", "U32"], ["U32"], ["MOV"]) and operands[1:3] == ["RZ", "RZ"]:
            value = self.value(operands[3], state)
        pair = None
        if name in ("LDC", "ULDC") and "64" in modifiers:
            match = re.search(r"\]\s*\[(0x[0-9a-f]+)\]", operands[1])
            if match:
                pair = [self.constant(f"c[0x0][{int(match[1], 16) + step:#x}]", 4) for step in (0, 4)]
        # Predicates stand before or right after the register that is written.
        destination = None
        for operand in operands:
            if re.fullmatch(r"U?P(\d|T)", operand):
                state.pop(operand, None)
            elif destination is None and re.fullmatch(r"U?R(\d+|Z)(\.64)?", operand):
                destination = operand.removesuffix(".64")
            else:
                break
        if destination is None or destination in ("RZ", "URZ"):
            return
        prefix, first = re.fullmatch(r"(U?R)(\d+)", destination).groups()
        double = set(modifiers) & {"64", "WIDE", "F64", "S64", "U64"} or name[0] == "D" or name == "CS2R"
        many = "128" in modifiers or name in ("LDSM", "HMMA", "IMMA")
        for step in range(4 if many else 2 if double else 1):
            state.pop(f"{prefix}{int(first) + step}", None)
        for step, part in enumerate(pair or [value]):
            if part is not UNKNOWN:
                state[f"{prefix}{int(first) + step}"] = part

    def compare(self, modifiers, operands, state):
        relation, logic = modifiers[0], next(part for part in modifiers if part in ("AND", "OR", "XOR"))
        left, right = (self.value(operand, state) for operand in operands[2:4])
        other = self.truth(operands[4], state)
        result = UNKNOWN
        if left is not UNKNOWN and right is not UNKNOWN:
            if "U32" not in modifiers:
                left, right = (number - (1 << 32) if number >> 31 else number for number in (left, right))
            result = COMPARE[relation](left, right)
        elif relation in "FT":
            result = relation == "T"
        for operand, part in zip(operands, (result, None if result is None else not result)):
            if logic == "AND":
                value = False if part is False or other is False else None if None in (part, other) else True
            elif logic == "OR":
                value = True if part is True or other is True else None if None in (part, other) else False
            else:
                value = None if None in (part, other) else part != other
            state.pop(operand, None)
            if operand not in ("PT", "UPT") and value is not None:
                state[operand] = value

    def table(self, operands, state):
        table = int(operands[5], 16)
        of = [[self.truth(operand, state)] if self.truth(operand, state) is not None else [False, True] for operand in operands[2:5]]
        results = {table >> (4 * a + 2 * b + c) & 1 for a in of[0] for b in of[1] for c in of[2]}
        return bool(results.pop()) if len(results) == 1 else None

    def truth(self, operand, state):
        negated, name = operand.startswith("!"), operand.lstrip("!")
        value = True if name in ("PT", "UPT") else state.get(name)
        return value if value is None else value != negated

    def value(self, operand, state):
        if operand in ("RZ", "URZ"):
            return 0
        if re.fullmatch(r"-?0x[0-9a-f]+", operand):
            return int(operand, 16) & 0xFFFFFFFF
        return self.constant(operand, 4) if operand.startswith("c[") else state.get(operand)

    def constant(self, operand, length):
        match = re.fullmatch(r"c\[0x0\]\s*\[(0x[0-9a-f]+)\]", operand)
        known = self.known.get(int(match[1], 16)) if match else None
        return known[1] if known and known[0] == length else UNKNOWN


def check(kernel, architecture, said):
    """Counts, and what is wrong: bytes that are called unread and are read."""
    counts, wrong = collections.Counter(kernels=1), []
    base = PARAMETERS[architecture][0]
    for guard in said["guards"]:
        counts["guards"] += 1
        for case in guard["cases"]:
            unread = {base + byte for at, length in case["unread"] for byte in range(at, at + length)}
            for value in {case["from"], case["to"]}:
                counts["values"] += 1
                counts["bytes"] += len(unread)
                try:
                    read = Walk(kernel, architecture, guard["at"], guard["bytes"], value).read
                except Lost as reason:
                    wrong.append(f"{said['name']}: {guard['at']} is {value}: not followed because of {reason}")
                    continue
                if read & unread:
                    wrong.append(f"{said['name']}: {guard['at']} is {value}: {sorted(byte - base for byte in read & unread)[:8]} read")
    return counts, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rrto", required=True, help="the rrto command, or another that prints the same")
    parser.add_argument("--nvdisasm", required=True, help="of the CUDA toolkit, or of a wheel nvidia-cuda-nvdisasm")
    parser.add_argument("--architecture", type=int, nargs="+", choices=PARAMETERS, default=[90], metavar="SM")
    parser.add_argument("--sample", type=int, help="about so many cubins of each library and architecture")
    parser.add_argument("--kernels", type=int, help="about so many kernels of each cubin")
    parser.add_argument("libraries", type=pathlib.Path, nargs="+", metavar="LIBRARY")
    arguments = parser.parse_args()
    failures = []
    print("| library | sm | cubins | kernels with guards | guards | values followed | wrong |\n|---|---|---|---|---|---|---|", flush=True)
    for path in arguments.libraries:
        for architecture in arguments.architecture:
            counts, wrong = collections.Counter(), []
            with tempfile.TemporaryDirectory() as folder:
                command = [arguments.rrto, "kernels", path, "--architecture", str(architecture), "--json", "--cubins", folder]
                cubins = map(json.loads, subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())
                cubins = [cubin for cubin in cubins if any(kernel["guards"] for kernel in cubin["kernels"])]
                for cubin in cubins[:: max(1, len(cubins) // arguments.sample)] if arguments.sample else cubins:
                    counts["cubins"] += 1
                    code = disassemble(arguments.nvdisasm, f"{folder}/{cubin['cubin']}.cubin")
                    kernels = [kernel for kernel in cubin["kernels"] if kernel["guards"]]
                    for kernel in kernels[:: max(1, len(kernels) // arguments.kernels)] if arguments.kernels else kernels:
                        more, mistakes = check(code[kernel["name"]], architecture, kernel)
                        counts.update(more)
                        wrong += mistakes
            failures += wrong
            numbers = " | ".join(str(counts[column]) for column in ("cubins", "kernels", "guards", "values"))
            print(f"| {path.name} | {architecture} | {numbers} | {len(wrong)} |", flush=True)
    print("\n".join(failures[:20]))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
