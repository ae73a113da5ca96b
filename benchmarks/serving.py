"""How fast ``fergan serve`` is: ``python -m benchmarks.serving`` prints a Markdown table.

The server runs in a process of its own and is asked through its REST API, as TensorFlow Serving would be. The clients
share its cores: they are coroutines of one process with open connections and bodies that were made beforehand, and
look at nothing of an answer but its status, so that most of the time is the server's. A real client of the same machine
would also have to make its JSON.

Measured: the highest throughput (each client asks again as soon as it is answered); latencies at half of it and at half
of the goal of 800 faces/s (requests come at random times, independent of the answers; time waited for a free connection
counts); and the memory of the server before and after many small requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

import numpy as np

GOAL = 800


@dataclass
class Client:
    """One connection that is kept open."""

    host: str
    port: int
    reader: asyncio.StreamReader = field(init=False)
    writer: asyncio.StreamWriter = field(init=False)

    async def connect(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        return self

    async def ask(self, request: bytes) -> None:
        """Send a request and wait for its answer, which must be 200."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length is not None
        body = await self.reader.readexactly(int(length[1]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{head.decode()}{body[:300].decode()}")


def request_of(faces: np.ndarray, host: str, port: int) -> bytes:
    """An HTTP request with the pixels of uint8 [N, 48, 48] as floats in JSON."""
    body = json.dumps({"signature_name": "serving_default", "instances": faces[..., None].astype(float).tolist()})
    head = f"POST /v1/models/fer:predict HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def flat_out(clients: list[Client], requests: list[bytes], seconds: float) -> tuple[float, list[float]]:
    """Requests a second, and how long each took."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def go(client: Client, index: int) -> None:
        while (started := time.perf_counter()) < end:
            await client.ask(requests[index % len(requests)])
            latencies.append(time.perf_counter() - started)
            index += len(clients)

    started = time.perf_counter()
    await asyncio.gather(*(go(client, index) for index, client in enumerate(clients)))
    return len(latencies) / (time.perf_counter() - started), latencies


async def paced(clients: list[Client], requests: list[bytes], rate: float, seconds: float) -> list[float]:
    """How long requests took that came at random times, ``rate`` a second."""
    rng = random.Random(0)
    free: asyncio.Queue[Client] = asyncio.Queue()
    for client in clients:
        free.put_nowait(client)
    latencies: list[float] = []

    async def go(due: float, index: int) -> None:
        client = await free.get()
        await client.ask(requests[index % len(requests)])
        latencies.append(time.perf_counter() - due)
        free.put_nowait(client)

    tasks, due = [], time.perf_counter()
    end = due + seconds
    while due < end:
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(go(due, len(tasks))))
        due += rng.expovariate(rate)
    await asyncio.gather(*tasks)
    return latencies


async def many(clients: list[Client], request: bytes, count: int) -> float:
    """Seconds that ``count`` requests took, all clients at once."""
    left = count

    async def go(client: Client) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await client.ask(request)

    started = time.perf_counter()
    await asyncio.gather(*(go(client) for client in clients))
    return time.perf_counter() - started


def memory(pid: int) -> float:
    """Resident memory of a process in MiB."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def milliseconds(latencies: list[float]) -> str:
    cuts = statistics.quantiles(latencies, n=100)
    return f"p50 {1000 * cuts[49]:.0f} ms, p99 {1000 * cuts[98]:.0f} ms ({len(latencies)} requests)"


async def measure(host: str, port: int, pid: int, options: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (4, options.batch, 48, 48), np.uint8)
    requests = [request_of(part, host, port) for part in faces]
    clients = [await Client(host, port).connect() for _ in range(options.clients)]
    await flat_out(clients, requests, 2)  # warm
    print(
        f"{options.clients} clients, batches of {options.batch} faces ({len(requests[0]) / 1000:.0f} kB of JSON), ",
        end="",
    )
    print(f"{platform.processor() or platform.machine()}\n\n| | |\n|---|---|", flush=True)
    rate, latencies = await flat_out(clients, requests, options.seconds)
    print(f"| flat out | {rate * options.batch:.0f} faces/s, {milliseconds(latencies)} |", flush=True)
    for name, faces_a_second in (("half of that", rate * options.batch / 2), ("half of the goal", GOAL / 2)):
        latencies = await paced(clients, requests, faces_a_second / options.batch, options.seconds)
        print(f"| {name}: {faces_a_second:.0f} faces/s | {milliseconds(latencies)} |", flush=True)
    small = request_of(faces[0, :1], host, port)
    await many(clients, small, 500)
    steps, total = 4, 0.0
    sizes = [memory(pid)]
    for _ in range(steps):
        total += await many(clients, small, options.requests // steps)
        sizes.append(memory(pid))
    print(f"| {options.requests} requests of one face | {options.requests / total:.0f} requests/s |")
    print(f"| memory before, and after each quarter of them | {', '.join(f'{size:.0f}' for size in sizes)} MiB |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15, help="of each measurement")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16, help="faces in a request")
    parser.add_argument("--requests", type=int, default=2000, help="small requests of the memory measurement")
    parser.add_argument("--serve", default="", help="more options for fergan serve, as one string")
    options = parser.parse_args()
    command = [sys.executable, "-m", "fergan", "serve", "--port", "0", *options.serve.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = re.search(r"http://([^:/]+):(\d+)", server.stdout.readline())
            if url is None:
                sys.exit("the server did not start")
            asyncio.run(measure(url[1], int(url[2]), server.pid, options))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
