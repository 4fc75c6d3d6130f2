#!/usr/bin/env python3
"""Checks what the analysis of unread parameters takes instructions to do, with what NVIDIA's disassembler prints of
them: what each writes, when, what it compares, and where it leads. Needs no GPU.

    unread_effects.py --effects BIN --nvdisasm BIN --architecture SM INSTRUCTIONS ...

INSTRUCTIONS are files of raw machine code for that architecture, such as cubins' sections or a sample of them. An
instruction that the analysis takes to write everything, or to lead anywhere, is right anyway; one that writes more than
it is said to is wrong. Prints counts by name, and what is wrong; fails if anything is."""

import argparse
import collections
import pathlib
import re
import subprocess
import sys

LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+\{?\s*(?:@(!?)(U?P\w+)\s+)?([A-Z][A-Z0-9_.a-z]*)\s*([^;]*);\s*/\* 0x([0-9a-f]{16})")
REST = re.compile(r"^\s*/\* 0x([0-9a-f]{16}) \*/")

PREDICATE = re.compile(r"U?P(\d|T)")
REGISTER = re.compile(r"U?R(\d+|Z)(\.64)?")
COMPARE = {"F": 0, "LT": 1, "EQ": 2, "LE": 3, "GT": 4, "NE": 5, "GE": 6, "T": 7}

# Operands of these are only read. Memory operands say so themselves.
NOTHING_WRITTEN = {"BAR", "BRA", "EXIT", "BSYNC", "BREAK", "WARPSYNC", "NANOSLEEP", "YIELD", "DEPBAR", "CALL", "RET", "BRX",
                   "BSSY", "NOP", "MEMBAR", "ERRBAR", "BRXU", "JMP", "JMX", "BPT", "KILL", "CCTLL", "CCTL"}
# The only ones that lead on with the next instruction although their operation is one of control.
STAYING = {"BREAK", "YIELD", "NANOSLEEP", "BMOV", "WARPSYNC"}
LEAVING = {"BRA", "EXIT", "BSYNC", "BSSY", "CALL", "RET", "BRX", "BRXU", "JMP", "JMX", "JMXU", "KILL", "BPT", "RTT", "LEPC",
           "RPCMOV", "ENDCOLLECTIVE"}
MATRIX = {"HMMA", "IMMA", "BMMA", "DMMA", "LDSM", "MOVM", "QMMA"}
MANY = 4


def number(name):
    """How the analysis numbers a place or predicate."""
    name = name.removesuffix(".64")
    if PREDICATE.fullmatch(name):
        kind, value = name.split("P")
        return (8 if kind else 0) + (7 if value == "T" else int(value))
    uniform, value = name.startswith("U"), name.lstrip("U")[1:]
    if uniform:
        return 256 + (63 if value == "Z" else int(value))
    return 255 if value == "Z" else int(value)


def predicate(operand):
    return f"Predicate {{ number: {number(operand.lstrip('!'))}, negated: {str(operand.startswith('!')).lower()} }}"


def source(operand, length=4):
    """A second operand as the analysis would print it, if it is one that may be followed."""
    if match := re.fullmatch(r"U?R(\d+|Z)", operand):
        return f"Place(Place({number(operand)}))"
    if re.fullmatch(r"-?0x[0-9a-f]+", operand):
        return f"Number({int(operand, 16) & 0xFFFFFFFF})"
    if match := re.fullmatch(r"c\[0x0\]\s*\[(?:(?:RZ\+)?(0x[0-9a-f]+)|RZ)\]", operand):
        return f"Constant {{ at: {int(match[1] or '0', 16)}, bytes: {length} }}"
    if re.fullmatch(r"c\[0x[1-9a-f][0-9a-f]*\]\s*\[[^\]]*\]", operand):
        return "Unknown"
    return None


def written(name, modifiers, operands):
    """The registers and predicates that an instruction writes, as numbers, by what is printed."""
    if name in NOTHING_WRITTEN:
        return set(), set()
    if name == "R2P":
        return set(), set(range(7))
    if name.endswith(("SETP", "SETP2", "PLOP3", "FCHK")):
        outputs = operands[: 1 if name == "FCHK" else 2]
        return set(), {number(part) for part in outputs if PREDICATE.fullmatch(part)}
    registers, predicates, first = set(), [], None
    for operand in operands:
        if PREDICATE.fullmatch(operand):
            predicates.append(number(operand))
        elif first is None and REGISTER.fullmatch(operand):
            first = operand
        else:
            break
    if name in ("VOTE", "VOTEU"):
        predicates = predicates[:1]
    if first and not first.startswith(("RZ", "URZ")):
        double = (set(modifiers) & {"64", "WIDE", "F64", "S64", "U64"} and name not in ("SHF", "USHF", "MUFU")) or (
            name[0] == "D" and name != "DEPBAR") or (name == "CS2R" and "32" not in modifiers) or first.endswith(".64")
        words = MANY if "128" in modifiers or name in MATRIX else 2 if double else 1
        registers = {number(first) + word for word in range(words)}
    return registers, set(predicates)


def said_written(writes):
    """The same by what the analysis says; nothing if it is everything."""
    if writes in ("Everything", "Barriers"):
        return None
    if writes == "Nothing":
        return set(), set()
    if match := re.match(r"Something \{ to: Place\((\d+)\), words: (\d+), predicates: \[(\d+), (\d+)\]", writes):
        at, words, one, other = map(int, match.groups())
        return set(range(at, at + words)), {one, other}
    if match := re.match(r"(?:Value|Constants) \{ to: Place\((\d+)\)(?:, words: (\d+))?", writes):
        return set(range(int(match[1]), int(match[1]) + int(match[2] or 1))), set()
    if match := re.search(r"to: \[(\d+), (\d+)\] \}\)?$", writes):
        return set(), {int(match[1]), int(match[2])}
    raise ValueError(writes)


def value_written(name, modifiers, operands):
    """What an instruction that is followed writes, as the analysis would print it; nothing if it is none."""
    if name in ("MOV", "UMOV") and not modifiers and len(operands) == 2:
        return f"Value {{ to: Place({number(operands[0])}), from: {source(operands[1])} }}"
    if name == "IMAD" and modifiers in (["MOV", "U32"], ["MOV"], ["U32"], []) and operands[1:3] == ["RZ", "RZ"]:
        return f"Value {{ to: Place({number(operands[0])}), from: {source(operands[3])} }}"
    if name in ("LDC", "ULDC") and len(modifiers) <= 1:
        to = number(operands[0])
        width = modifiers[0] if modifiers else ""
        from_constant = source(operands[1])
        if width in ("64", "128") and from_constant and from_constant.startswith("Constant"):
            at = re.search(r"at: (\d+)", from_constant)[1]
            return f"Constants {{ to: Place({to}), words: {int(width) // 32}, at: {at} }}"
        if width in ("", "U8", "U16"):
            return f"Value {{ to: Place({to}), from: {source(operands[1], {'': 4, 'U8': 1, 'U16': 2}[width])} }}"
    if name in ("ISETP", "UISETP") and "EX" not in modifiers and len(operands) == 5 and modifiers[-1] in ("AND", "OR"):
        to = ", ".join(str(number(operand)) for operand in operands[:2])
        return (
            f"Compared(Comparison {{ holds: {COMPARE[modifiers[0]]}, signed: {str('U32' not in modifiers).lower()}, "
            f"left: {source(operands[2])}, right: {source(operands[3])}, logic: {modifiers[-1].capitalize()}, "
            f"with: {predicate(operands[4])}, to: [{to}] }})"
        )
    if name == "PLOP3":
        of = ", ".join(predicate(operand) for operand in operands[2:5])
        to = ", ".join(str(number(operand)) for operand in operands[:2])
        return f"Table {{ table: {int(operands[5], 16)}, of: [{of}], to: [{to}] }}"
    return None


def leads(address, name, modifiers, operands):
    """Where an instruction leads, as the analysis would print it; nothing if only that nobody knows is right."""
    def by():
        # The disassembler wraps around at 32, 40 or 64 bits where the code has been moved.
        return int(operands[-1], 16) - address - 16

    if name == "BRA":
        if modifiers:
            return {f"Fork {{ by: {by()} }}"}
        and_also = predicate(operands[0] if len(operands) == 2 else "PT")
        return {f"Branch {{ by: {by()}, and: {and_also} }}", f"Fork {{ by: {by()} }}"} if len(operands) <= 2 else set()
    if name == "EXIT":
        return {f"Exit {{ and: {predicate(operands[0] if operands else 'PT')} }}"} if not modifiers else set()
    if name == "BSSY":
        return {f"Meet {{ barrier: Place({320 + int(operands[0][1:])}), by: {by()} }}"}
    if name == "BSYNC":
        return {f"Sync {{ barrier: Place({320 + int(operands[0][1:])}) }}"}
    if name == "LEPC" and len(operands) == 2:
        return {f"Call {{ by: {by()} }}"}
    if name == "CALL" and modifiers[0] == "ABS":
        return {"Call { by: 0 }"}
    if name == "WARPSYNC" and "COLLECTIVE" in modifiers or name in LEAVING:
        return set()
    return {"Next"}


def wrong(address, guard, name, modifiers, operands, said):
    """What the analysis says wrongly of an instruction."""
    when, flow, writes = re.fullmatch(r"Effect \{ when: (.*), flow: (.*?), writes: (.*) \}", said).groups()
    if when not in ("None", f"Some({predicate(guard)})"):
        # For ones that are always executed it does not matter which sort the predicate is of.
        if guard.removeprefix("!") not in ("PT", "UPT"):
            yield f"when: {when}"
        elif not re.search(r"number: (7|15), negated: " + str(guard.startswith("!")).lower(), when):
            yield f"when: {when}"
    if flow != "Lost" and flow not in leads(address, name, modifiers, operands):
        yield f"flow: {flow}, not {leads(address, name, modifiers, operands)}"
    if writes == "Barriers":
        return
    if name in ("BMOV", "B2R") and writes != "Barriers" and any(part.startswith("B") for part in operands[:1]):
        yield f"writes a barrier: {writes}"
    if writes == "Everything":
        return
    registers, predicates = written(name, modifiers, operands)
    said_registers, said_predicates = said_written(writes)
    if not registers <= said_registers | {255, 319}:
        yield f"writes {sorted(registers - said_registers)} too: {writes}"
    if not {part for part in predicates if part % 8 != 7} <= said_predicates:
        yield f"decides {sorted(predicates - said_predicates)} too: {writes}"
    if not writes.startswith(("Nothing", "Something")) and writes != value_written(name, modifiers, operands):
        unknown = re.sub(r"from: .* \}$", "from: Unknown }", writes)
        if writes != unknown:
            yield f"{writes}, not {value_written(name, modifiers, operands)}"


def printed(nvdisasm, path, architecture):
    """The instructions of a file: position, number, and what is printed."""
    command = [nvdisasm, "--binary", f"SM{architecture}", "-hex", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace") as run:
        waiting = None
        for line in run.stdout:
            if match := LINE.match(line):
                waiting = match
            elif waiting and (match := REST.match(line)):
                address, negated, when, mnemonic, operands, low = waiting.groups()
                operands = [part.strip().replace(".reuse", "") for part in operands.split(",")]
                name, *modifiers = mnemonic.split(".")
                guard = (negated or "") + (when or "PT")
                yield int(address, 16), int(match[1] + low, 16), guard, name, modifiers, [part for part in operands if part]
                waiting = None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--effects", required=True, help="the example `effects` of rrto-core")
    parser.add_argument("--nvdisasm", required=True, help="of the CUDA toolkit, or of a wheel nvidia-cuda-nvdisasm")
    parser.add_argument("--architecture", type=int, required=True, metavar="SM")
    parser.add_argument("--shown", type=int, default=3, help="wrong instructions of each name")
    parser.add_argument("instructions", type=pathlib.Path, nargs="+", metavar="INSTRUCTIONS")
    arguments = parser.parse_args()
    counts, followed, mistakes = collections.Counter(), collections.Counter(), collections.defaultdict(list)
    for path in arguments.instructions:
        found = list(printed(arguments.nvdisasm, path, arguments.architecture))
        if len(found) * 16 != path.stat().st_size:
            sys.exit(f"{path}: {len(found)} instructions printed")
        numbers = "".join(f"{instruction:032x}\n" for _, instruction, *_ in found)
        command = [arguments.effects, str(arguments.architecture)]
        said = subprocess.run(command, input=numbers, check=True, capture_output=True, text=True).stdout.splitlines()
        for (address, instruction, guard, name, modifiers, operands), effect in zip(found, said, strict=True):
            counts[name] += 1
            followed[name] += not re.search("writes: (Everything|Barriers)", effect)
            for mistake in wrong(address, guard, name, modifiers, operands, effect):
                text = f"@{guard} {'.'.join([name, *modifiers])} {', '.join(operands)}"
                mistakes[name].append(f"{instruction:032x} {text}: {mistake}")
    print(f"sm_{arguments.architecture}: {sum(counts.values())} instructions, {len(counts)} names, "
          f"{sum(1 for name in counts if followed[name])} followed, {sum(map(len, mistakes.values()))} wrong")
    print("not followed: " + " ".join(sorted(name for name in counts if not followed[name])))
    for name, list_of in sorted(mistakes.items()):
        print(f"{name}: {len(list_of)} of {counts[name]} wrong", *list_of[: arguments.shown], sep="\n  ")
    sys.exit(1 if mistakes else 0)


if __name__ == "__main__":
    main()
