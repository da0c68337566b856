#!/usr/bin/env python3
"""Rows I5, I6 and I7 with their full numbers: slow clients of seven kinds, idle connections, and eight busy clients.

Starts the program that is named on a free loopback port with data of its own, lets 500 clients of each kind be slow at
it at once, then opens 10,000 connections that say nothing; meanwhile it asks for health and posts prices. At last eight
clients read and write without a pause. It prints a table and fails when a figure is worse than the bar. Nothing but
Python's standard library.
"""

import asyncio
import json
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import time

EACH, IDLE = 500, 10_000
GONE, HEALTHY, RESIDENT = 35.0, 1.0, 512
WORKERS, BUSY, ANSWERED = 8, 15.0, 0.5


def resident_mib(process):
    for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


class Service:
    def __init__(self, program, folder):
        command = [program, "serve", "--open-loopback", "--listen", "127.0.0.1:0", "--data", folder + "/data"]
        log = open(folder + "/log", "wb")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        for line in self.process.stdout:
            if "listening on http://" in line:
                host, port = line.split("http://")[1].split()[0].rsplit(":", 1)
                self.place = (host, int(port))
                return
        raise SystemExit("the service did not start")

    async def ask(self, method, path, body=None):
        """Status, seconds and body of one request on a connection of its own."""
        started = time.monotonic()
        reader, writer = await asyncio.open_connection(*self.place)
        payload = json.dumps(body).encode() if body is not None else b""
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
        writer.write(head.encode() + payload)
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return int(answer.split(b" ", 2)[1]), time.monotonic() - started, answer.split(b"\r\n\r\n", 1)[1]


async def prepare(service):
    market = {"code": "COMEX", "name": "COMEX", "market_type": "COMMODITIES_EXCHANGE", "timezone": "UTC"}
    asset = {"symbol": "GOLD", "name": "Gold", "asset_type": "COMMODITY", "market_code": "COMEX"}
    for path, body in (("/markets", market), ("/assets", asset)):
        status, _, _ = await service.ask("POST", path, body)
        if status not in (200, 201):
            raise SystemExit(f"{path}: {status}")


async def drip(service, first, byte):
    """Seconds until the service ends the connection."""
    reader, writer = await asyncio.open_connection(*service.place)
    started = time.monotonic()
    writer.write(first)
    try:
        while True:
            try:
                if not await asyncio.wait_for(reader.read(65536), 1):
                    break
            except asyncio.TimeoutError:
                if byte:
                    writer.write(byte)
    except OSError:
        pass
    writer.close()
    return time.monotonic() - started


async def read_slowly(service):
    """The same for one who asks for much and takes a byte a second of it."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, service.place)
    started = time.monotonic()
    await loop.sock_sendall(raw, b"GET /docs/ui/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n" * 6)
    try:
        while True:
            await asyncio.sleep(1)
            # Whether the other end is still there, without taking what it sent.
            info = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
            if info[0] != 1:  # no longer ESTABLISHED
                break
            raw.recv(1)
    except (BlockingIOError, OSError):
        pass
    raw.close()
    return time.monotonic() - started


async def watch(service, seen, stop):
    """Asks for health and posts a price, again and again."""
    while not stop.is_set():
        status, seconds, health = await service.ask("GET", "/health")
        seen["health"].append(seconds)
        price = await service.ask("POST", "/prices", {"symbol": "GOLD", "price": "4001"})
        seen["failed"] += [body.decode() for status, body in ((status, health), (price[0], price[2])) if status != 200]
        seen["resident"] = max(seen["resident"], resident_mib(service.process.pid))
        await asyncio.sleep(0.05)


async def watched(service, work):
    seen, stop = {"health": [], "failed": [], "resident": 0}, asyncio.Event()
    watching = asyncio.create_task(watch(service, seen, stop))
    result = await work
    stop.set()
    await watching
    times = sorted(seen["health"])
    seen["p99"] = times[min(len(times) - 1, int(len(times) * 0.99))]
    return result, seen


async def slow(service):
    head = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n"
    body = b"POST /prices HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 900000\r\n\r\n{"
    kinds = {
        "header drip": lambda: drip(service, head + b"x-slow: ", b"a"),
        "body drip": lambda: drip(service, body, b" "),
        "stream drip": lambda: drip(service, body.replace(b"/prices", b"/prices/stream").replace(b"/json", b"/x-ndjson"), b"\n"),
        "slow read": lambda: read_slowly(service),
        "idle": lambda: drip(service, b"", b""),
        "keep-alive": lambda: drip(service, head + b"\r\n", b""),
        "one byte": lambda: drip(service, b"G", b""),
    }
    tasks = {name: [asyncio.create_task(kind()) for _ in range(EACH)] for name, kind in kinds.items()}
    return {name: max(await asyncio.gather(*those)) for name, those in tasks.items()}


async def idle(service):
    held = []
    for _ in range(IDLE):
        held.append(await asyncio.open_connection(*service.place))
    await asyncio.sleep(5)
    for _, writer in held:
        writer.close()
    return len(held)


async def work(service, number, until, times, failed):
    """One client on one connection, that writes and reads until it is over."""
    reader, writer = await asyncio.open_connection(*service.place)

    async def ask(method, path, body=None):
        started, payload = time.monotonic(), json.dumps(body).encode() if body is not None else b""
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(payload)}\r\n\r\n".encode() + payload)
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).decode().lower()
        length = next(int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length:"))
        answer = await reader.readexactly(length)
        times.append(time.monotonic() - started)
        status = int(head.split(" ", 2)[1])
        if status not in (200, 201):
            failed.append(f"{method} {path}: {status} {answer[:200]!r}")
        return json.loads(answer)

    portfolio = await ask("POST", "/portfolios", {"name": f"busy {number}", "owner_id": "busy", "initial_capital": "1000000000"})
    base, count = f"/portfolios/{portfolio['id']}", 0
    while time.monotonic() < until:
        count += 1
        price = {"symbol": "GOLD", "price": f"{4000 + count}.5", "timestamp": f"2026-01-{number + 1:02}T00:00:00.{count:06}Z"}
        await ask("POST", "/prices", price)
        trade = {"type": "buy", "symbol": "GOLD", "quantity": "1", "price": "4000", "executed_at": price["timestamp"]}
        await ask("POST", f"{base}/transactions", trade)
        await ask("GET", base)
        await ask("GET", f"{base}/pnl")
    writer.close()


async def busy(service):
    times, failed, until = [], [], time.monotonic() + BUSY
    await asyncio.gather(*(work(service, number, until, times, failed) for number in range(WORKERS)))
    return sorted(times), failed


async def run(program, folder):
    service = Service(program, folder)
    try:
        await prepare(service)
        before = resident_mib(service.process.pid)
        ended, during = await watched(service, slow(service))
        for name, seconds in ended.items():
            print(f"{EACH} x {name:12} all ended after {seconds:5.1f} s")
        opened, meanwhile = await watched(service, idle(service))
        bad = [name for name, seconds in ended.items() if seconds > GONE]
        for what, seen in (("slow clients", during), (f"{opened} idle connections", meanwhile)):
            print(f"{what}: health p99 {seen['p99'] * 1000:.0f} ms of {len(seen['health'])} requests, "
                  f"{len(seen['failed'])} failed, at most {seen['resident']} MiB resident (before: {before})")
            if seen["p99"] > HEALTHY or seen["failed"] or seen["resident"] > RESIDENT:
                bad.append(what)
            for body in seen["failed"][:3]:
                print(f"  failed: {body}")
        times, failed = await busy(service)
        p99 = times[int(len(times) * 0.99)]
        print(f"{WORKERS} busy clients: {len(times)} requests in {BUSY:.0f} s, {len(failed)} failed, p99 {p99 * 1000:.0f} ms")
        if failed or p99 > ANSWERED:
            bad.append(f"{WORKERS} busy clients {failed[:3]}")
        if bad:
            raise SystemExit(f"worse than the bar: {', '.join(bad)}")
    finally:
        service.process.terminate()
        service.process.wait(20)


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: slow_clients.py PROGRAM")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(sys.argv[1], folder))


if __name__ == "__main__":
    main()
