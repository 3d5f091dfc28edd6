# SPDX-License-Identifier: MIT
"""
docs/tutorial.md as a list of steps, and whether what a step shows is what stands there.

The same build decodes the same tokens, and placement follows from them, so nearly everything must be the same, word
by word. What may differ is named here: columns that depend on what ran before or on the clock (ANY), and, once software
places beside the model (1B), figures that depend on when its process got its turn (NEAR). Fractions are compared to
three digits.
"""
import re

# Streams and generations are numbered by whoever came before; modelled time runs with every QUERY that waits.
ANY = {"STREAM", "GENERATION", "TIME LEFT", "MODELLED NS", "SPANS", "COMMANDS", "FROM", "TO"}
# Share by which a figure may differ after 1B, of columns of tables and of counters.
NEAR = {"KV_HBM_READ": 0.01, "KV_SRAM_READ": 0.15, "MASS_SRAM": 0.15, "PROMOTIONS": 0.3, "EVICTIONS": 0.3, "PROMOTED": 0.05,
        "MISSED": 0.5, "ENTRIES": 0.3, "SRAM": 0.3, "STEPS": 0.2, "COPIES": 0.5}
# A copy may have ended between PROMOTE and the look at it.
SYNONYMS = {"copying": "valid"}
# Headings of two words; in the rows of such tables only the last column has blanks.
PAIRS = ("Q HEADS", "KV HEADS", "STEPS LEFT", "TIME LEFT", "MODELLED NS", "IN WORDS", "ENDED BY")
UNITS = {"KiB": 1024, "MiB": 1024 ** 2}


def blocks(text):
    """(begin, end) of what stands inside each ```console block."""
    return [match.span(1) for match in re.finditer(r"^```console\n(.*?)^```$", text, re.M | re.S)]


def steps_of(text):
    """[(command, output)]; a command begins with '$ ' and goes on in lines that begin with '> '."""
    steps = []
    for begin, end in blocks(text):
        for line in text[begin:end].splitlines():
            if line.startswith("$ "):
                steps.append([line[2:], ""])
            elif line.startswith("> ") and not steps[-1][1]:
                steps[-1][0] += "\n" + line[2:]
            else:
                steps[-1][1] += line + "\n"
    return steps


def rewritten(text, outputs):
    """The document with the outputs [(command, output)] in place of those that stand there."""
    rest, result, outputs = 0, "", list(outputs)
    for begin, end in blocks(text):
        result += text[rest:begin]
        for line in text[begin:end].splitlines():
            if line.startswith("$ "):
                result += line + "\n"
                pending = outputs.pop(0)
                more = pending[0].split("\n")[1:]
                result += "".join(f"> {part}\n" for part in more) + pending[1]
        rest = end
    return result + text[rest:]


# ---- one step ---------------------------------------------------------------------------------------------------

def columns(line):
    """Names of a table's columns; none if the line is no heading."""
    if not re.fullmatch(r"[A-Z_]+( +[A-Z_]+)+ *", line):
        return []
    for pair in PAIRS:
        line = re.sub(pair.replace(" ", " +"), pair.replace(" ", "-"), line)
    return [name.replace("-", " ") for name in line.split()]


def cells(line, names):
    """[(name, word)] of a row. Sizes become bytes, and times that the clock made one word."""
    line = re.sub(r"([\d.]+) ([KM]iB)\b", lambda m: str(round(float(m[1]) * UNITS[m[2]])), line)
    line = re.sub(r"([\d.]+) (ns|us|ms|s)(?= |$)", r"\1\2", line)
    if not names:
        words = line.split()
        return [(words[0] if len(words) == 2 else None, word) for word in words]
    words = line.split(None, len(names) - 1)
    return list(zip(names, words)) + [("?", "")] * (len(names) - len(words))


def number(word):
    try:
        return float(word)
    except ValueError:
        return None


def agree(name, documented, seen, timed):
    """Is it the same cell? `timed`: software has placed beside the model by now."""
    if name in ANY:
        return bool(documented) == bool(seen)
    if SYNONYMS.get(documented, documented) == SYNONYMS.get(seen, seen):
        return True
    old, new = number(documented), number(seen)
    if old is None or new is None:
        return False
    if timed and name in NEAR:
        return abs(old - new) <= max(NEAR[name] * abs(old), 2)
    return not (documented.isdigit() and seen.isdigit()) and abs(old - new) <= max(2e-3 * abs(old), 2e-3)


def plain(line):
    """A line outside of tables, without the number of the stream in commands."""
    return re.sub(r"\b(sinkctl config) \d+", r"\1 $S", line)


def differing(documented, seen, timed=False):
    """[(documented line, seen line)] that do not agree; a missing line is ''."""
    old, new, names, wrong = documented.splitlines(), seen.splitlines(), [], []
    for i in range(max(len(old), len(new))):
        one = old[i] if i < len(old) else ""
        other = new[i] if i < len(new) else ""
        names = columns(one) or (names if one else [])
        if columns(one) or columns(other):
            same = columns(one) == columns(other)
        else:
            a, b = cells(plain(one), names), cells(plain(other), names)
            same = len(a) == len(b) and all(agree(x[0], x[1], y[1], timed) for x, y in zip(a, b))
        if not same or i >= len(old) or i >= len(new):
            wrong.append((one, other))
    return wrong


def compare(documented, seen, timed=False):
    wrong = differing(documented, seen, timed)
    assert not wrong, "\n".join(f"documented: {one}\nseen:       {other}" for one, other in wrong)
