#!/usr/bin/env python3
"""Checks what `rrto kernels` says that kernels do not read of their parameters if one of them has a certain value, by
following what NVIDIA's disassembler prints, with that one value known. Needs no GPU.

    unread_guards.py --rrto BIN --nvdisasm BIN [--architecture SM ...] [--every N] LIBRARY ...

Another program in another language on another form of the code: it knows instructions by their names and operands, and
one value at a time (the ends of each case). Every distinct instruction is disassembled once. Prints a table in
Markdown, and what is wrong; fails if anything is."""

import argparse
import collections
import functools
import heapq
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

from unread import ANY_CONSTANT, CONSTANT, PARAMETERS, TEXTURE, width
from unread_effects import NOTHING_WRITTEN, printed, written

# Words of the driver's that are no address of the parameters.
HARMLESS = {
    **dict.fromkeys((80, 86, 87, 89), [(0, 0x30), (0x118, 0x120)]),
    90: [(0, 0x30), (0x140, 0x168), (0x188, 0x18C), (0x208, 0x210)],
}
NOT_FOLLOWED = {"BRX", "BRXU", "JMP", "JMX", "JMXU", "RET", "RPCMOV", "ENDCOLLECTIVE"}
# What writes anything, or more than is printed.
ANYTHING = {"R2P", "HGMMA", "IGMMA", "QGMMA", "UTMALDG", "SYNCS", "VOTEU", "ELECT", "B2R", "USETMAXREG"}
COMPARE = {"LT": lambda a, b: a < b, "EQ": lambda a, b: a == b, "LE": lambda a, b: a <= b, "GT": lambda a, b: a > b,
           "NE": lambda a, b: a != b, "GE": lambda a, b: a >= b, "F": lambda a, b: False, "T": lambda a, b: True}
CONDITION = re.compile(r"!?U?P(\d|T)")
# Scheduling: nothing in it matters here, but the disassembler wants it to make sense.
SCHEDULING_AT = 105


class Lost(Exception):
    """The code does what is not followed here."""


def name_of(place, kinds):
    """A place as operands name it, by its number in `unread_effects`."""
    return f"{kinds[0]}{place}" if place < (256 if kinds[0] == "R" else 8) else f"{kinds[1]}{place - (256 if kinds[0] == 'R' else 8)}"


class Instruction:
    """One that is printed. A target is by how many instructions it is away."""

    def __init__(self, address, guard, name, modifiers, operands, architecture):
        self.guard, self.name, self.modifiers, self.operands = guard, name, modifiers, operands
        self.conditions = [operand for operand in operands if CONDITION.fullmatch(operand)]
        self.away = None
        if name in ("BRA", "BSSY", "LEPC", "CALL", "WARPSYNC") and operands and re.fullmatch(r"-?0x[0-9a-f]+", operands[-1]):
            self.away = (int(operands[-1], 16) - address) // 16
        try:
            self.reads, self.lost = read(name, modifiers, operands, architecture), None
        except Lost as reason:
            self.reads, self.lost = [], reason
        registers, predicates = written(name, modifiers, operands)
        self.written = [name_of(place, ("R", "UR")) for place in registers] + [name_of(place, ("P", "UP")) for place in predicates]


def read(name, modifiers, operands, architecture):
    """The bytes of bank 0 that an instruction reads."""
    text = ", ".join(operands)
    if TEXTURE.search(name):
        raise Lost(name)
    matches = list(CONSTANT.finditer(text))
    if len(matches) != len(ANY_CONSTANT.findall(text)):
        raise Lost(text)
    found = []
    for match in matches:
        kind, bank, offset = match.groups()
        if kind == "cx" or not bank.startswith("0x"):
            raise Lost(text)
        if int(bank, 16) == 0:
            offset = re.sub(r"^RZ(\+|$)", "", offset) or "0x0"
            if not re.fullmatch("0x[0-9a-f]+", offset):
                raise Lost(text)
            at, length = int(offset, 16), width(".".join([name, *modifiers]), text, match[0])
            for byte in range(at, at + length):
                if byte < PARAMETERS[architecture][0]:
                    if not any(start <= byte < end for start, end in HARMLESS[architecture]):
                        raise Lost(text)
            found += range(at, at + length)
    return found


class Walk:
    """Follows a kernel with one word of its block known."""

    def __init__(self, code, architecture, at, length, value):
        self.code = code
        self.known = (PARAMETERS[architecture][0] + at, length, value)
        self.read = set()
        self.meeting = {at + instruction.away for at, instruction in enumerate(code) if instruction.away is not None}
        # What is known where ways meet, and which of these to go on from, the first ones first.
        self.states, self.waiting = {}, []
        self.visits = 0
        self.arrive(0, {})
        while self.waiting:
            number = heapq.heappop(self.waiting)
            self.run(number, dict(self.states[number]))

    def arrive(self, number, state):
        """Here, no more is known than on all ways to here."""
        if not 0 <= number < len(self.code):
            raise Lost("the code ends")
        old = self.states.get(number)
        new = dict(state) if old is None else {key: value for key, value in old.items() if state.get(key) == value}
        if old is None or len(new) != len(old):
            self.states[number] = new
            if number not in self.waiting:
                heapq.heappush(self.waiting, number)

    def run(self, number, state):
        while True:
            self.visits += 1
            instruction = self.code[number]
            when = self.truth(instruction.guard, state)
            goes_on = True
            if when is not False:
                if instruction.lost:
                    raise instruction.lost
                self.read.update(instruction.reads)
                goes_on = self.jump(number, instruction, state) or when is not True
                before = dict(state) if when is not True else None
                self.execute(number, instruction, state)
                if before is not None:
                    state = {key: value for key, value in before.items() if state.get(key) == value}
            if not goes_on:
                return
            number += 1
            if number in self.meeting or number >= len(self.code):
                return self.arrive(number, state)

    def jump(self, number, instruction, state):
        """Follows where it leads; whether it may lead on with the next."""
        name, modifiers = instruction.name, instruction.modifiers
        if name in NOT_FOLLOWED or name == "CALL" and modifiers[0] != "ABS" or name == "WARPSYNC" and "COLLECTIVE" in modifiers:
            raise Lost(name)
        if name == "EXIT":
            return not all(self.truth(condition, state) for condition in instruction.conditions)
        if name == "BRA":
            truths = [self.truth(condition, state) for condition in instruction.conditions]
            is_plain = not modifiers and len(truths) == len(instruction.operands) - 1
            if not (is_plain and False in truths):
                self.arrive(number + instruction.away, state)
            return not (is_plain and all(truths))
        if name == "BSYNC":
            if state.get(instruction.operands[0]) is None:
                raise Lost("BSYNC")
            # A thread that is not the last waits; all go on there.
            self.arrive(state[instruction.operands[0]], state)
            return False
        if name == "LEPC":
            if instruction.away is None:
                raise Lost(name)
            self.arrive(number + instruction.away, {})
        return True

    def execute(self, number, instruction, state):
        name, modifiers, operands = instruction.name, instruction.modifiers, instruction.operands
        if name == "BSSY":
            state[operands[0]] = number + instruction.away
        elif name in ("ISETP", "UISETP") and "EX" not in modifiers:
            self.compare(modifiers, operands, state)
        elif name in ("PLOP3", "UPLOP3") and operands[0] not in ("PT", "UPT"):
            value = self.table(operands, state)
            state.pop(operands[1], None)
            state[operands[0]] = value
        elif name in ("BMOV", "CALL", "LEPC"):
            state.clear()
        elif name in ANYTHING:
            for key in [key for key in state if not key.startswith("B")]:
                del state[key]
        elif instruction.written:
            values = self.values(name, modifiers, operands, state)
            for place in instruction.written:
                state.pop(place, None)
            state.update(values)

    def values(self, name, modifiers, operands, state):
        """What is known of what is written."""
        value, to = None, operands[0]
        if name in ("LDC", "ULDC") and not set(modifiers) & {"128", "S8", "S16"}:
            if "64" in modifiers:
                match = re.fullmatch(r"c\[0x0\]\s*\[(0x[0-9a-f]+)\]", operands[1])
                kind, first = re.fullmatch(r"(U?R)(\d+|Z)", to).groups()
                if not match or first == "Z":
                    return {}
                parts = {step: self.constant(int(match[1], 16) + step, 4) for step in (0, 4)}
                return {f"{kind}{int(first) + step // 4}": part for step, part in parts.items() if part is not None}
            value = self.value(operands[1], state, {"U8": 1, "U16": 2}.get((modifiers or [""])[0], 4))
        elif name in ("MOV", "UMOV") and len(operands) == 2:
            value = self.value(operands[1], state)
        elif name == "IMAD" and modifiers in (["MOV", "U32"], ["U32"], ["MOV"]) and operands[1:3] == ["RZ", "RZ"]:
            value = self.value(operands[3], state)
        return {} if value is None or to in ("RZ", "URZ") else {to: value}

    def compare(self, modifiers, operands, state):
        relation, logic = modifiers[0], next(part for part in modifiers if part in ("AND", "OR", "XOR"))
        left, right = (self.value(operand, state) for operand in operands[2:4])
        other = self.truth(operands[4], state)
        result = None
        if left is not None and right is not None:
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
        truths = [self.truth(operand, state) for operand in operands[2:5]]
        of = [[False, True] if truth is None else [truth] for truth in truths]
        results = {table >> (4 * a + 2 * b + c) & 1 for a in of[0] for b in of[1] for c in of[2]}
        return bool(results.pop()) if len(results) == 1 else None

    def truth(self, operand, state):
        negated, name = operand.startswith("!"), operand.lstrip("!")
        value = True if name in ("PT", "UPT") else state.get(name)
        return value if value is None else value != negated

    def value(self, operand, state, length=4):
        if operand in ("RZ", "URZ"):
            return 0
        if match := re.fullmatch(r"c\[0x0\]\s*\[(0x[0-9a-f]+)\]", operand):
            return self.constant(int(match[1], 16), length)
        if re.fullmatch(r"-?0x[0-9a-f]+", operand):
            return int(operand, 16) & 0xFFFFFFFF
        return state.get(operand)

    def constant(self, at, length):
        return self.known[2] if self.known[:2] == (at, length) else None


def functions(cubin):
    """The machine code of a cubin's functions."""
    sections_at, = struct.unpack_from("<Q", cubin, 40)
    size, count, names = struct.unpack_from("<HHH", cubin, 58)
    if count == 0:
        count, = struct.unpack_from("<Q", cubin, sections_at + 32)
    if names == 0xFFFF:
        names, = struct.unpack_from("<I", cubin, sections_at + 40)
    names_at, = struct.unpack_from("<Q", cubin, sections_at + names * size + 24)
    found = {}
    for section in range(sections_at, sections_at + count * size, size):
        at = names_at + struct.unpack_from("<I", cubin, section)[0]
        name = cubin[at : cubin.index(0, at)].decode()
        if name.startswith(".text."):
            start, length = struct.unpack_from("<QQ", cubin, section + 24)
            found[name.removeprefix(".text.")] = cubin[start : start + length]
    return found


def key(instruction):
    """An instruction without its scheduling."""
    return int.from_bytes(instruction, "little") & (1 << SCHEDULING_AT) - 1


def disassemble(nvdisasm, kernels, architecture):
    """The instructions of kernels, which are given as their code."""
    distinct = {}
    for code in kernels:
        for at in range(0, len(code), 16):
            distinct.setdefault(key(code[at : at + 16]), code[at : at + 16])
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(b"".join(distinct.values()))
        file.flush()
        found = printed(nvdisasm, file.name, architecture)
        by_key = {
            instruction & (1 << SCHEDULING_AT) - 1: Instruction(address, *parts, architecture)
            for address, instruction, *parts in found
        }
    if missing := distinct.keys() - by_key.keys():
        sys.exit(f"not printed: {len(missing)} such as {next(iter(missing)):032x}")
    return by_key


def check(code, architecture, said):
    """Counts, and what is wrong: bytes that are called unread and are read."""
    counts, wrong = collections.Counter(kernels=1, instructions=len(code)), []
    base = PARAMETERS[architecture][0]
    for guard in said["guards"]:
        counts["guards"] += 1
        for case in guard["cases"]:
            unread = {base + byte for at, length in case["unread"] for byte in range(at, at + length)}
            for value in sorted({case["from"], case["to"]}):
                counts["values"] += 1
                counts["bytes"] += len(unread)
                try:
                    walk = Walk(code, architecture, guard["at"], guard["bytes"], value)
                except Lost as reason:
                    wrong.append(f"{said['name']}: {guard['at']} is {value}: not followed because of {reason}")
                    continue
                counts["steps"] += walk.visits
                if walk.read & unread:
                    wrong.append(f"{said['name']}: {guard['at']} is {value}: {sorted(byte - base for byte in walk.read & unread)[:8]} read")
    return counts, wrong


def library(arguments, path, architecture, folder):
    """Counts for a library, and what is wrong."""
    counts, wrong, seen = collections.Counter(), [], set()
    if path.suffix == ".json":
        lines = path.read_text()
    else:
        command = [arguments.rrto, "kernels", path, "--architecture", str(architecture), "--json", "--cubins", folder]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    kernels = []
    for line in lines.splitlines():
        cubin = json.loads(line)
        with_guards = [kernel for kernel in cubin["kernels"] if kernel["guards"]]
        if with_guards:
            codes = functions(pathlib.Path(cubin.get("path") or f"{folder}/{cubin['cubin']}.cubin").read_bytes())
            for kernel in with_guards:
                code = codes[kernel["name"]]
                counts["with_guards"] += 1
                same = hash((code, json.dumps(kernel["guards"])))
                if same not in seen:
                    seen.add(same)
                    kernels.append((kernel, code))
    kernels = kernels[arguments.start :: arguments.every]
    by_key = disassemble(arguments.nvdisasm, (code for _, code in kernels), architecture)
    counts["distinct"] = len(by_key)
    for kernel, code in kernels:
        instructions = [by_key[key(code[at : at + 16])] for at in range(0, len(code), 16)]
        if sum(len(guard["cases"]) for guard in kernel["guards"]) * len(instructions) > arguments.most:
            counts["left_out"] += 1
            continue
        more, mistakes = check(instructions, architecture, kernel)
        counts.update(more)
        wrong += mistakes
    return counts, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rrto", help="the rrto command")
    parser.add_argument("--nvdisasm", required=True, help="of the CUDA toolkit, or of a wheel nvidia-cuda-nvdisasm")
    parser.add_argument("--architecture", type=int, nargs="+", choices=PARAMETERS, default=[90], metavar="SM")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="one kernel of so many")
    parser.add_argument("--start", type=int, default=0, metavar="N", help="leave so many out first")
    parser.add_argument("--most", type=int, default=1 << 20, metavar="N", help="cases times instructions of a kernel")
    parser.add_argument("libraries", type=pathlib.Path, nargs="+", metavar="LIBRARY")
    arguments = parser.parse_args()
    failures = []
    columns = ("with_guards", "kernels", "instructions", "guards", "values", "steps", "left_out")
    print(f"| library | sm | {' | '.join(columns)} | wrong |\n|{'---|' * (len(columns) + 3)}", flush=True)
    for path in arguments.libraries:
        for architecture in arguments.architecture:
            with tempfile.TemporaryDirectory() as folder:
                counts, wrong = library(arguments, path, architecture, folder)
            numbers = " | ".join(str(counts[column]) for column in columns)
            print(f"| {path.name} | {architecture} | {numbers} | {len(wrong)} |", flush=True)
            failures += wrong
    for failure in failures[:60]:
        print(failure)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
