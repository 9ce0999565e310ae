"""A seccomp filter: which system calls a program in the sandbox may not make. Assembled here; needs no library.

The filter is classic BPF as `seccomp(2)` takes it. Calls of another architecture kill the program: their numbers mean
other things. What is denied returns EPERM, so that honest programs get an exception and not a mystery.
"""

from __future__ import annotations

import errno
import platform
import struct

# number on x86_64, on aarch64; None: there is no such call
_CALLS: dict[str, tuple[int | None, int]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "process_madvise": (440, 440),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "acct": (163, 89), "quotactl": (179, 60), "syslog": (103, 116),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "fanotify_init": (300, 262), "lookup_dcookie": (212, 18),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191),
    "mq_open": (240, 180), "mq_unlink": (241, 181), "personality": (135, 92), "ioperm": (173, -1), "iopl": (172, -1),
    "modify_ldt": (154, -1), "uselib": (134, -1), "vhangup": (153, 58), "nfsservctl": (180, 42), "setpriority": (141, 140),
    "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "ioprio_set": (251, 30),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "mbind": (237, 235), "set_mempolicy": (238, 237),
    "seccomp": (317, 277), "landlock_create_ruleset": (444, 444),
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
}  # fmt: skip
# In a container nothing but the filter keeps a program from starting and stopping others.
_ALONE: dict[str, tuple[int | None, int]] = {
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, -1), "vfork": (58, -1), "kill": (62, 129),
    "tkill": (200, 130), "prlimit64": (302, 261), "setrlimit": (160, 164), "setsid": (112, 157), "setpgid": (109, 154),
    "chmod": (90, -1), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, -1), "lchown": (94, -1),
    "fchown": (93, 55), "fchownat": (260, 54), "fchmod": (91, 52), "mknod": (133, -1), "mknodat": (259, 33), "link": (86, -1), "linkat": (265, 37),
    "setxattr": (188, 5), "fsetxattr": (190, 7), "lsetxattr": (189, 6), "utimensat": (280, 88), "utime": (132, -1),
    "utimes": (235, -1), "futimesat": (261, -1),
    "inotify_init1": (294, 26), "inotify_add_watch": (254, 27), "inotify_init": (253, -1),
}  # fmt: skip
_CLONE, _CLONE3 = (56, 220), (435, 435)
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "amd64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1), "arm64": (0xC00000B7, 1)}  # fmt: skip
CLONE_THREAD = 0x00010000
CLONE_NEW = 0x7E020080  # every CLONE_NEW… flag

_LD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH, _ARG0 = 0, 4, 16  # offsets in struct seccomp_data


def is_supported() -> bool:
    return platform.machine().lower() in _ARCHITECTURES


def program(*, alone: bool) -> bytes:
    """The filter as bytes of `struct sock_filter`. alone: no other process may be started, signalled or touched."""
    arch, column = _ARCHITECTURES[platform.machine().lower()]
    denied = {**_CALLS, **_ALONE} if alone else _CALLS
    numbers = sorted({number for row in denied.values() if (number := row[column]) is not None and number >= 0})
    code = [
        (_LD, 0, 0, _ARCH), (_JEQ, 1, 0, arch), (_RET, 0, 0, _KILL),
        (_LD, 0, 0, _NUMBER),
    ]  # fmt: skip
    if column == 0:  # x32 calls have numbers of their own
        code += [(_JGE, 0, 1, 0x40000000), (_RET, 0, 0, _KILL)]
    for number in numbers:
        code += [(_JEQ, 0, 1, number), (_RET, 0, 0, _ERRNO | errno.EPERM)]
    # glibc goes back to clone, whose flags a filter can see
    code += [(_JEQ, 0, 1, _CLONE3[column]), (_RET, 0, 0, _ERRNO | errno.ENOSYS)]
    code += [(_JEQ, 0, 5 if alone else 3, _CLONE[column]), (_LD, 0, 0, _ARG0)]
    code += [(_JSET, 0, 1, CLONE_NEW), (_RET, 0, 0, _ERRNO | errno.EPERM)]
    if alone:
        code += [(_JSET, 1, 0, CLONE_THREAD), (_RET, 0, 0, _ERRNO | errno.EPERM)]
    code += [(_RET, 0, 0, _ALLOW)]
    return b"".join(struct.pack("<HBBI", *line) for line in code)
