"""D2, D15: the power goes. The file system drops what was not flushed, and the process is gone."""

import fcntl
import hashlib
import http.client
import json
import os
import random
import struct
import threading
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


def cut_soon(point):
    time.sleep(random.uniform(0, 0.12))
    cut_power(point)


def cycles(count, before=()):
    """Writes and power cuts in turn; how many acknowledged writes there were, and how many are gone."""
    with scratch() as folder, Disk(folder, "ext4", 192) as disk:
        writers, lost, slowest = Writers(8, queued=True), [], 0
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


def imported(server, number, rows=400):
    """Imports a file and has its records saved; whether that was answered with success."""
    table = "time,close\n" + "".join(
        f"2026-{1 + number // 28:02}-{1 + number % 28:02}T{row // 60:02}:{row % 60:02}:00Z,{number * rows + row}\n" for row in range(rows)
    )
    host, port = server.address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request("POST", "/prices/import?symbol=LAB&source=desk&save_records=true", table, {"content-type": "text/csv"})
        answer = connection.getresponse()
        report = json.loads(answer.read())
        return answer.status == 200 and report["records"]["error"] is None
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def saved(folder, rows=400):
    """Which imports are in the files of the source, which must belong together."""
    records, manifests = folder / "records.json", [folder / "manifest.json", folder / "manifest.next.json"]
    if not records.exists():
        return set()
    whole = records.read_bytes()
    hashes = [json.loads(path.read_bytes())["sha256"] for path in manifests if path.exists()]
    check(hashlib.sha256(whole).hexdigest() in hashes, "no manifest describes the records")
    count = {}
    for row in json.loads(whole):
        count[row["close"] // rows] = count.get(row["close"] // rows, 0) + 1
    check(all(those == rows for those in count.values()), f"an import by half: {count}")
    return set(count)


def records(quick):
    """D15: records after power loss"""
    cuts = 5 if quick else 25
    with scratch() as folder, Disk(folder, "ext4", 192) as disk:
        files, answered, between = disk.point / "data/ingest/desk", set(), 0
        with Server(disk.point / "data") as server:
            Writers().prepare(server)
            server.stop()
        for number in range(cuts):
            with Server(disk.point / "data") as server:
                # What is answered after the cut was not: so only every third answer counts, and is waited for.
                cutting = threading.Thread(target=cut_soon, args=(disk.point,))
                if number % 3:
                    cutting.start()
                    imported(server, number)
                else:
                    check(imported(server, number), "no answer")
                    answered.add(number)
                    cutting.start()
                cutting.join()
                server.kill()
            disk.unmount()
            disk.mount()
            there = saved(files)
            check(there >= answered, f"{sorted(answered - there)} were answered for and are not in the files")
            between += (files / "manifest.next.json").exists()
        return f"{cuts} cuts, records and manifest whole and of one write after each, 0 of {len(answered)} answered imports lost, {between} cuts between the steps"


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
