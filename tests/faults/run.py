#!/usr/bin/env python3
"""Faults that need a machine of their own: full disks, lost power, failing flushes, damaged files.

    tests/faults/run.py [--quick] [NAME...]

Runs the built program (ARTIFACT_BINARY, else target/debug/artifact). Needs root, strace and loop devices. A row that
cannot be tried is a failure: it says so and the exit code is 1.
"""

import os
import shutil
import sys
import time

sys.dont_write_bytecode = True

import clock
import damage
import disk
import load
import power
import upgrade
from harness import BINARY, Broken

ROWS = {
    "power": power.power,
    "power-control": power.control,
    "power-records": power.records,
    "full": disk.full,
    "read-only": disk.read_only,
    "flush": disk.flush,
    "damage-at-start": damage.at_start,
    "damage-while-running": damage.while_running,
    "damage-read": damage.read,
    "damage-large": damage.large,
    "backups": load.backups,
    "upgrade": upgrade.upgrade,
    "clock": clock.jumps,
}


def main():
    names = [name for name in sys.argv[1:] if not name.startswith("-")]
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        sys.exit(f"faults: no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if os.geteuid() != 0:
        sys.exit("faults: NOT TRIED: mounting file systems needs root")
    for program in ("strace", "mkfs.ext4", "mount"):
        if not shutil.which(program):
            sys.exit(f"faults: NOT TRIED: {program} is missing")
    if not BINARY.exists():
        sys.exit(f"faults: NOT TRIED: {BINARY} is not built")
    failed = []
    for name in names or ROWS:
        row, began = ROWS[name], time.monotonic()
        try:
            said = row("--quick" in sys.argv)
            print(f"ok    {row.__doc__}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
        except (Broken, OSError) as broken:
            failed.append(name)
            print(f"FAIL  {row.__doc__}: {broken}", flush=True)
    if failed:
        sys.exit(f"faults: {', '.join(failed)}")


if __name__ == "__main__":
    main()
