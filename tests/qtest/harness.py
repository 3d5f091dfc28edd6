# SPDX-License-Identifier: MIT
"""Collects test functions and runs them as a TAP program. A test passes when it returns."""
import time
import traceback

TESTS = []


def test(function):
    """Decorator: the function's first line of documentation says what holds."""
    TESTS.append(function)
    return function


def equal(found, expected, what):
    if found != expected:
        show = hex if isinstance(found, int) and isinstance(expected, int) else repr
        raise AssertionError(f"{what}: {show(found)}, expected {show(expected)}")


def name_of(function):
    return f"{function.__module__.removeprefix('test_')}: {function.__doc__.strip().splitlines()[0].rstrip('.')}"


def main(wanted):
    """Runs all tests, or those whose name contains one of `wanted`. Returns the exit status."""
    tests = [t for t in TESTS if not wanted or any(word in name_of(t) or word in t.__name__ for word in wanted)]
    print(f"TAP version 13\n1..{len(tests)}", flush=True)
    failed = 0
    for number, function in enumerate(tests, 1):
        begin = time.monotonic()
        try:
            function()
            print(f"ok {number} - {name_of(function)}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {number} - {name_of(function)}")
            for line in traceback.format_exc().splitlines():
                print("#   " + line)
            print(f"#   after {time.monotonic() - begin:.1f} s", flush=True)
    return 1 if failed or not tests else 0


