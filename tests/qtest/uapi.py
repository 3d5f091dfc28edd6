# SPDX-License-Identifier: MIT
"""
Reads uapi/kvsink_hw.h, so that the tests hold no second copy of it: constants, X-macro tables, and every struct
as a ctypes class of the same layout. Only as much C as that header uses.

    uapi.CONST["KVSINK_MAX_RINGS"]   uapi.TABLES["REGS"] -> [("ID", "0x000", "RO", ...)]   uapi.STRUCTS["kvsink_cmd"]
"""
import ctypes
import os
import re

HEADER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "uapi", "kvsink_hw.h")
SCALARS = {
    "uint8_t": ctypes.c_uint8, "uint16_t": ctypes.c_uint16, "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64, "float": ctypes.c_float,
}


def number(text, constants):
    """The value of a constant expression, or None."""
    text = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)(?:[uUlL]+)\b", r"\1", text.strip())
    if not text or not re.fullmatch(r"[\w\s()<>+*-]+", text):
        return None
    try:
        return eval(text, {"__builtins__": {}}, dict(constants))
    except (NameError, SyntaxError, TypeError):
        return None


def read_defines(source):
    constants = {}
    for name, value in re.findall(r"^#define (KVSINK_\w+) +(.+)$", source, re.M):
        value = number(value, constants)
        if value is not None:
            constants[name] = value
    return constants


def read_tables(source):
    """Rows of the X-macro tables; cells as they stand there, descriptions without their quotes."""
    tables = {}
    for name, body in re.findall(r"^#define KVSINK_(\w+)\(X\)((?:.*\\\n)*.*)$", source, re.M):
        rows = re.findall(r'X\(((?:"[^"]*"|[^")])*)\)', body)
        tables[name] = [tuple(cell.strip().strip('"') for cell in re.findall(r'"[^"]*"|[^,"\s][^,"]*', row))
                        for row in rows]
    return tables


def read_enums(source, constants):
    for body in re.findall(r"^enum \w+ \{([^}#]*)\};", source, re.M):
        value = -1
        for item in filter(None, (part.strip() for part in body.split(","))):
            name, _, given = item.partition("=")
            value = number(given, constants) if given else value + 1
            constants[name.strip()] = value


def table_constants(tables, constants):
    """What the header's enums make of the tables."""
    prefixes = {"REGS": "KVSINK_REG_", "RING_REGS": "KVSINK_RING_", "CODES": "KVSINK_CODE_", "PARAMS": "KVSINK_PARAM_",
                "EVENTS": "KVSINK_EVENT_", "REASONS": "KVSINK_REASON_", "OPCODES": "KVSINK_OP_",
                "FORMATS": "KVSINK_FORMAT_"}
    for table, prefix in prefixes.items():
        for row in tables[table]:
            constants[prefix + row[0]] = number(row[1], constants)
    for index, row in enumerate(tables["COUNTERS"]):
        constants["KVSINK_COUNTER_" + row[0]] = index
    constants["KVSINK_COUNTER_COUNT"] = len(tables["COUNTERS"])
    for reg, field, shift, width, _ in tables["FIELDS"]:
        constants[f"KVSINK_{reg}_{field}_SHIFT"] = int(shift)
        constants[f"KVSINK_{reg}_{field}_MASK"] = ((1 << int(width)) - 1) << int(shift)


def split_members(body):
    """Declarations of a struct body, an anonymous union as one."""
    members, depth, text = [], 0, ""
    for char in body:
        depth += (char == "{") - (char == "}")
        if char == ";" and depth == 0:
            members.append(text.strip())
            text = ""
        else:
            text += char
    return members


def read_members(body, constants, structs):
    fields, anonymous = [], []
    for member in split_members(body):
        union = re.fullmatch(r"union \{(.*)\}", member, re.S)
        if union:
            anonymous.append(f"_union{len(anonymous)}")
            fields.append((anonymous[-1], make(ctypes.Union, "union", union.group(1), constants, structs)))
            continue
        kind, names = re.fullmatch(r"((?:struct |union )?\w+)\s+(.*)", member, re.S).groups()
        kind = SCALARS.get(kind) or structs[kind.split()[-1]]
        for name in names.split(","):
            name, length = re.fullmatch(r"\s*(\w+)(?:\[(.*)\])?\s*", name).groups()
            fields.append((name, kind * number(length, constants) if length else kind))
    return fields, anonymous


def make(base, name, body, constants, structs):
    fields, anonymous = read_members(body, constants, structs)
    return type(name, (base,), {"_anonymous_": anonymous, "_fields_": fields})


def read_structs(source, constants):
    structs = {}
    for kind, name, body in re.findall(r"^(struct|union) (\w+) \{\n(.*?)^\};", source, re.M | re.S):
        base = ctypes.Union if kind == "union" else ctypes.Structure
        structs[name] = make(base, name, body, constants, structs)
    return structs


def load():
    with open(HEADER, encoding="utf-8") as header:
        source = re.sub(r"/\*.*?\*/", "", header.read(), flags=re.S)
    constants, tables = read_defines(source), read_tables(source)
    read_enums(source, constants)
    table_constants(tables, constants)
    return constants, tables, read_structs(source, constants)


CONST, TABLES, STRUCTS = load()


def const(name):
    return CONST["KVSINK_" + name]


def code_name(value):
    return next((row[0] for row in TABLES["CODES"] if int(row[1]) == value), f"?{value}")
