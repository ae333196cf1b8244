"""What runs inside the sandbox, as a script of its own: takes its limits, then runs a program and its tests.

It imports nothing of this package.  A job comes as JSON on standard input; each finished test is one line, ``1`` or
``0``, on standard output, which the program itself cannot reach by that name any more.
"""

import ctypes
import json
import os
import resource
import sys
from contextlib import suppress

_READ = 0b1101  # execute, read a file, read a folder
_SYSCALLS = (444, 445, 446)  # landlock_create_ruleset, _add_rule, _restrict_self: the same on every architecture


def limit(memory, seconds, written):
    """Hard limits of this process and those that it starts."""
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, written),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 64),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))


def confine(folder, readable):
    """By Landlock (Linux 5.13): write below ``folder`` alone, read there and below ``readable``; no TCP (6.7)."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    version = call(_SYSCALLS[0], None, 0, 1)
    if version < 1:
        return
    every = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    attributes = (ctypes.c_uint64 * 2)(every, 3 if version >= 4 else 0)
    rules = call(_SYSCALLS[0], ctypes.byref(attributes), 16 if version >= 4 else 8, 0)
    for path, allowed in [(folder, every), *((path, _READ) for path in readable)]:
        if rules < 0 or not os.path.exists(path):
            continue
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed &= every if os.path.isdir(path) else 0b111  # what a file can be asked for
        rule = allowed.to_bytes(8, sys.byteorder) + opened.to_bytes(4, sys.byteorder)
        call(_SYSCALLS[1], rules, 1, rule, 0)
        os.close(opened)
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # no new privileges
    call(_SYSCALLS[2], rules, 0)


def main():
    """Run the job."""
    job = json.load(sys.stdin)
    told = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    limit(job["memory"], job["seconds"], job["written"])
    confine(os.getcwd(), job["readable"])
    known = {"__name__": "__main__"}
    try:
        exec(compile(job["program"], "program", "exec"), known)
    except BaseException:
        os._exit(0)
    for number, test in enumerate(job["tests"]):
        try:
            exec(compile(test, f"test {number}", "exec"), dict(known))
            passed = b"1\n"
        except BaseException:
            passed = b"0\n"
        os.write(told, passed)
    os._exit(0)


if __name__ == "__main__":
    main()
