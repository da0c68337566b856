"""What the fault tests share: the program as a process, its API, and file systems of their own."""

import contextlib
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("ARTIFACT_BINARY", ROOT / "target/debug/artifact"))
PATIENCE = 40


class Broken(Exception):
    """What was promised does not hold."""


def check(holds, what):
    if not holds:
        raise Broken(what)


def run(*command, ok=True, **how):
    """Runs a program to its end; its result."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, **how)
    if ok and done.returncode != 0:
        raise Broken(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def artifact(*arguments, data, ok=True, environment=None):
    environment = {"PATH": os.environ["PATH"], "TMPDIR": tempfile.gettempdir(), **(environment or {})}
    return run(BINARY, *arguments, "--data", data, ok=ok, env=environment)


@contextlib.contextmanager
def scratch():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="artifact-faults-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Disk:
    """A file system of its own: `tmpfs`, or ext4 in a file."""

    def __init__(self, folder, kind, megabytes):
        self.point, self.kind = folder / "disk", kind
        self.point.mkdir()
        self.image = folder / "image"
        self.megabytes = megabytes
        if kind == "ext4":
            with open(self.image, "wb") as image:
                image.truncate(megabytes << 20)
            run("mkfs.ext4", "-q", "-F", "-m", "0", self.image)

    def mount(self, options="rw"):
        if self.kind == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", f"size={self.megabytes}m,{options}", "tmpfs", self.point)
        else:
            run("mount", "-o", f"loop,{options}", self.image, self.point)

    def unmount(self):
        for _ in range(50):
            if run("umount", self.point, ok=False).returncode == 0:
                return
            time.sleep(0.1)
        run("umount", "-l", self.point, ok=False)

    def __enter__(self):
        self.mount()
        return self

    def __exit__(self, *_):
        self.unmount()


class Server:
    """The running service. `before` stands in front of its command line."""

    def __init__(self, data, before=(), environment=None):
        self.data, self.lines, self.errors = data, [], []
        command = [*map(str, before), str(BINARY), "serve", "--open-loopback", "--listen", "127.0.0.1:0", "--data", str(data)]
        environment = {"PATH": os.environ["PATH"], "TMPDIR": tempfile.gettempdir(), **(environment or {})}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for pipe, lines in ((self.process.stdout, self.lines), (self.process.stderr, self.errors)):
            threading.Thread(target=self._keep, args=(pipe, lines), daemon=True).start()
        self.address = None

    @staticmethod
    def _keep(pipe, lines):
        for line in pipe:
            lines.append(line.rstrip())

    def up(self):
        """Waits until it listens."""
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE:
            for line in list(self.lines):
                if "listening on http://" in line:
                    self.address = line.split("http://")[1].split()[0]
                    self.took = time.monotonic() - began
                    return self
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        raise Broken(f"it did not come up: {self.lines} {self.errors[-5:]}")

    def pid(self):
        """The process itself, also when something runs it."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else self.process.pid

    def ask(self, method, path, body=None, timeout=20):
        """Status, body and seconds of an answer; status 0 when there is none."""
        began = time.monotonic()
        host, port = self.address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        try:
            headers = {"content-type": "application/json"} if body is not None else {}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            kind = answer.headers.get("content-type", "")
            return answer.status, (json.loads(text) if "json" in kind and text else text), time.monotonic() - began
        except (OSError, http.client.HTTPException):
            return 0, None, time.monotonic() - began
        finally:
            connection.close()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid(), signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self):
        """Asks it to end; the exit code and the seconds it took."""
        began = time.monotonic()
        os.kill(self.pid(), signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        return code, time.monotonic() - began

    def __enter__(self):
        return self.up()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()


class Writers:
    """Clients that record prices, each at moments of its own, and know which of them were acknowledged. With `queued`
    every other client puts them into the queue."""

    def __init__(self, count=4, queued=False):
        self.count, self.queued, self.next = count, queued, [0] * count
        self.acked, self.unknown, self.refused, self.odd = {}, {}, {}, []
        self.times, self.when = [], {}
        self.lock, self.stop = threading.Lock(), threading.Event()

    def prepare(self, server):
        market = {"code": "LAB", "name": "Lab", "market_type": "CRYPTO_EXCHANGE", "timezone": "UTC"}
        check(server.ask("POST", "/markets", market)[0] == 201, "a market")
        asset = {"symbol": "LAB", "name": "Lab", "asset_type": "CRYPTOCURRENCY", "market_code": "LAB"}
        check(server.ask("POST", "/assets", asset)[0] == 201, "an asset")

    def write(self, server, number):
        """One write; its status."""
        at = self.next[number]
        self.next[number] += 1
        seconds = number * 2_000_000 + at
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000 + seconds))
        price = f"{random.randrange(1, 10**6)}.{random.randrange(100):02}"
        body = {"symbol": "LAB", "price": price, "timestamp": moment, "source": "faults"}
        if self.queued and number % 2:
            status, answer, took = server.ask("POST", "/ingest/queue", [body])
        else:
            status, answer, took = server.ask("POST", "/prices", body)
        with self.lock:
            if status in (200, 202):
                self.acked[moment] = price
                self.times.append(took)
                self.when[moment] = time.monotonic()
            elif status in (503, 507):
                self.refused[moment] = (price, status, answer)
                if not isinstance(answer, dict) or "code" not in answer:
                    self.odd.append((status, answer))
            elif status == 0:
                self.unknown[moment] = price
            else:
                self.odd.append((status, answer))
        return status

    def start(self, server):
        self.stop.clear()

        def work(number):
            while not self.stop.is_set() and self.write(server, number) != 0:
                pass

        self.threads = [threading.Thread(target=work, args=(number,)) for number in range(self.count)]
        for thread in self.threads:
            thread.start()

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def there(self, server):
        """Every price the service has, once its queue is empty: moment to values."""
        began = time.monotonic()
        while self.queued and server.ask("GET", "/ingest/queue")[1]["depth"]:
            check(time.monotonic() - began < 10, "the queue is not empty 10 s after the start")
            time.sleep(0.02)
        found, path = {}, "/prices?symbol=LAB&source=faults&limit=10000"
        host, port = server.address.rsplit(":", 1)
        while path:
            connection = http.client.HTTPConnection(host, int(port), timeout=60)
            connection.request("GET", path)
            answer = connection.getresponse()
            rows = json.loads(answer.read())
            check(answer.status == 200, f"{path}: {answer.status} {rows}")
            for row in rows:
                found.setdefault(row["observed_at"].replace(".000000Z", "Z"), []).append(row["price"])
            link = answer.headers.get("link")
            path = link.split("<")[1].split(">")[0] if link else None
            connection.close()
        return found

    def lost(self, server, acked=None):
        """Acknowledged prices that are not there, or are there twice or with another value."""
        found = self.there(server)
        wrong = [at for at, price in (self.acked if acked is None else acked).items() if found.get(at) != [price]]
        for at in found:
            check(at in self.acked or at in self.unknown or at in self.refused, f"nobody sent {at}")
        return wrong


def p99(times):
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] if ordered else float("nan")
