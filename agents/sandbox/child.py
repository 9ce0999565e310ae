"""The process that a model's program runs in. Started with -I -S and nothing of ours on its path, so this file imports nothing of ours.

It reads one JSON line (the settings), gives up what it can still do, and runs the program, whose source is the rest of
stdin, as `__main__` in the working folder. Nothing is passed in the environment.
"""

import ctypes
import json
import os
import resource
import runpy
import struct
import sys

NR_CREATE, NR_ADD, NR_RESTRICT = 444, 445, 446
READ = (1 << 2) | (1 << 3)  # read file, read dir
# All rights of the file system by ABI: 13 in the first, then refer, truncate, and (5) ioctl on devices.
RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
WORK = (
    ((1 << 13) - 1) & ~1 & ~((1 << 6) | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 12))
)  # no execute, device, socket, pipe, link
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_DUMPABLE, PR_SET_PDEATHSIG = 38, 22, 4, 1


def main():
    given = json.loads(sys.stdin.buffer.readline())
    source = sys.stdin.buffer.read()
    libc = ctypes.CDLL(None, use_errno=True)
    if given["uid"] >= 0 and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(given["uid"], given["uid"], given["uid"])
        os.setresuid(given["uid"], given["uid"], given["uid"])
    if os.geteuid() == 0:
        fail("it would run as root")
    os.chdir(given["work"])
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    with open("main.py", "wb") as file:
        file.write(source)
    for path in given["paths"]:
        if path not in sys.path:
            sys.path.append(path)
    sys.path.insert(0, given["work"])
    os.umask(0o077)
    limit(given)
    if given["landlock"]:
        landlock(libc, given)
    if given["filter"]:
        seccomp(libc, bytes.fromhex(given["filter"]))
    sys.stdin = open(os.devnull)  # noqa: SIM115
    sys.argv = ["main.py"]
    runpy.run_path("main.py", run_name="__main__")


def limit(given):
    for what, most in (
        (resource.RLIMIT_AS, given["memory"]),
        (resource.RLIMIT_CPU, given["seconds"]),
        (resource.RLIMIT_FSIZE, given["file_bytes"]),
        (resource.RLIMIT_NOFILE, 128),
        (resource.RLIMIT_NPROC, given["processes"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_STACK, 64_000_000),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def landlock(libc, given):
    abi = libc.syscall(NR_CREATE, None, 0, 1)
    if abi < 1:
        fail("this kernel has no Landlock")
    fs = RIGHTS[min(abi, 5)]
    net = 3 if abi >= 4 else 0  # bind and connect of TCP
    scoped = 3 if abi >= 6 else 0  # abstract sockets and signals
    # attr: handled_access_fs, handled_access_net, scoped; older kernels know the first ones
    attr = struct.pack("<QQQ", fs, net, scoped)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = libc.syscall(NR_CREATE, attr, len(attr), 0)
    check(ruleset, "landlock ruleset")
    for path in given["readable"]:
        allow(libc, ruleset, path, READ & fs)
    for path in ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"):
        allow(libc, ruleset, path, (READ | 2) & fs)
    allow(libc, ruleset, given["work"], (WORK | (1 << 14)) & fs)
    check(libc.syscall(NR_RESTRICT, ruleset, 0), "landlock")
    os.close(ruleset)


def allow(libc, ruleset, path, rights):
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= ~(1 << 3) & 0b110000000000110  # of a file: read, write, truncate
        rule = struct.pack("<Qi", rights, handle)
        check(libc.syscall(NR_ADD, ruleset, 1, rule, 0), "landlock rule")
    finally:
        os.close(handle)


def seccomp(libc, code):
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    check(libc.prctl(PR_SET_SECCOMP, 2, program, 0, 0), "seccomp")


def check(result, what):
    if result < 0:
        fail(f"{what} failed ({os.strerror(ctypes.get_errno())})")


def fail(reason):
    os.write(2, f"sandbox: {reason}\n".encode())
    os._exit(125)


main()
