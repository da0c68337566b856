"""D2: the power goes. The file system drops what was not flushed, and the process is gone."""

import fcntl
import os
import random
import struct
import time

from harness import Broken, Disk, Server, Writers, check, scratch

SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
SWALLOWED = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:retval=0")


def cut_power(point):
    folder = os.open(point, os.O_RDONLY)
    try:
        fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    finally:
        os.close(folder)


def cycles(count, before=()):
    """Writes and power cuts in turn; how many acknowledged writes there were, and how many are gone."""
    with scratch() as folder, Disk(folder, "ext4", 192) as disk:
        writers, lost, slowest = Writers(8), [], 0
        with Server(disk.point / "data") as server:
            writers.prepare(server)
            server.stop()
        for _ in range(count):
            with Server(disk.point / "data", before) as server:
                had, began = len(writers.acked), time.monotonic()
                writers.start(server)
                while len(writers.acked) < had + 10 and time.monotonic() - began < 20:
                    time.sleep(0.01)
                time.sleep(random.uniform(0, 0.5))
                cut_at = time.monotonic()
                cut_power(disk.point)
                server.kill()
                writers.end()
                # A file system that is shut down still lets some flushes under way succeed. Without power there is no
                # answer after the cut: what was answered later was not.
                for at, when in writers.when.items():
                    if when >= cut_at and at in writers.acked:
                        writers.unknown[at] = writers.acked.pop(at)
            disk.unmount()
            disk.mount()
            with Server(disk.point / "data") as server:
                slowest = max(slowest, server.took)
                lost = writers.lost(server)
                server.stop()
            if lost:
                break
        return len(writers.acked), len(lost), slowest


def power(quick):
    """D2: power loss"""
    count = 5 if quick else 50
    acked, lost, slowest = cycles(count)
    check(acked >= 10 * count, f"only {acked} writes were acknowledged")
    check(lost == 0, f"{lost} acknowledged writes are gone")
    return f"{count} cuts, 0 of {acked} acknowledged writes lost, up again after {slowest:.2f} s at most"


def control(quick):
    """D2: the control, with flushes swallowed"""
    try:
        acked, lost, _ = cycles(3, SWALLOWED)
    except Broken as broken:
        # A database that does not even open has lost something, too.
        return f"noticed: {str(broken)[:120]}"
    check(lost > 0, f"swallowed flushes lost nothing of {acked} writes: this test sees no loss")
    return f"noticed: {lost} of {acked} acknowledged writes lost"
