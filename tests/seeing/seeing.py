#!/usr/bin/env python3
"""What the servers show of themselves: metrics, alerts, log lines, and no secret in any of them.

Both servers run at log level trace through the whole life of visitors, good and bad, on Redis with passwords and on
memory. Then every secret that was used is looked for in everything they printed and in their metrics; `promtool`
checks metrics, rules and configuration; the lines of requests must say whom they concern.

Usage: seeing.py --bin-dir target/debug. The last line is `N passed, N failed`.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import jwt
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect as websocket

PROMETHEUS = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
METRICS_PAGE = PROMETHEUS.parents[1] / "docs" / "seeing.md"
EVENT = "seeing"
BOUND_SECONDS = 30
WHOLE_RUN_SECONDS = 240

# Section 8 of the contract.
QUEUE_METRICS = """http_requests_total http_request_duration_seconds waiting active capacity joins_total admissions_total
    releases_total wait_duration_seconds sockets push_lag_seconds store_commands_total store_up""".split()
TICKET_METRICS = """http_requests_total http_request_duration_seconds holds_total bookings_total oversold_total
    ledger_batch_size outbox_lag_seconds""".split()


class Failed(Exception):
    """A wait was over, or a program said what it should not."""


class Report:
    """Counts what held and what did not."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, holds, detail=""):
        self.passed += bool(holds)
        self.failed += not holds
        print(f"{'ok   ' if holds else 'FAIL '} {name}" + (f" ({str(detail)[:2000]})" if detail and not holds else ""), flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, condition):
    end = time.monotonic() + BOUND_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"not within {BOUND_SECONDS} s: {what}")
        time.sleep(0.02)


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.text = response.status, response.headers, response.read().decode()
        with contextlib.suppress(ValueError):
            self.json = json.loads(self.text)


def ask(port, method, path, body=None, **headers):
    """A request; `body` is sent as JSON, or as it is when it is bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND_SECONDS)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        headers.setdefault("content-type", "application/json")
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method, path, body, headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


class Process:
    """A child whose output is kept, ended by its id."""

    def __init__(self, name, args, folder, env=None):
        self.log = Path(folder) / f"{name}.log"
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("USHER_", "RUST_LOG"))}
        with self.log.open("a") as out:
            args = [str(arg) for arg in args]
            self.child = subprocess.Popen(args, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**clean, **(env or {})})

    def end(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(25)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Redis:
    """A redis-server with a password."""

    def __init__(self, name, folder, password):
        self.name, self.folder, self.password, self.port = name, folder, password, free_port()
        self.start()

    def start(self):
        program = shutil.which("redis-server") or sys.exit("redis-server is missing; `make setup` installs it")
        args = [program, "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = Process(self.name, [*args, "--requirepass", self.password, "--dir", self.folder], self.folder)

    @property
    def url(self):
        return f"redis://:{self.password}@127.0.0.1:{self.port}"


class Server:
    def __init__(self, name, bin_dir, folder, env, **flags):
        self.name, self.port, self.ops_port = name, free_port(), free_port()
        args = [Path(bin_dir) / name, f"--listen=127.0.0.1:{self.port}", f"--ops-listen=127.0.0.1:{self.ops_port}"]
        args += [f"--{key.replace('_', '-')}={value}" for key, value in flags.items()]
        self.process = Process(name, [*args, "--log=trace"], folder, env)
        until(f"{name} is ready", self.ready)

    def ready(self):
        if self.process.child.poll() is not None:
            raise Failed(f"{self.name} has ended:\n{self.process.log.read_text()[-2000:]}")
        try:
            return ask(self.ops_port, "GET", "/readyz").status == 200
        except OSError:
            return False

    def metrics(self):
        return ask(self.ops_port, "GET", "/metrics").text

    def lines(self):
        return self.process.log.read_text(errors="replace").splitlines()


class Scene:
    """Two servers and everything that is secret about them."""

    def __init__(self, report, name, folder):
        self.report, self.name, self.folder, self.secrets = report, name, Path(folder), {}
        self.processes, self.stores, self.place, self.active, self.users = [], [], None, None, None

    def check(self, name, holds, detail=""):
        self.report.check(f"{self.name}: {name}", holds, detail)

    def secret(self, name, value=None):
        """Makes or takes a secret that must not be shown."""
        value = value or f"{secrets.token_urlsafe(40)}"
        self.secrets[value] = name
        return value

    def keep(self, answer):
        """Whatever a status gives out."""
        for field in ("placeToken", "activeToken"):
            if field in answer:
                token = self.secret(field, answer[field])
                # Its parts are as secret, the header of a JWT apart.
                for part in token.split(".")[1:]:
                    if len(part) >= 16:
                        self.secret(f"part of {field}", part)
        self.place = answer.get("placeToken", self.place)
        self.active = answer.get("activeToken", self.active)
        return answer

    def user(self, number, good=True):
        """A user token; the visitor's place goes with it."""
        claims = {"iss": "https://id.example", "aud": "usher" if good else "else", "sub": f"user-{number}"}
        claims |= {"iat": int(time.time()), "exp": int(time.time()) + 600}
        token = self.secret("user token", jwt.encode(claims, self.users, "HS256"))
        self.secret("part of user token", token.rsplit(".", 1)[1])
        return token

    def check_in(self, number):
        """A visitor's first request, with a user token where that is asked for."""
        headers = {"authorization": f"Bearer {self.user(number)}"} if self.users else {}
        return self.keep(ask(self.queue.port, "POST", f"/api/v1/queue/check/{EVENT}", **headers).json)

    def start(self, bin_dir, on_redis, users=False):
        state = self.folder / "state"
        env = {"USHER_OPERATOR_TOKEN": self.secret("operator token")}
        self.operator = env["USHER_OPERATOR_TOKEN"]
        if on_redis:
            env["USHER_PEER_TOKEN"] = self.secret("peer token")
            stores = [Redis(n, self.folder, self.secret(f"password of {n}")) for n in ("redis-queue", "redis-tickets")]
            self.stores = stores
            queue_env = {**env, "USHER_PLACE_SECRET": self.secret("place secret"), "USHER_STORE": stores[0].url}
            ticket_env = {**env, "USHER_STORE": stores[1].url, "USHER_QUEUE": stores[0].url}
            formats = ("json", "text")
        else:
            queue_env, ticket_env, formats = dict(env), dict(env), ("text", "json")
        if users:
            for each in (queue_env, ticket_env):
                each["USHER_USER_HS256"] = self.users = self.users or self.secret("secret of user tokens")
                each |= {"USHER_USER_ISSUER": "https://id.example", "USHER_USER_AUDIENCE": "usher"}
        self.queue = Server("queue-server", bin_dir, self.folder, queue_env, state_dir=state, log_format=formats[0])
        self.processes.append(self.queue.process)
        if not on_redis:
            ticket_env = {**ticket_env, "USHER_QUEUE": f"http://127.0.0.1:{self.queue.ops_port}"}
        jwks = f"http://127.0.0.1:{self.queue.port}/.well-known/jwks.json"
        flags = {"state_dir": state, "log_format": formats[1], "jwks": jwks}
        self.tickets = Server("ticket-server", bin_dir, self.folder, ticket_env, **flags)
        self.processes.append(self.tickets.process)
        # What the servers have made themselves is secret, too.
        for path in state.rglob("*"):
            if path.is_file() and path.stat().st_size < 4096:
                for line in path.read_text(errors="replace").splitlines():
                    if len(line) >= 24 and "-----" not in line:
                        self.secret(f"a line of {path.name}", line)

    def end(self):
        for process in reversed(self.processes):
            process.end()
        for store in self.stores:
            store.process.end()

    def operate(self, server, method, path, body=None):
        return ask(server.ops_port, method, path, body, authorization=f"Bearer {self.operator}")

    # What people do ---------------------------------------------------------------------------------------------------

    def setting_up(self):
        hall = {"name": "Seeing", "startsAt": "2030-06-01T20:00:00.000Z", "currency": "EUR", "payment": "none"}
        hall |= {"maxSeatsPerVisitor": 4, "ticketTypes": [{"ticketTypeId": "std", "name": "Std", "priceMinor": 100}]}
        hall |= {"sections": [{"section": "A", "ticketTypeId": "std", "rows": 2, "seatsPerRow": 10}]}
        made = self.operate(self.tickets, "PUT", f"/api/v1/admin/events/{EVENT}", hall)
        self.check("an event is made", made.status == 201, made.text)
        made = self.operate(self.queue, "PUT", f"/api/v1/queue/admin/{EVENT}", {"capacity": 2, "activeTtlSeconds": 300})
        self.check("a line is made", made.status == 201, made.text)

    def visits(self):
        status = f"/api/v1/queue/status/{EVENT}"
        first = self.check_in(1)
        self.check("the first is admitted", first["status"] == "ACTIVE", first)
        place, active = self.place, self.active
        for headers in ({"x_usher_place": place}, {"authorization": f"Bearer {place}"}, {"cookie": f"usher_place.{EVENT}={place}"}):
            self.keep(ask(self.queue.port, "GET", status, **headers).json)
        verify = f"/api/v1/queue/verify?event={EVENT}"
        passed = ask(self.queue.port, "GET", verify, authorization=f"Bearer {active}")
        self.visitor = passed.headers["x-usher-visitor"]
        self.trace = passed.headers["x-trace-id"]
        ask(self.queue.port, "GET", verify, cookie=f"usher_active.{EVENT}={active}; usher_place.{EVENT}={place}")
        self.books(active)
        second = self.check_in(2)
        ask(self.queue.port, "POST", f"/api/v1/queue/release/{EVENT}", authorization=f"Bearer {second['activeToken']}")
        for number in range(3, 6):
            self.check_in(number)
        ask(self.queue.port, "POST", f"/api/v1/queue/leave/{EVENT}", x_usher_place=self.place)

    def books(self, active):
        bearer = {"authorization": f"Bearer {active}"}
        self.origin = f"http://127.0.0.1:{self.tickets.port}"
        by_cookie = {"cookie": f"usher_active.{EVENT}={active}", "origin": self.origin}
        wish = {"eventId": EVENT, "seatIds": ["A-1-1"]}
        self.far_trace = secrets.token_hex(16)
        traceparent = f"00-{self.far_trace}-{secrets.token_hex(8)}-01"
        held = ask(self.tickets.port, "POST", "/api/v1/seats/reserve", wish, traceparent=traceparent, **bearer)
        self.check("the caller's trace is continued", held.headers["x-trace-id"] == self.far_trace)
        self.check("a seat is held", held.status == 201, held.text)
        ask(self.tickets.port, "POST", "/api/v1/seats/reserve", {"eventId": EVENT, "seatIds": ["A-1-2"]}, **by_cookie)
        ask(self.tickets.port, "GET", "/api/v1/reservations/my", **by_cookie)
        path = f"/api/v1/reservations/{held.json['reservationId']}"
        ask(self.tickets.port, "POST", f"{path}/extend", {"seconds": 60}, **bearer)
        done = ask(self.tickets.port, "POST", f"{path}/confirm", **bearer)
        self.check("and booked", done.status == 200, done.text)
        for each in ask(self.tickets.port, "GET", "/api/v1/reservations/my", **bearer).json["items"]:
            if each["state"] == "HELD":
                ask(self.tickets.port, "POST", f"/api/v1/reservations/{each['reservationId']}/cancel", **bearer)
        # BOOKING_DONE makes room.
        verify = f"/api/v1/queue/verify?event={EVENT}"
        until("the session is over", lambda: ask(self.queue.port, "GET", verify, **bearer).status == 401)
        ask(self.tickets.port, "POST", "/api/v1/seats/reserve", wish, **bearer)

    def mistakes(self):
        """Tokens that are no good, and good ones where they do not belong."""
        place, active, odd = self.place, self.active, self.secret("made-up token")
        head, claims, _ = active.split(".")
        bad = [odd, place, active + "x", place + "x", f"{head}.{claims}.{self.secret('signature')}", f"{head}.{odd}.{odd}"]
        bad += [self.operator + "x", f"x{self.operator}"]
        if self.users:
            bad += [self.user(9, good=False), self.user(9) + "x", self.users]
        public = [(self.queue.port, m, p) for m, p in (
            ("POST", f"/api/v1/queue/check/{EVENT}"), ("GET", f"/api/v1/queue/status/{EVENT}"),
            ("POST", f"/api/v1/queue/leave/{EVENT}"), ("POST", f"/api/v1/queue/release/{EVENT}"),
            ("GET", f"/api/v1/queue/verify?event={EVENT}"), ("GET", f"/wait/{EVENT}"))]
        public += [(self.tickets.port, m, p) for m, p in (
            ("POST", "/api/v1/seats/reserve"), ("GET", "/api/v1/reservations/my"), ("GET", "/api/v1/reservations/r_x"),
            ("POST", "/api/v1/reservations/r_x/confirm"), ("GET", f"/tickets/{EVENT}"))]
        for token in bad:
            self.secret("bad token", token)
            for port, method, path in public:
                mark = "&" if "?" in path else "?"
                ask(port, method, path, authorization=f"Bearer {token}")
                ask(port, method, path, x_usher_place=token, x_correlation_id=token[:128])
                ask(port, method, path, cookie=f"usher_place.{EVENT}={token}; usher_active.{EVENT}={token}")
                ask(port, method, f"{path}{mark}token={token}&placeToken={token}&event={token}")
                ask(port, method, path, {"placeToken": token, token: token, "eventId": token})
                ask(port, method, path, {"eventId": token, "seatIds": token})
                ask(port, method, path, f'{{"eventId": "{token}" "{token}'.encode())
                ask(port, method, path, token.encode(), content_type=token)
                ask(port, method, path, origin=f"https://{token}.example", traceparent=token)
        for server, path in ((self.queue, f"/api/v1/queue/admin/{EVENT}"), (self.tickets, f"/api/v1/admin/events/{EVENT}")):
            for token in bad:
                ask(server.ops_port, "PUT", path, {"capacity": 1}, authorization=f"Bearer {token}")
                ask(server.ops_port, "GET", f"{path}/{token}?token={token}", authorization=f"Bearer {token}")
                ask(server.ops_port, "GET", path, authorization=f"Basic {token}", host=token[:60])
            self.operate(server, "PUT", path, {"capacity": odd, odd: odd})
            self.operate(server, "PUT", path, {"capacity": {odd: 1}, "order": odd, "name": [odd]})
            self.operate(server, "PUT", path, f'{{"capacity": "{odd}'.encode())
        for server in (self.queue, self.tickets):
            for path in (f"/{odd}", f"/{odd}?{odd}={odd}", f"/api/v1/queue/check/{odd}", f"/api/v1/events/{odd}", f"/wait/{odd}"):
                for method in ("GET", "POST", odd[:12].upper().replace("-", "X").replace("_", "Y")):
                    ask(server.port, method, path, authorization=f"Bearer {active}")
        peer = {"type": "BOOKING_DONE", "eventId": EVENT, "visitorId": self.visitor, "jti": odd, "outcome": odd, "at": odd}
        for token in (odd, self.operator):
            ask(self.queue.ops_port, "POST", "/api/v1/queue/booking-done", peer, authorization=f"Bearer {token}")
            ask(self.queue.ops_port, "GET", f"/api/v1/queue/sessions/{EVENT}/{odd}", authorization=f"Bearer {token}")

    def sockets(self):
        odd = self.secret("made-up token")
        place = self.place
        joins = [{"eventId": EVENT}, {"eventId": EVENT, "placeToken": place}, {"eventId": EVENT, "placeToken": odd}]
        joins += [{"eventId": EVENT, "placeToken": {odd: odd}}, {"eventId": odd}, {"eventId": EVENT, odd: odd}, odd, [odd]]
        texts = [json.dumps({"event": "join-queue", "data": data}) for data in joins]
        texts += [json.dumps({"event": odd, "data": {}}), json.dumps({odd: odd}), f'{{"event": "{odd}', odd, json.dumps(odd)]
        texts += [json.dumps({"event": "leave-queue", "data": {"eventId": EVENT, "placeToken": place}})]
        for headers in ({}, {"x-usher-place": place}, {"x-usher-place": odd}, {"cookie": f"usher_place.{EVENT}={odd}"}):
            for text in texts:
                with contextlib.suppress(WebSocketException, TimeoutError, OSError):
                    with websocket(f"ws://127.0.0.1:{self.queue.port}/ws", additional_headers=headers) as ws:
                        ws.send(text)
                        message = json.loads(ws.recv(5))
                        if "status" in message.get("data", {}):
                            self.keep(message["data"])

    def store_lost(self):
        """A store that goes away and comes back, with messages in between."""
        if not self.stores:
            return
        for store in self.stores:
            store.process.end()
        for server in (self.queue, self.tickets):
            until("the loss is noticed", lambda s=server: ask(s.ops_port, "GET", "/readyz").status == 503)
        ask(self.queue.port, "POST", f"/api/v1/queue/check/{EVENT}")
        ask(self.queue.port, "GET", f"/api/v1/queue/verify?event={EVENT}", authorization=f"Bearer {self.active}")
        ask(self.tickets.port, "POST", "/api/v1/seats/reserve", {"eventId": EVENT, "seatIds": ["A-2-1"]}, authorization=f"Bearer {self.active}")
        for store in self.stores:
            store.start()
        for server in (self.queue, self.tickets):
            until("it is back", server.ready)
        # Until the line is written back under another generation.
        def joins():
            return "status" in self.check_in(6)
        until("people join again", joins)

    # What is seen -----------------------------------------------------------------------------------------------------

    def look_for_secrets(self):
        shown = {server.name: server.process.log.read_text(errors="replace") for server in (self.queue, self.tickets)}
        for server in (self.queue, self.tickets):
            shown[f"metrics of {server.name}"] = server.metrics()
        for where, text in shown.items():
            found = {name: [line[:400] for line in text.splitlines() if value in line][:2]
                     for value, name in self.secrets.items() if value in text}
            self.check(f"no secret of {len(self.secrets)} in {where} ({text.count(chr(10))} lines)", not found, found)

    def look_at_lines(self):
        for server in (self.queue, self.tickets):
            lines = [line for line in server.lines() if "answered" in line]
            if lines and lines[0].startswith("{"):
                said = [json.loads(line) for line in server.lines() if line.startswith("{")]
                asked = [line for line in said if line.get("message") == "answered"]
            else:
                asked = [dict(re.findall(r'(\w+)="?([^\s"]+)"?', line)) for line in lines]
            fields = ("trace_id", "method", "route", "status", "took_us")
            bare = [line for line in asked if any(field not in line for field in fields)]
            self.check(f"{server.name}: each of {len(asked)} requests has its line", asked and not bare, bare[:2])
            known = [line for line in asked if line.get("event") == EVENT and line.get("visitor")]
            self.check(f"{server.name}: with event and visitor where they are known", len(known) >= 5, len(known))
            if server is self.queue:
                mine = [line for line in asked if line.get("trace_id") == self.trace]
                right = len(mine) == 1 and mine[0].get("visitor") == self.visitor and mine[0].get("event") == EVENT
                self.check("the line of a request is found by its trace", right, mine)
                far = [line["route"] for line in asked if line.get("trace_id") == self.far_trace]
                # On one Redis the ticket server asks nobody.
                self.check("a trace goes from one server to the other", self.stores or any("sessions" in r for r in far), far)
                joins = [line for line in asked if "check" in line["route"] and str(line["status"]) == "200"]
                self.check("whoever joins is named", joins and all(line.get("visitor") for line in joins), joins[:2])

    def look_at_metrics(self, promtool):
        texts = {"queue": self.queue.metrics(), "ticket": self.tickets.metrics()}
        for side, wanted in (("queue", QUEUE_METRICS), ("ticket", TICKET_METRICS)):
            typed = set(re.findall(r"^# TYPE (\w+) ", texts[side], re.M))
            helped = set(re.findall(r"^# HELP (\w+) \S", texts[side], re.M))
            absent = [name for name in wanted if f"usher_{side}_{name}" not in typed]
            self.check(f"the contract's metrics are there ({side})", not absent, absent)
            foreign = [name for name in typed if not name.startswith(f"usher_{side}_")]
            self.check(f"all have a help text and the prefix ({side})", not typed - helped and not foreign, (typed - helped, foreign))
            if promtool:
                run = subprocess.run([promtool, "check", "metrics"], input=texts[side], capture_output=True, text=True, check=False)
                self.check(f"promtool check metrics ({side})", run.returncode == 0 and not run.stdout + run.stderr, run.stdout + run.stderr)
        both = texts["queue"] + texts["ticket"]
        documented = set(re.findall(r"^\| `(usher_\w+)", METRICS_PAGE.read_text(), re.M))
        typed = set(re.findall(r"^# TYPE (\w+) ", both, re.M))
        self.check(f"each of {len(typed)} metrics is documented", not typed - documented, typed - documented)
        gone = [name for name in documented - typed if not name.endswith("malformed_total")]
        self.check("and each documented one is there", not gone, gone)
        rules = (PROMETHEUS / "alerts.yml").read_text()
        plain = re.sub(r"usher_\(queue\|ticket\)_", "usher_queue_", rules)
        named = {re.sub(r"_bucket$", "", name) for name in re.findall(r"\busher_(?:queue|ticket)_\w+", plain)}
        unknown = [name for name in named if f"# TYPE {name} " not in both and not name.endswith("malformed_total")]
        self.check(f"each of {len(named)} metrics of the alerts is there", not unknown, unknown)


def settings(report, bin_dir):
    """A bad secret among the settings is named, not shown."""
    bad = {"USHER_OPERATOR_TOKEN": "short-" + secrets.token_hex(8), "USHER_PEER_TOKEN": "short-" + secrets.token_hex(8)}
    password = secrets.token_hex(12)
    urls = (f"redis://:{password}@127.0.0.1:notaport", f"mysql://user:{password}@host/0", f"redis://u:{password}@[::1", f":{password}@x")
    for name in ("queue-server", "ticket-server"):
        for url in urls:
            env = {**bad, "USHER_STORE": url, "USHER_PLACE_SECRET": "short-" + secrets.token_hex(4)}
            command = [Path(bin_dir) / name, "check-config", "--log=loud=1="]
            run = subprocess.run(command, env={"HOME": "/nonexistent", **env}, capture_output=True, text=True, check=False)
            shown = [value for value in [*bad.values(), password, env["USHER_PLACE_SECRET"]] if value in run.stdout + run.stderr]
            report.check(f"{name} refuses bad settings without showing them", run.returncode == 78 and not shown, run.stdout + run.stderr)


def alerts(report, promtool):
    for command in (["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        run = subprocess.run([promtool, *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        report.check(f"promtool {' '.join(command)}", run.returncode == 0, run.stdout + run.stderr)


def tool(name):
    near = Path(sys.executable).parent / name
    return str(near) if near.exists() else shutil.which(name)


def too_long(*_):
    raise Failed(f"the whole run took longer than {WHOLE_RUN_SECONDS} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default="target/debug")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(WHOLE_RUN_SECONDS)
    report, promtool = Report(), tool("promtool")
    if promtool:
        alerts(report, promtool)
    else:
        print("promtool is not installed: metrics and alerts are not checked by it", file=sys.stderr)
    settings(report, options.bin_dir)
    for name in ("redis", "memory", "users"):
        with tempfile.TemporaryDirectory(prefix="usher-seeing-") as folder:
            scene = Scene(report, name, folder)
            try:
                scene.start(options.bin_dir, name == "redis", name == "users")
                for step in (scene.setting_up, scene.visits, scene.mistakes, scene.sockets, scene.store_lost):
                    step()
                scene.look_at_metrics(promtool)
                scene.look_at_lines()
                scene.look_for_secrets()
            except Exception:  # pylint: disable=broad-except
                scene.check("it ran to its end", False, traceback.format_exc())
            finally:
                scene.end()
    print(f"{report.passed} passed, {report.failed} failed", flush=True)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
