"""D6, D7, D8: a full disk, a disk that cannot be written to, and a flush that fails."""

import contextlib
import os
import subprocess
import time

from harness import Broken, Disk, Server, Writers, artifact, check, run, scratch


def fill(folder):
    """Takes every byte there is."""
    with open(folder / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    filler.write(b"x" * size)


def refused_with_reads(server, writers, seconds):
    """Writes are refused as they should be for so long, while reads are answered. How many were."""
    before, began, slowest = len(writers.refused), time.monotonic(), 0
    while time.monotonic() - began < seconds:
        status = writers.write(server, 0)
        check(status in (503, 507), f"a write answered {status} {writers.odd[-1:]}")
        status, _, _ = server.ask("GET", "/prices?symbol=LAB&limit=5")
        check(status == 200, f"a read answered {status}")
        status, _, took = server.ask("GET", "/health")
        check(status in (200, 503), f"/health answered {status}")
        slowest = max(slowest, took)
    check(slowest <= 1, f"/health took {slowest:.2f} s")
    check(not writers.odd, f"{writers.odd[:3]}")
    return len(writers.refused) - before, slowest


def resumed(server, writers, within=15):
    began = time.monotonic()
    while time.monotonic() - began < within:
        if writers.write(server, 0) == 200:
            return time.monotonic() - began
        time.sleep(0.05)
    raise Broken(f"writes did not resume within {within} s: {list(writers.refused.values())[-1]}")


def full(quick):
    """D6: a full disk"""
    with scratch() as folder, Disk(folder, "tmpfs", 24) as disk:
        data = disk.point / "data"
        writers = Writers(1)
        with Server(data) as server:
            writers.prepare(server)
            for _ in range(50):
                check(writers.write(server, 0) == 200, "a write while there is room")
            fill(disk.point)
            # What the files have in reserve is used up first.
            for _ in range(5_000):
                if writers.write(server, 0) != 200:
                    break
            else:
                raise Broken("the disk never got full")
            refused, slowest = refused_with_reads(server, writers, 3 if quick else 10)
            (disk.point / "filler").unlink()
            took = resumed(server, writers)
            check(not writers.lost(server), "acknowledged writes are gone")
            fill(disk.point)
            code, _ = server.stop()
            check(code == 0, f"it ended with {code} on a full disk: {server.errors[-3:]}")
        # On a full disk it comes up, or says why not.
        again = Server(data)
        try:
            again.up()
            check(again.ask("GET", "/health")[0] in (200, 503), "/health on a full disk")
            again.stop()
        except Broken:
            check(again.process.wait(10) == 1 and not any("panicked" in line for line in again.errors), f"{again.errors}")
        (disk.point / "filler").unlink()
        with Server(data) as server:
            check(not writers.lost(server), "acknowledged writes are gone after the restart")
        return f"{refused} writes refused, /health at most {slowest * 1000:.0f} ms, writes resumed after {took:.2f} s, 0 of {len(writers.acked)} lost"


@contextlib.contextmanager
def injected(server, what):
    """System calls of a running process fail until the block ends."""
    # Traced are only the calls that are to fail, so that everything else keeps its speed.
    names = what.split(":")[0]
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={names}", "-e", f"inject={what}", "-p", str(server.pid())]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    status = f"/proc/{server.pid()}/status"
    for _ in range(500):
        if f"TracerPid:\t{tracer.pid}\n" in open(status).read():
            break
        check(tracer.poll() is None, f"strace: {tracer.stderr.read() if tracer.poll() is not None else ''}")
        time.sleep(0.01)
    else:
        raise Broken("strace did not attach")
    try:
        yield
    finally:
        tracer.terminate()
        tracer.wait(20)


def read_only(quick):
    """D7: a file system that cannot be written to"""
    with scratch() as folder:
        data, writers = folder / "data", Writers(1)
        with Server(data) as server:
            writers.prepare(server)
            for _ in range(20):
                check(writers.write(server, 0) == 200, "a write before")
            with injected(server, "pwrite64,ftruncate,fallocate:error=EROFS"):
                refused, slowest = refused_with_reads(server, writers, 3 if quick else 10)
            took = resumed(server, writers)
            check(not writers.lost(server), "acknowledged writes are gone")
        with Disk(folder, "ext4", 64) as disk:
            artifact("migrate", data=disk.point / "data")
            disk.unmount()
            disk.mount("ro")
            said = artifact("migrate", data=disk.point / "data", ok=False)
            check(said.returncode == 1 and "panicked" not in said.stderr and "read-only" in said.stderr.lower().replace("readonly", "read-only"), f"{said}")
        return f"{refused} writes refused, /health at most {slowest * 1000:.0f} ms, writes resumed after {took:.2f} s, a start says `{said.stderr.strip().splitlines()[-1][-80:]}`"


def flush(quick):
    """D8: a flush that fails"""
    with scratch() as folder:
        data, writers = folder / "data", Writers(4)
        with Server(data) as server:
            writers.prepare(server)
            writers.start(server)
            time.sleep(1)
            with writers.lock:
                before = len(writers.acked)
            check(before > 0, "nothing was written before")
            with injected(server, "fsync,fdatasync:error=EIO"):
                time.sleep(0.5)
                with writers.lock:
                    during = len(writers.acked)
                time.sleep(1)
                with writers.lock:
                    later = len(writers.acked)
            check(later == during, f"{later - during} writes were acknowledged while no flush succeeded")
            # The disk works again. What a failed flush left in doubt is not written over: it takes a restart.
            time.sleep(1)
            writers.end()
            check(len(writers.acked) == later, "writes are accepted after a failed flush")
            check(server.ask("GET", "/prices?symbol=LAB&limit=5")[0] == 200, "reads")
            check(server.ask("GET", "/health")[0] == 503, "/health")
            check(not writers.odd, f"{writers.odd[:3]}")
            server.kill()
        with Server(data) as server:
            check(not writers.lost(server), "acknowledged writes are gone")
            check(writers.write(server, 0) == 200, "a write after the restart")
        return f"{len(writers.refused)} writes refused, none acknowledged after the failure, 0 of {len(writers.acked)} lost"
