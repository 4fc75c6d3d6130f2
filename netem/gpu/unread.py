#!/usr/bin/env python3
"""Compares what `rrto kernels` says that kernels never read of their parameters with NVIDIA's disassembler, for every
kernel of the libraries given: no constant that nvdisasm prints may be called unread. Needs no GPU.

    unread.py --rrto BIN --nvdisasm BIN [--architecture SM ...] [--sample N] [--jobs N] [--out FILE.json] LIBRARY ...

Both programs look at the same machine code in different ways, so this finds mistakes in how instructions are read, not
in what NVIDIA says that they mean. Prints a table in Markdown, and what is wrong; fails if anything is."""

import argparse
import collections
import concurrent.futures
import json
import pathlib
import re
import subprocess
import sys
import tempfile

SECTION = re.compile(r'^\s*\.section\s+\.text\.([^,]+),')
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+\{?\s*(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.a-z]*)\s*([^;]*);")
# Not the end of `desc[`.
CONSTANT = re.compile(r"(?<![a-z])(cx?)\[([^\]]*)\]\s*\[([^\]]*)\]")
ANY_CONSTANT = re.compile(r"(?<![a-z])cx?\[")

# Instructions whose operand may be a word of the parameters without looking like it.
TEXTURE = re.compile(r"\b(TEX|TLD|TXQ|TXD|TMML|SULD|SUST|SUATOM|SURED|SUQ)")

# Where parameters start in constant bank 0, and the word there that is the bank's own address.
PARAMETERS = {80: (0x160, 0x40), 86: (0x160, 0x40), 87: (0x160, 0x40), 89: (0x160, 0x40), 90: (0x210, 0x198)}

# Wrong things that are printed.
SHOWN = 20


def width(mnemonic, operands, constant):
    """The most bytes that an instruction may read of a constant."""
    name, *modifiers = mnemonic.split(".")
    if name in ("LDC", "ULDC"):
        widths = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}
        return next((widths[modifier] for modifier in modifiers if modifier in widths), 4)
    if name == "IMAD" and "WIDE" in modifiers:
        # The addend is wide; the factors are words.
        return 8 if is_addend(operands, constant) else 4
    if name in ("DADD", "DMUL", "DFMA", "DSETP", "DMNMX") or any("64" in modifier for modifier in modifiers):
        # A shift of a pair of registers by a constant number is the exception.
        return 4 if name in ("SHF", "USHF") else 8
    return 4


def is_addend(operands, constant):
    """Whether nothing follows a constant but predicates."""
    after = operands[operands.index(constant) + len(constant) :].split(",")[1:]
    return all(re.fullmatch(r"\s*!?U?P(T|\d+)\s*", operand) for operand in after)


class Function:
    """What is printed of a function: constants of bank 0 as offset and bytes, and why it may read everything."""

    def __init__(self):
        self.constants = set()
        self.anything = None


def disassemble(nvdisasm, cubin, architecture):
    """The functions of a cubin by name."""
    functions = collections.defaultdict(Function)
    function = Function()
    command = [nvdisasm, "-c", "-ndf", cubin]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace") as run:
        for line in run.stdout:
            # Most lines are of no interest, and there are millions.
            if line.startswith("\t.section"):
                if match := SECTION.match(line):
                    function = functions[match[1]]
            elif "c[" in line or "cx[" in line or TEXTURE.search(line):
                if match := INSTRUCTION.search(line):
                    look(function, architecture, match[1], match[2])
    if run.returncode:
        raise RuntimeError(f"nvdisasm ended with {run.returncode}")
    return functions


def look(function, architecture, mnemonic, operands):
    """Adds what an instruction reads to what its function does."""
    if TEXTURE.search(mnemonic):
        function.anything = mnemonic
    found = 0
    for match in CONSTANT.finditer(operands):
        found += 1
        kind, bank, offset = match.groups()
        if kind == "cx" or not bank.startswith("0x"):
            function.anything = f"{mnemonic} {match[0]}"
        elif int(bank, 16) == 0:
            # RZ is the register that is zero.
            offset = re.sub(r"^RZ(\+|$)", "", offset) or "0x0"
            if not re.fullmatch("0x[0-9a-f]+", offset):
                function.anything = f"{mnemonic} {match[0]}"
                continue
            at, bytes_read = int(offset, 16), width(mnemonic, operands, match[0])
            function.constants.add((at, bytes_read))
            address = PARAMETERS[architecture][1]
            if at < address + 8 and at + bytes_read > address:
                function.anything = f"{mnemonic} {match[0]}"
    if found != len(ANY_CONSTANT.findall(operands)):
        function.anything = f"{mnemonic} {operands}"


def compare(nvdisasm, cubin, architecture, kernels):
    """Counts, and what is wrong."""
    functions = disassemble(nvdisasm, cubin, architecture)
    base = PARAMETERS[architecture][0]
    names = {kernel["name"] for kernel in kernels}
    shared = [function for name, function in functions.items() if name not in names]
    counts, wrong = collections.Counter(cubins=1), []
    for kernel in kernels:
        if kernel["name"] not in functions:
            wrong.append(f"{kernel['name']}: not disassembled")
            continue
        counts["kernels"] += 1
        unread = [(base + at, base + at + length) for at, length in kernel["unread"]]
        counts["with_unread"] += bool(unread)
        counts["block_bytes"] += kernel["block_bytes"]
        counts["unread_bytes"] += sum(end - start for start, end in unread)
        counts["in_doubt"] += bool(kernel["doubt"])
        for function in [functions[kernel["name"]], *shared]:
            counts["constants"] += len(function.constants)
            if function.anything and unread:
                wrong.append(f"{kernel['name']}: {function.anything}, but {kernel['unread']} is called unread")
            for at, length in function.constants:
                if any(at < end and at + length > start for start, end in unread):
                    wrong.append(f"{kernel['name']}: c[0x0][{at:#x}] of {length} bytes, but {kernel['unread']} is called unread")
    return counts, wrong


def library(arguments, pool, path, architecture):
    """Counts over a library's cubins for an architecture, and what is wrong."""
    counts, wrong = collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        command = [arguments.rrto, "kernels", path, "--architecture", str(architecture), "--json", "--cubins", folder]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        cubins = [json.loads(line) for line in lines]
        cubins = cubins[:: max(1, len(cubins) // arguments.sample)] if arguments.sample else cubins
        jobs = {
            pool.submit(
                compare, arguments.nvdisasm, f"{folder}/{cubin['cubin']}.cubin", architecture, cubin["kernels"]
            ): cubin["cubin"]
            for cubin in cubins
        }
        for job in concurrent.futures.as_completed(jobs):
            try:
                more, mistakes = job.result()
            except RuntimeError as error:
                more, mistakes = {}, [f"not compared: {error!r}"]
            counts.update(more)
            wrong += [f"{path} cubin {jobs[job]}: {mistake}" for mistake in mistakes]
    return counts, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rrto", required=True, help="the rrto command")
    parser.add_argument("--nvdisasm", required=True, help="of the CUDA toolkit, or of a wheel nvidia-cuda-nvdisasm")
    parser.add_argument("--architecture", type=int, nargs="+", choices=PARAMETERS, default=list(PARAMETERS), metavar="SM")
    parser.add_argument("--sample", type=int, help="about so many cubins of each library and architecture")
    parser.add_argument("--jobs", type=int, help="programs at a time")
    parser.add_argument("--out", type=pathlib.Path, help="where to write the counts as JSON")
    parser.add_argument("libraries", type=pathlib.Path, nargs="+", metavar="LIBRARY")
    arguments = parser.parse_args()
    rows, failures = [], []
    print("| library | sm | cubins | kernels | with unread bytes | in doubt | constants | wrong |", flush=True)
    print("|---|---|---|---|---|---|---|---|")
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs) as pool:
        for path in arguments.libraries:
            for architecture in arguments.architecture:
                counts, wrong = library(arguments, pool, path, architecture)
                if not counts and not wrong:
                    continue
                failures += wrong
                rows.append({"library": path.name, "architecture": architecture, **counts, "wrong": len(wrong)})
                columns = ("cubins", "kernels", "with_unread", "in_doubt", "constants")
                numbers = " | ".join(str(counts[column]) for column in columns)
                print(f"| {path.name} | {architecture} | {numbers} | {len(wrong)} |", flush=True)
    for failure in failures[:SHOWN]:
        print(failure)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
