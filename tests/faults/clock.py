"""D14: the clock jumps while the service runs."""

import glob
import http.client
import json
import time

from harness import Broken, Server, Writers, check, scratch

LIBRARY = "/usr/lib/*/faketime/libfaketime.so.1"
JUMPS = ["+0", "+7200", "-3600", "+7200", "@2038-01-19 03:14:05", "+0"]


def keyed(server, key, body):
    host, port = server.address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request("POST", "/markets", json.dumps(body), {"content-type": "application/json", "idempotency-key": key})
    answer = connection.getresponse()
    text, replayed = answer.read(), answer.headers.get("idempotency-replayed")
    connection.close()
    return answer.status, text, replayed


def jumps(quick):
    """D14: clock jumps"""
    libraries = glob.glob(LIBRARY)
    if not libraries:
        raise Broken("NOT TRIED: libfaketime is missing")
    with scratch() as folder:
        wall = folder / "wall"
        wall.write_text("+0\n")
        environment = {
            "LD_PRELOAD": libraries[0], "FAKETIME_TIMESTAMP_FILE": str(wall), "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1",
        }
        writers, market = Writers(1), {"code": "KEY", "name": "Key", "market_type": "CRYPTO_EXCHANGE", "timezone": "UTC"}
        with Server(folder / "data", environment=environment) as server:
            writers.prepare(server)
            first = keyed(server, "once", market)
            check(first[0] == 201, f"{first}")
            for jump in JUMPS:
                wall.write_text(f"{jump}\n")
                time.sleep(0.2)
                for _ in range(20):
                    check(writers.write(server, 0) == 200, f"a write after {jump}: {writers.odd[-1:]}")
                status, health, took = server.ask("GET", "/health")
                check(status == 200 and took < 1, f"/health after {jump}: {status} {health}")
                again = keyed(server, "once", market)
                check(again[:2] == first[:2] and again[2] == "true", f"the key after {jump}: {again}")
            found = server.ask("GET", "/prices?symbol=LAB&source=faults&limit=1000")[1]
            stamps = [row["recorded_at"] for row in sorted(found, key=lambda row: row["observed_at"])]
            check(stamps == sorted(set(stamps)), "the order of stamps is not the order of commits")
            check(not writers.lost(server), "acknowledged writes are gone")
            check(not any("panicked" in line for line in server.errors), f"{server.errors}")
            code, _ = server.stop()
            check(code == 0, f"it ended with {code}")
        with Server(folder / "data") as server:
            check(not writers.lost(server), "acknowledged writes are gone after a restart with the right clock")
            check(writers.write(server, 0) == 200, "a write after the restart")
            check(keyed(server, "once", market)[2] == "true", "the key after the restart")
        return f"{len(JUMPS)} jumps, {len(writers.acked)} writes in order of their stamps, 0 lost, the key answered the same"
