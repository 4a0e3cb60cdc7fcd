#!/usr/bin/env python3
"""Two queue nodes and a ticket server on real Redis, driven by clients that are not ours.

500 visitors stand in line for 200 seats, 20 at a time, on WebSockets (`websockets`) and by polling (`http.client`).
Tokens are checked with PyJWT against the published keys. What the servers say is compared with what Redis has:
positions with ZRANK, the sessions with ZCARD, the order of admission with the order of joining. On the way sockets
are cut and one node is killed.

Every wait polls for a condition and has a bound; nothing here asserts how long something took, it prints that.
The last line is `N passed, N failed`.
"""

import argparse
import asyncio
import concurrent.futures
import http.client
import itertools
import json
import os
import random
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import jwt
import redis as redis_client
import websockets

EVENT = "acceptance"
ISSUER, AUDIENCE = "usher", "tickets"
LEFT = 20  # leave the line while it is paused, so that positions move
CUT = 40  # sockets that are cut
ONE_BY_ONE = 40  # confirmations whose effect is looked at one at a time
SAMPLES_MIN = 1000
POLL_SECONDS_MAX = 0.5
BOUND_SECONDS = 60
WHOLE_RUN_SECONDS = 240


class Failed(Exception):
    """A wait was over, or a server said what it should not."""


class Report:
    """Counts what held and what did not."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, holds, detail=""):
        if holds:
            self.passed += 1
            print(f"ok    {name}" + (f" ({detail})" if detail else ""), flush=True)
        else:
            self.failed += 1
            print(f"FAIL  {name}: {detail}", flush=True)


# Servers -------------------------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A child with a log of its own, ended by its id."""

    def __init__(self, name, args, folder, env=None):
        self.name, self.log = name, Path(folder) / f"{name}.log"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("USHER_")}
        with self.log.open("w") as out:
            self.child = subprocess.Popen(
                [str(arg) for arg in args],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**clean, **(env or {})},
            )

    def running(self):
        return self.child.poll() is None

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def end(self):
        if self.running():
            self.child.terminate()
            try:
                self.child.wait(25)
            except subprocess.TimeoutExpired:
                self.kill()

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class Node:
    """One of our servers: its process and its two addresses."""

    def __init__(self, name, binary, folder, operator_token, **flags):
        self.name = name
        self.port, self.ops_port = free_port(), free_port()
        args = [binary, f"--listen=127.0.0.1:{self.port}", f"--ops-listen=127.0.0.1:{self.ops_port}"]
        args += [f"--{key.replace('_', '-')}={value}" for key, value in flags.items()]
        self.process = Process(name, args, folder, {"USHER_OPERATOR_TOKEN": operator_token})

    @property
    def alive(self):
        return self.process.running()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


class Redis:
    """A redis-server of our own, without persistence."""

    def __init__(self, name, folder):
        self.port = free_port()
        program = shutil.which("redis-server") or sys.exit("redis-server is missing; `make setup` installs it")
        args = [program, "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = Process(name, [*args, "--dir", folder], folder)
        self.client = redis_client.Redis(port=self.port, decode_responses=True)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def ping(self):
        try:
            return self.client.ping()
        except redis_client.ConnectionError:
            return False


# HTTP ----------------------------------------------------------------------------------------------------------------

THREADS = concurrent.futures.ThreadPoolExecutor(32)


def request_now(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        headers = dict(headers or {})
        if body is not None:
            body, headers["content-type"] = json.dumps(body), "application/json"
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None
    finally:
        connection.close()


async def request(port, method, path, body=None, **headers):
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    return await asyncio.get_running_loop().run_in_executor(THREADS, request_now, port, method, path, body, headers)


async def expect(status, port, method, path, body=None, **headers):
    got, answer = await request(port, method, path, body, **headers)
    if got != status:
        raise Failed(f"{method} {path} answered {got}, not {status}: {answer}")
    return answer


async def until(what, condition, seconds=BOUND_SECONDS):
    """Polls until `condition()` is true; it may say more with a string, which counts as false."""
    end = time.monotonic() + seconds
    while (state := condition()) is not True:
        if time.monotonic() > end:
            raise Failed(f"not within {seconds} s: {what}" + (f" ({state})" if isinstance(state, str) else ""))
        await asyncio.sleep(0.01)


# The system ----------------------------------------------------------------------------------------------------------


class System:
    """Both Redis, two queue nodes, one ticket server."""

    def __init__(self, bin_dir, folder):
        self.token = secrets.token_hex(32)
        self.processes = []
        state = Path(folder) / "state"
        state.mkdir()
        self.queue_redis, self.ticket_redis = Redis("redis-queue", folder), Redis("redis-tickets", folder)
        self.processes += [self.queue_redis.process, self.ticket_redis.process]
        self.bin_dir, self.folder, self.state = Path(bin_dir), folder, state
        self.nodes, self.tickets = [], None

    async def start(self):
        await until("both Redis answer", lambda: bool(self.queue_redis.ping() and self.ticket_redis.ping()))
        common = {"folder": self.folder, "operator_token": self.token, "state_dir": self.state}
        for name in ("queue-a", "queue-b"):
            # One after the other: the first makes the keys in the state folder that both use.
            node = Node(name, self.bin_dir / "queue-server", store=self.queue_redis.url, **common)
            self.nodes.append(node)
            await self.ready(node)
        self.tickets = Node(
            "tickets",
            self.bin_dir / "ticket-server",
            store=self.ticket_redis.url,
            queue=self.queue_redis.url,
            # The node that is not killed.
            jwks=f"{self.nodes[1].url}/.well-known/jwks.json",
            **common,
        )
        await self.ready(self.tickets)

    async def ready(self, node):
        self.processes.append(node.process)
        end = time.monotonic() + BOUND_SECONDS
        while True:
            if not node.alive or time.monotonic() > end:
                raise Failed(f"{node.name} is not ready:\n{node.process.tail()}")
            try:
                status, _ = await request(node.ops_port, "GET", "/readyz")
                if status == 200:
                    return
            except (OSError, http.client.HTTPException, ValueError):
                pass
            await asyncio.sleep(0.05)

    def end(self):
        for process in reversed(self.processes):
            process.end()

    async def operate(self, status, port, method, path, body=None):
        return await expect(status, port, method, path, body, authorization=f"Bearer {self.token}")

    async def order(self, verb):
        """An operator's order, to a node that lives."""
        return await self.operate(200, self.alive()[-1].ops_port, "POST", f"/api/v1/queue/admin/{verb}/{EVENT}")

    def alive(self):
        return [node for node in self.nodes if node.alive]

    def other(self, node):
        """A living node, another one if there is one."""
        others = [each for each in self.alive() if each is not node]
        return others[0] if others else self.alive()[0]

    def key(self, what):
        return "usher:{" + EVENT + "}:" + what

    def rank(self, visitor):
        return self.queue_redis.client.zrank(self.key("waiting"), visitor)

    def ranks(self):
        members = self.queue_redis.client.zrange(self.key("waiting"), 0, -1)
        return {member: rank for rank, member in enumerate(members)}

    async def create(self, capacity, seats):
        rows, per_row = seats // 20, 20
        hall = {
            "name": "Acceptance",
            "startsAt": "2030-06-01T20:00:00.000Z",
            "currency": "EUR",
            "payment": "none",
            "maxSeatsPerVisitor": 4,
            "ticketTypes": [{"ticketTypeId": "std", "name": "Standard", "priceMinor": 4500}],
            "sections": [{"section": "A", "ticketTypeId": "std", "rows": rows, "seatsPerRow": per_row}],
        }
        await self.operate(201, self.tickets.ops_port, "PUT", f"/api/v1/admin/events/{EVENT}", hall)
        policy = {"capacity": capacity, "claimSeconds": 60, "activeTtlSeconds": 600}
        await self.operate(201, self.nodes[0].ops_port, "PUT", f"/api/v1/queue/admin/{EVENT}", policy)


# Visitors ------------------------------------------------------------------------------------------------------------


class Visitor:
    """One in line. `id` is read from Redis after the join: to the visitor it is opaque."""

    def __init__(self, system, number, node):
        self.system, self.number, self.node = system, number, node
        self.id = self.place = self.active = self.ended = self.problem = None
        self.position, self.resumed = None, 0
        self.admitted, self.told = asyncio.Event(), asyncio.Event()

    def take(self, status):
        self.place = status.get("placeToken", self.place)
        if status["status"] == "WAITING":
            self.position = status["position"]
        elif status["status"] == "ACTIVE":
            self.active = status["activeToken"]
            self.admitted.set()
            self.told.set()
        elif status["status"] == "ENDED":
            self.ended = status["reason"]
            self.told.set()

    async def leave(self):
        await expect(204, self.node.port, "POST", f"/api/v1/queue/leave/{EVENT}", x_usher_place=self.place)


class Poller(Visitor):
    """Asks over HTTP."""

    async def join(self):
        self.take(await expect(200, self.node.port, "POST", f"/api/v1/queue/check/{EVENT}"))

    async def ask(self):
        path = f"/api/v1/queue/status/{EVENT}"
        status = await expect(200, self.node.port, "GET", path, x_usher_place=self.place)
        self.take(status)
        return status

    async def wait(self):
        """Polls until admitted, on another node each time."""
        while not self.admitted.is_set() and self.ended is None:
            self.node = self.system.other(self.node)
            try:
                status = await self.ask()
            except (OSError, http.client.HTTPException):
                continue  # That node was killed under us; the next is another.
            except Exception as problem:  # pylint: disable=broad-except
                self.problem = repr(problem)
                return
            await asyncio.sleep(min(status.get("pollAfterMs", 0) / 1000, POLL_SECONDS_MAX))


class Watcher(Visitor):
    """Waits on a WebSocket, and reconnects with the place token to another node when it is lost."""

    async def join(self):
        self.socket = await self.connect()
        await asyncio.wait_for(self.receive(), BOUND_SECONDS)

    async def connect(self):
        url = f"ws://127.0.0.1:{self.node.port}/ws"
        socket_ = await websockets.connect(url, subprotocols=["usher.v1"], ping_interval=None, open_timeout=15)
        data = {"eventId": EVENT} | ({"placeToken": self.place} if self.place else {})
        await socket_.send(json.dumps({"event": "join-queue", "data": data}))
        return socket_

    async def receive(self):
        message = json.loads(await self.socket.recv())
        if message["event"] == "error":
            raise Failed(f"the server said {message['data']}")
        self.take(message["data"])

    async def wait(self):
        """Listens until admitted or ended."""
        while not self.admitted.is_set() and self.ended is None:
            try:
                await self.receive()
            except (websockets.ConnectionClosed, OSError):
                await self.resume()
            except Exception as problem:  # pylint: disable=broad-except
                self.problem = repr(problem)
                return
        await self.socket.close()

    async def resume(self):
        for _ in range(50):
            self.node = self.system.other(self.node)
            try:
                self.socket = await self.connect()
                self.position = None
                await asyncio.wait_for(self.receive(), BOUND_SECONDS)
                self.resumed += 1
                return
            except (OSError, websockets.WebSocketException, asyncio.TimeoutError):
                await asyncio.sleep(0.1)
        raise Failed("no node takes the socket back")

    def cut(self):
        """Ends the connection without a word."""
        self.socket.transport.abort()


# Shopping ------------------------------------------------------------------------------------------------------------


class Shop:
    """Seats, and who has confirmed which."""

    def __init__(self, system, rng):
        self.system, self.rng = system, rng
        self.owners, self.double, self.taken = {}, [], 0

    async def free_seats(self):
        seats = await expect(200, self.system.tickets.port, "GET", f"/api/v1/seats/events/{EVENT}")
        return [seat["seatId"] for seat in seats["seats"] if seat["state"] == "FREE"]

    async def hold(self, visitor):
        """Holds a free seat; None when there is none."""
        while free := await self.free_seats():
            body = {"eventId": EVENT, "seatIds": [self.rng.choice(free)]}
            status, answer = await self.call("POST", "/api/v1/seats/reserve", visitor, body)
            if status == 201:
                return answer
            if status != 409 or answer["code"] != "SEAT_TAKEN":
                raise Failed(f"reserve answered {status}: {answer}")
            self.taken += 1
        return None

    async def confirm(self, visitor, reservation):
        path = f"/api/v1/reservations/{reservation['reservationId']}/confirm"
        status, answer = await self.call("POST", path, visitor)
        if status != 200 or answer["state"] != "CONFIRMED":
            raise Failed(f"confirm answered {status}: {answer}")
        for seat in answer["seatIds"]:
            if seat in self.owners:
                self.double.append(seat)
            self.owners[seat] = visitor.id

    async def call(self, method, path, visitor, body=None):
        return await request(self.system.tickets.port, method, path, body, authorization=f"Bearer {visitor.active}")

    async def visit(self, visitor):
        """What an admitted visitor does; the dwell gives the sampler something to see."""
        await asyncio.sleep(self.rng.uniform(0.1, 0.5))
        if reservation := await self.hold(visitor):
            await self.confirm(visitor, reservation)
        else:
            path, bearer = f"/api/v1/queue/release/{EVENT}", f"Bearer {visitor.active}"
            await expect(204, self.system.alive()[-1].port, "POST", path, authorization=bearer)


class Sampler:
    """Looks at the line in Redis again and again: how many are active, and whether anybody was let past the head."""

    def __init__(self, system, order):
        self.system, self.order = system, order
        self.samples, self.active_max, self.overtaken, self.stopping = 0, 0, [], False

    async def run(self):
        client, key = self.system.queue_redis.client, self.system.key
        while not self.stopping or self.samples < SAMPLES_MIN:
            pipe = client.pipeline(transaction=True)
            pipe.zcard(key("active")).zrange(key("active"), 0, -1).zrange(key("waiting"), 0, 0)
            count, active, head = pipe.execute()
            self.samples += 1
            self.active_max = max(self.active_max, count)
            if head:
                ahead = self.order[head[0]]
                self.overtaken += [member for member in active if self.order[member] > ahead]
            await asyncio.sleep(0.005)


# The run -------------------------------------------------------------------------------------------------------------


class Run:
    """The phases, in order; each leaves the line in a state the next one takes up."""

    def __init__(self, system, report, args):
        self.system, self.report, self.args = system, report, args
        self.rng = random.Random(args.seed)
        self.shop = Shop(system, self.rng)
        self.visitors, self.order, self.waits = [], {}, []

    def waiters(self):
        return [visitor for visitor in self.visitors if not visitor.admitted.is_set() and visitor.ended is None]

    async def everything(self):
        await self.join()
        await self.leave_some()
        await self.cut_sockets()
        sampler = Sampler(self.system, self.order)
        sampling = asyncio.create_task(sampler.run())
        await self.open()
        await self.confirm_one_by_one()
        await self.kill_node()
        await self.sell_out()
        sampler.stopping = True
        await asyncio.wait_for(sampling, BOUND_SECONDS)
        self.after(sampler)
        await self.seats_at_the_end()

    async def join(self):
        """One after the other, on both nodes in turn; paused, so that all of them wait."""
        await self.system.create(self.args.capacity, self.args.seats)
        await self.system.order("pause")
        for number, node in zip(range(self.args.visitors), itertools.cycle(self.system.nodes)):
            kind = Poller if number % 5 == 4 else Watcher
            visitor = kind(self.system, number, node)
            await visitor.join()
            # The line is paused and nobody else joins: the last of the line is this visitor.
            (visitor.id,) = self.system.queue_redis.client.zrange(self.system.key("waiting"), -1, -1)
            self.order[visitor.id] = number
            self.visitors.append(visitor)
        self.waits = [asyncio.create_task(each.wait()) for each in self.visitors if isinstance(each, Watcher)]
        line = self.system.queue_redis.client.zrange(self.system.key("waiting"), 0, -1)
        expected = [visitor.id for visitor in self.visitors]
        self.report.check("the line has everybody once, in the order of joining", line == expected, f"{len(line)} wait")

    def wrong_positions(self, visitors):
        ranks = self.system.ranks()
        return [each for each in visitors if each.position is None or each.position != ranks.get(each.id, -1) + 1]

    async def positions_settle(self, visitors):
        """Pushes come within seconds of a change; with the line paused they must settle on ZRANK + 1."""
        said = lambda: not (wrong := self.wrong_positions(visitors)) or f"{len(wrong)} differ"
        try:
            await until("positions equal ZRANK + 1", said)
        except Failed:
            pass
        return self.wrong_positions(visitors)

    async def leave_some(self):
        watchers = [each for each in self.visitors if isinstance(each, Watcher)]
        wrong = await self.positions_settle(watchers)
        name = "pushed positions equal ZRANK + 1 while the line is paused"
        self.report.check(name, not wrong, f"{len(watchers)} sockets, {len(wrong)} differ")
        leavers = self.rng.sample(self.visitors[: self.args.visitors // 2], LEFT)
        for visitor in leavers:
            await visitor.leave()
            del self.order[visitor.id]
        await until("who left is told so", lambda: all(each.ended for each in leavers if isinstance(each, Watcher)))
        self.visitors = [each for each in self.visitors if each not in leavers]
        watchers = [each for each in self.visitors if isinstance(each, Watcher)]
        wrong = await self.positions_settle(watchers)
        self.report.check(f"they follow when {LEFT} leave", not wrong, f"{len(watchers)} sockets, {len(wrong)} differ")
        pollers = [each for each in self.visitors if isinstance(each, Poller)]
        for visitor in pollers:
            await visitor.ask()
        wrong = self.wrong_positions(pollers)
        self.report.check("polled positions are exact at once", not wrong, f"{len(pollers)} pollers, {len(wrong)} differ")

    async def cut_sockets(self):
        watchers = [each for each in self.visitors if isinstance(each, Watcher)]
        victims = self.rng.sample(watchers, CUT)
        before = {each.id: self.system.rank(each.id) for each in victims}
        nodes = {each.id: each.node for each in victims}
        for visitor in victims:
            visitor.cut()
        await until("cut sockets are back", lambda: all(each.resumed for each in victims))
        wrong = await self.positions_settle(victims)
        kept = all(self.system.rank(each.id) == before[each.id] for each in victims)
        moved = all(each.node is not nodes[each.id] for each in victims)
        detail = f"{CUT} cut, {len(wrong)} differ"
        self.report.check("cut sockets keep their place on the other node", kept and moved and not wrong, detail)

    async def open(self):
        """Resumes, and checks the first tokens with PyJWT."""
        await self.system.order("resume")
        first = self.visitors[: self.args.capacity]
        pollers = [each for each in self.visitors if isinstance(each, Poller)]
        self.waits += [asyncio.create_task(each.wait()) for each in pollers]
        await until("the first are let in", lambda: all(each.admitted.is_set() for each in first))
        admitted = [each for each in self.visitors if each.admitted.is_set()]
        self.report.check("exactly the first are let in", admitted == first, f"{len(admitted)} of {self.args.capacity}")
        document = await expect(200, self.system.nodes[0].port, "GET", "/.well-known/jwks.json")
        self.keys = {each.key_id: each for each in jwt.PyJWKSet.from_dict(document).keys}
        problems = [problem for each in first if (problem := self.token_problem(each))]
        self.report.check("PyJWT accepts their tokens", not problems, "; ".join(problems[:3]))

    def token_problem(self, visitor):
        """None if the active token is what the contract says, else what is wrong."""
        try:
            header = jwt.get_unverified_header(visitor.active)
            claims = jwt.decode(
                visitor.active,
                self.keys[header["kid"]].key,
                algorithms=["EdDSA"],
                issuer=ISSUER,
                audience=AUDIENCE,
                leeway=5,
                options={"require": ["exp", "iat", "nbf", "iss", "aud", "sub", "jti"]},
            )
        except (jwt.PyJWTError, KeyError) as problem:
            return repr(problem)
        said = (header.get("typ"), claims["sub"], claims.get("evt"), "seq" in claims)
        expected = ("active+jwt", visitor.id, EVENT, True)
        return None if said == expected else f"{said} instead of {expected}"

    async def confirm_one_by_one(self):
        """With every slot taken, one confirmation makes room for exactly the next in line."""
        times, wrong = [], []
        for step in range(ONE_BY_ONE):
            buyer = self.visitors[step]
            following = self.visitors[step + self.args.capacity]
            reservation = await self.shop.hold(buyer)
            await self.shop.confirm(buyer, reservation)
            confirmed = time.monotonic()
            await until("the next is let in", lambda each=following: self.system.rank(each.id) is None)
            times.append(time.monotonic() - confirmed)
            await until("and is told", following.admitted.is_set)
            admitted = [each.number for each in self.visitors if each.admitted.is_set()]
            if admitted != [each.number for each in self.visitors[: step + self.args.capacity + 1]]:
                wrong.append(step)
        times.sort()
        p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
        detail = f"{ONE_BY_ONE} times, until admitted: p50 {statistics.median(times) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"
        self.report.check("each confirmation lets the next in, and nobody else", not wrong, detail)

    async def kill_node(self):
        """SIGKILL, while the line is paused so that positions can be compared; then everybody goes on elsewhere."""
        await self.system.order("pause")
        node = self.system.nodes[0]
        there = [each for each in self.waiters() if isinstance(each, Watcher) and each.node is node]
        waiting = self.system.ranks()
        resumed = {each.id: each.resumed for each in there}
        node.process.kill()
        await until("its sockets are taken back", lambda: all(each.resumed > resumed[each.id] for each in there))
        wrong = await self.positions_settle([each for each in self.waiters() if isinstance(each, Watcher)])
        same = self.system.ranks() == waiting
        detail = f"{len(there)} sockets moved, {len(waiting)} wait, {len(wrong)} differ"
        self.report.check("a killed node loses nobody and no place", same and there and not wrong, detail)
        await self.system.order("resume")

    async def sell_out(self):
        """Everybody who is let in buys, until nothing is left."""
        done = self.visitors[:ONE_BY_ONE]

        async def life(visitor):
            await visitor.told.wait()
            if visitor.admitted.is_set():
                await self.shop.visit(visitor)

        rest = [asyncio.create_task(life(each)) for each in self.visitors if each not in done]
        finished, unfinished = await asyncio.wait(rest, timeout=WHOLE_RUN_SECONDS / 2)
        for task in unfinished:
            task.cancel()
        problems = [repr(task.exception()) for task in finished if task.exception()]
        problems += [each.problem for each in self.visitors if each.problem]
        self.report.check("nobody meets an error", not problems, "; ".join(problems[:3]))
        sold_out = [each for each in self.visitors if not each.admitted.is_set() and each.ended == "SOLD_OUT"]
        lost = [each.number for each in self.visitors if not each.admitted.is_set() and each not in sold_out]
        detail = f"{len(self.visitors) - len(sold_out) - len(lost)} let in, {len(sold_out)} told that it is sold out, " \
            f"{len(lost)} neither, {len(unfinished)} not done"
        self.report.check("everybody is let in and gets done, or is told that it is sold out", not lost and not unfinished, detail)
        self.report.check("nobody waits on for what is sold", bool(sold_out), detail)
        problems = [problem for each in self.visitors if each.active and (problem := self.token_problem(each))]
        self.report.check("every token names its visitor", not problems, "; ".join(problems[:3]))

    def after(self, sampler):
        name, detail = f"Active is never over {self.args.capacity}", f"{sampler.active_max} in {sampler.samples} samples"
        self.report.check(name, sampler.active_max <= self.args.capacity, detail)
        detail = f"{len(sampler.overtaken)} times"
        self.report.check("nobody is let in before somebody who joined earlier", not sampler.overtaken, detail)

    async def seats_at_the_end(self):
        seats = await expect(200, self.system.tickets.port, "GET", f"/api/v1/seats/events/{EVENT}")
        sold = {seat["seatId"] for seat in seats["seats"] if seat["state"] == "SOLD"}
        detail = f"{len(self.shop.owners)} booked, {len(sold)} sold on the map, {self.shop.taken} times taken meanwhile"
        twice = bool(self.shop.double) or len(set(self.shop.owners.values())) != len(self.shop.owners)
        self.report.check("no seat is sold twice", not twice, f"twice: {self.shop.double}" if twice else detail)
        all_sold = sold == set(self.shop.owners) and len(sold) == self.args.seats
        self.report.check("all seats are sold, as they were confirmed", all_sold, detail)
        card = self.system.queue_redis.client.zcard
        empty = lambda: card(self.system.key("active")) == 0 and card(self.system.key("waiting")) == 0
        try:
            await until("the line and the shop are empty", empty)
        except Failed:
            pass
        detail = f"{card(self.system.key('waiting'))} waiting, {card(self.system.key('active'))} active"
        self.report.check("the line and the shop are empty", empty(), detail)


async def main(args):
    report = Report()
    with tempfile.TemporaryDirectory(prefix="usher-acceptance-") as folder:
        system = System(args.bin_dir, folder)
        try:
            await system.start()
            await asyncio.wait_for(Run(system, report, args).everything(), WHOLE_RUN_SECONDS)
        except Exception as problem:  # pylint: disable=broad-except
            if not isinstance(problem, Failed):
                traceback.print_exc()
            report.check("the script runs to its end", False, repr(problem))
        finally:
            if report.failed:
                for process in system.processes:
                    print(f"-- the last of {process.name}:\n{process.tail()}", flush=True)
            system.end()
    print(f"{report.passed} passed, {report.failed} failed", flush=True)
    return 1 if report.failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default="target/debug", help="where queue-server and ticket-server are")
    parser.add_argument("--visitors", type=int, default=500)
    parser.add_argument("--capacity", type=int, default=20)
    parser.add_argument("--seats", type=int, default=200, help="a multiple of 20")
    parser.add_argument("--seed", type=int, default=1)
    code = asyncio.run(main(parser.parse_args()))
    sys.stdout.flush()
    # Threads of requests that were cut off by a failure must not hold the end up.
    os._exit(code)
