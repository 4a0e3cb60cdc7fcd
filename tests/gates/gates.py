#!/usr/bin/env python3
"""queue-server's gate in front of a plain backend, through the configurations of deploy/gates.

Each gate (nginx, Traefik, Envoy) runs as it is configured there, with the addresses changed and nothing else, between
a client, a backend that answers with what it was sent, and a real queue-server. Between gate and queue-server stands a
relay that keeps what the gate says. A second run of each gate has its documented fail-open switch set.

Usage: gates.py --bin-dir target/debug nginx [traefik] [envoy]. The last line is `N passed, N failed`.
"""

import argparse
import contextlib
import http.client
import http.server
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
import threading
import time
import traceback
from pathlib import Path

from websockets.sync.client import connect as websocket

EVENT, OTHER = "concert", "vip"
CONFIGS = Path(__file__).resolve().parents[2] / "deploy" / "gates"
PAGE = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
MARK = "marked-body-" + secrets.token_hex(8)
# What the contract allows a gate to be behind.
KNOWN_SECONDS_MAX = 2
BOUND_SECONDS = 30
WHOLE_RUN_SECONDS = 300


class Failed(Exception):
    """A wait was over, or a program said what it should not."""


class Report:
    """Counts what held and what did not."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, holds, detail=""):
        self.passed += bool(holds)
        self.failed += not holds
        print(f"{'ok   ' if holds else 'FAIL '} {name}" + (f" ({detail})" if detail and not holds else ""), flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, condition, seconds=BOUND_SECONDS):
    """Polls until `condition()` holds; returns how long that took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - started


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Answer:
    """A response; `json` is its body where that is JSON."""

    def __init__(self, response):
        self.status, self.headers, self.text = response.status, response.headers, response.read().decode()
        try:
            self.json = json.loads(self.text)
        except ValueError:
            self.json = None

    def get(self, name):
        return self.headers.get(name)

    def __repr__(self):
        return f"{self.status} {dict(self.headers)} {self.text[:200]}"


def ask(port, method, path, headers=None, body=None):
    """One request on its own connection. `headers` may be a list, to send names twice."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND_SECONDS + 10)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        pairs = headers.items() if isinstance(headers, dict) else headers or []
        for name, value in pairs:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        return Answer(connection.getresponse())
    finally:
        connection.close()


class Process:
    """A child with a log of its own, ended by its id."""

    def __init__(self, name, args, folder, env=None):
        self.name, self.log = name, Path(folder) / f"{name}.log"
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("USHER_", "TRAEFIK_"))}
        with self.log.open("a") as out:
            self.child = subprocess.Popen(
                [str(arg) for arg in args], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**clean, **(env or {})}
            )

    def freeze(self):
        """Stops it; returns when the last of its threads stands still."""
        self.child.send_signal(signal.SIGSTOP)
        os.waitpid(self.child.pid, os.WUNTRACED)

    def end(self, how=signal.SIGTERM):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.send_signal(how)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


# The four parties ----------------------------------------------------------------------------------------------------


class Backend(http.server.ThreadingHTTPServer):
    """Answers with what it was sent; echoes bytes after an upgrade."""

    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self):
            self.server.asked += 1
            if self.headers.get("upgrade"):
                return self.echo()
            length = int(self.headers.get("content-length") or 0)
            said = {
                "method": self.command,
                "path": self.path,
                "headers": [[name.lower(), value] for name, value in self.headers.items()],
                "body": self.rfile.read(length).decode(),
            }
            body = json.dumps(said).encode()
            status = int(self.headers.get("x-answer") or 200)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if self.command != "HEAD" else b"")

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer

        def echo(self):
            self.send_response(101)
            self.send_header("connection", "upgrade")
            self.send_header("upgrade", "websocket")
            self.end_headers()
            self.wfile.write(b"echo:" + (self.headers.get("x-usher-visitor") or "-").encode() + b":" + self.rfile.read(4))
            self.close_connection = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.port, self.asked = self.server_address[1], 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Relay:
    """Between gate and queue-server: keeps every byte the gate says."""

    def __init__(self, target):
        self.target, self.said, self.lock = target, b"", threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=BOUND_SECONDS)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            threading.Thread(target=self.pump, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(far, near, False), daemon=True).start()

    def pump(self, source, sink, keep):
        try:
            while data := source.recv(65536):
                if keep:
                    with self.lock:
                        self.said += data
                sink.sendall(data)
        except OSError:
            pass
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def take(self):
        """What was said since the last call: whole bytes, and the heads of verify requests."""
        with self.lock:
            said, self.said = self.said, b""
        heads = [head.split(b"\r\n\r\n")[0].decode() for head in re.split(rb"(?<![A-Z])(?=[A-Z]+ /\S* HTTP/1\.1\r\n)", said) if head]
        return said, [head for head in heads if "/api/v1/queue/verify" in head.split("\r\n")[0]]


class Queue:
    """queue-server; keys and ports outlive a restart. Nodes of one store share folder and operator token."""

    def __init__(self, bin_dir, folder, store="memory", token=None):
        self.bin_dir, self.folder, self.store, self.token = bin_dir, folder, store, token or secrets.token_hex(32)
        self.port, self.ops_port = free_port(), free_port()
        self.start()

    def start(self):
        args = [Path(self.bin_dir) / "queue-server", f"--listen=127.0.0.1:{self.port}", f"--ops-listen=127.0.0.1:{self.ops_port}"]
        args += [f"--state-dir={self.folder}/state", "--trusted-proxies=127.0.0.1/32", f"--store={self.store}"]
        self.process = Process("queue-server", args, self.folder, {"USHER_OPERATOR_TOKEN": self.token})
        until(f"queue-server is ready\n{self.process.tail()}", self.ready)
        for event in (EVENT, OTHER):
            self.operate("2xx", "PUT", event, {"capacity": 50, "activeTtlSeconds": 300})

    def ready(self):
        try:
            return ask(self.ops_port, "GET", "/readyz").status == 200
        except OSError:
            return False

    def operate(self, status, method, path, body=None):
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        body = json.dumps(body or {}).encode() if method != "GET" else None
        answer = ask(self.ops_port, method, f"/api/v1/queue/admin/{path}", headers, body)
        if status not in (answer.status, "2xx") or answer.status >= 300:
            raise Failed(f"{method} {path}: {answer}")
        return answer.json

    def session(self, port=None, event=EVENT):
        """A new visitor, admitted: the token, and who it says they are."""
        answer = ask(port or self.port, "POST", f"/api/v1/queue/check/{event}")
        if answer.status != 200 or answer.json["status"] != "ACTIVE":
            raise Failed(f"nobody is admitted: {answer}")
        return Session(answer)


class Session:
    def __init__(self, answer):
        self.token, self.cookies = answer.json["activeToken"], answer.headers.get_all("set-cookie") or []
        import jwt  # pylint: disable=import-outside-toplevel

        self.visitor = jwt.decode(self.token, options={"verify_signature": False})["sub"]
        self.cookie = {"cookie": f"theme=dark; usher_active.{EVENT}={self.token}; last=1"}
        self.bearer = {"authorization": f"Bearer {self.token}"}


# The gates -----------------------------------------------------------------------------------------------------------

SWITCH = re.compile(r"#usher-fail-open ?")


class Gate:
    """A gate's program with its configuration from deploy/gates, addresses changed."""

    away = 503  # what is answered while queue-server is away

    def __init__(self, folder, queue, app, fail_open):
        self.folder, self.port = Path(folder) / f"{self.name}{'-open' if fail_open else ''}", free_port()
        self.folder.mkdir()
        self.ports = {"3003": queue, "8000": app, "8080": self.port}
        self.fail_open = fail_open
        self.process = Process(self.name, self.command(), self.folder)
        until(f"{self.name} listens\n{self.process.tail()}", self.listens)

    def listens(self):
        if self.process.child.poll() is not None:
            raise Failed(f"{self.name} has ended:\n{self.process.tail()}")
        return answers(self.port) and self.routes()

    def routes(self):
        """Whether it has read its routes: the queue's health has none, so it is the gate that answers."""
        return ask(self.port, "GET", "/").status in (200, 401)

    def render(self, name, change=lambda text: text):
        text = (CONFIGS / self.name / name).read_text()
        text = re.sub(r"(127\.0\.0\.1:|port_value: )(3003|8000|8080)\b", lambda m: m[1] + str(self.ports[m[2]]), text)
        path = self.folder / name
        path.write_text(self.open(text) if self.fail_open else change(text))
        return path

    def open(self, text):
        return SWITCH.sub("", text)

    def end(self):
        self.process.end()


class Nginx(Gate):
    name = "nginx"

    @staticmethod
    def program():
        return tool("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

    def command(self):
        usher = self.render("usher.conf")
        temp = "".join(
            f"{kind}_temp_path {self.folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        main = f"daemon off; worker_processes 1; pid {self.folder}/pid; error_log stderr warn;\nevents {{}}\n"
        main += f"http {{\naccess_log off;\n{temp}include {usher};\n}}\n"
        (self.folder / "nginx.conf").write_text(main)
        return [self.program(), "-p", self.folder, "-e", "stderr", "-c", self.folder / "nginx.conf"]


class Traefik(Gate):
    name, away = "traefik", 500

    @staticmethod
    def program():
        return tool("traefik")

    def command(self):
        dynamic = self.render("usher.yml")
        static = self.render("traefik.yml")
        static.write_text(static.read_text().replace("filename: usher.yml", f"filename: {dynamic}"))
        return [self.program(), f"--configFile={static}"]


class Envoy(Gate):
    name = "envoy"

    @staticmethod
    def program():
        return tool("envoy")

    def open(self, text):
        return text.replace("failure_mode_allow: false", "failure_mode_allow: true")

    def command(self):
        config = self.render("envoy.yaml")
        return [self.program(), "-c", config, "-l", "warn", "--concurrency", "1", "--use-dynamic-base-id"]


def tool(name):
    """A program of the Python environment, else of the path."""
    near = Path(sys.executable).parent / name
    return str(near) if near.exists() else shutil.which(name)


GATES = {gate.name: gate for gate in (Nginx, Traefik, Envoy)}


# What must hold ------------------------------------------------------------------------------------------------------


class Run:
    """One gate between its client, its backend and queue-server."""

    def __init__(self, report, kind, queue, folder):
        self.report, self.kind, self.queue, self.folder = report, kind, queue, folder
        self.backend, self.relay = Backend(), Relay(queue.port)
        self.gate = None

    def check(self, name, holds, detail=""):
        self.report.check(f"{self.kind.name}: {name}", holds, detail)

    def get(self, path="/seats?x=1", headers=None, method="GET", body=None):
        return ask(self.gate.port, method, path, headers, body)

    def refused(self, name, answer, status=401):
        self.check(name, answer.status == status and not is_backends(answer), answer)

    def all(self):
        steps = [self.strangers, self.admitted, self.forged, self.other_tokens, self.bodies, self.proxies]
        steps += [self.sockets, self.queue_paths, self.own_errors, self.ends, self.away]
        self.gate = self.kind(self.folder, self.relay.port, self.backend.port, fail_open=False)
        try:
            for step in steps:
                self.attempt(step)
        finally:
            self.gate.end()
        self.gate = self.kind(self.folder, self.relay.port, self.backend.port, fail_open=True)
        try:
            self.attempt(self.fails_open)
        finally:
            self.gate.end()
        self.attempt(self.two_nodes)

    def attempt(self, step):
        try:
            step()
        except Exception as problem:  # pylint: disable=broad-except
            self.check(f"{step.__name__} ran to its end", False, f"{problem!r}\n{traceback.format_exc()}")

    def strangers(self):
        before = self.backend.asked
        page = self.get(headers=PAGE)
        self.check("a browser without a token is sent to the waiting page", page.status == 302, page)
        self.check("by an address on the site itself", page.get("location") == f"/wait/{EVENT}", page.get("location"))
        self.refused("a program without a token is told 401", self.get(headers={"accept": "application/json"}))
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            self.refused(f"{method} without a token is told 401", self.get(method=method, body=b"{}"))
        self.refused("a websocket without a token is told 401", self.get(headers=UPGRADE))
        for path in ("/wait/../seats", "/wait/%2e%2e/seats", "//seats", "/wait%2f..%2fseats", "/ws/../seats", "/wsx"):
            answer = self.get(path)
            self.check(f"no way around by {path}", not is_backends(answer) and answer.status >= 301, answer)
        self.check("the backend has heard of none of it", self.backend.asked == before, self.backend.asked - before)

    def admitted(self):
        session = self.queue.session()
        for how, headers in (("cookie", session.cookie), ("bearer token", session.bearer)):
            answer = self.get(headers={**headers, **PAGE})
            self.check(f"who is admitted passes by {how}", answer.status == 200 and is_backends(answer), answer)
            self.check(f"visitor and event are told ({how})", usher(answer) == told(session.visitor), usher(answer))
        answer = self.get("/a%20b?x=%2F&event=vip", session.cookie)
        self.check("the address reaches the backend as it was", answer.json["path"] == "/a%20b?x=%2F&event=vip", answer.json["path"])
        theirs = {**session.cookie, "authorization": "Bearer theirs"}
        answer = self.get(headers=theirs)
        kept = answer.json and dict(answer.json["headers"]).get("authorization")
        self.check("the site's own Authorization is left to it", answer.status == 200 and kept == "Bearer theirs", answer)

    def forged(self):
        session = self.queue.session()
        forged = [("x-usher-visitor", "a_forged"), ("X-Usher-Event", "forged"), ("x-usher-visitor", "a_forged2")]
        forged += [("x_usher_visitor", "a_forged3"), ("X_USHER-EVENT", "forged4"), ("x-usher_visitor", "a_forged5")]
        answer = self.get(headers=forged + list(session.cookie.items()))
        self.check("forged headers are replaced", usher(answer) == told(session.visitor), usher(answer))
        self.refused("forged headers open nothing", self.get(headers=forged))
        hop = [("connection", "keep-alive, x-usher-visitor, x-usher-event"), ("x-usher-visitor", "a_forged")]
        answer = self.get(headers=hop + list(session.cookie.items()))
        self.check("naming them hop-by-hop forges nothing", usher(answer) in (told(session.visitor), {}), usher(answer))

    def other_tokens(self):
        session, other = self.queue.session(), self.queue.session(event=OTHER)
        head, claims, signature = session.token.split(".")
        bent = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
        bad = {"of another event": other.token, "with one character changed": f"{head}.{claims}.{bent}", "made up": "x.y.z"}
        for name, token in bad.items():
            self.refused(f"a token {name} is refused", self.get(headers={"authorization": f"Bearer {token}"}))
            self.refused(f"a cookie {name} is refused", self.get(headers={"cookie": f"usher_active.{EVENT}={token}"}))
        self.refused("a token in the address is refused", self.get(f"/?token={session.token}&access_token={session.token}"))

    def bodies(self):
        session = self.queue.session()
        self.relay.take()
        for method in ("POST", "PUT", "PATCH"):
            answer = self.get("/order", {**session.bearer, "content-type": "text/plain", "x-private": MARK}, method, MARK.encode())
            arrived = answer.status == 200 and answer.json["body"] == MARK and answer.json["method"] == method
            self.check(f"a {method} and its body reach the backend", arrived, answer)
        said, heads = self.relay.take()
        self.check("no body is sent to queue-server", MARK.encode() not in said)
        self.check("queue-server was asked each time", len(heads) == 3, len(heads))
        self.check("for the right event", all(f"event={EVENT}" in head.split("\r\n")[0] for head in heads), heads)

    def proxies(self):
        session = self.queue.session()
        lies = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https"), ("forwarded", "for=6.6.6.6;proto=https")]
        self.relay.take()
        answer = self.get(headers=lies + list(session.cookie.items()))
        head = (self.relay.take()[1] or ["\r\n"])[-1].lower()
        fields = [tuple(line.split(": ", 1)) for line in head.split("\r\n")[1:]]
        last = [value.split(",")[-1].strip() for name, value in fields if name == "x-forwarded-for"]
        # Envoy names a client on loopback by an address of the machine.
        true = len(last) == 1 and (last == ["127.0.0.1"] or self.kind is Envoy) and "6.6.6.6" not in last
        self.check("the gate names the client's own address", true, head)
        self.check("and its own scheme", [v for n, v in fields if n == "x-forwarded-proto"] == ["http"], head)
        self.check("a client's Forwarded goes nowhere", "forwarded: " not in head.replace("x-forwarded", ""), head)
        sent = dict(answer.json["headers"])
        self.check("nor to the backend", "forwarded" not in sent and sent.get("x-forwarded-proto") == "http", sent)
        cookies = ask(self.gate.port, "POST", f"/api/v1/queue/check/{EVENT}", lies).headers.get_all("set-cookie")
        self.check("queue-server does not take http for https", cookies and not any("secure" in c.lower() for c in cookies), cookies)

    def sockets(self):
        session = self.queue.session()
        self.relay.take()
        with socket.create_connection(("127.0.0.1", self.gate.port), BOUND_SECONDS) as raw:
            lines = ["GET /live HTTP/1.1", "host: shop.example"] + [f"{n}: {v}" for n, v in {**UPGRADE, **session.cookie}.items()]
            raw.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            heard = b""
            while b"\r\n\r\n" not in heard and (data := raw.recv(4096)):
                heard += data
            self.check("a websocket reaches the backend", heard.startswith(b"HTTP/1.1 101"), heard)
            raw.sendall(b"ping")
            want = f"echo:{session.visitor}:ping".encode()
            while want not in heard and (data := raw.recv(4096)):
                heard += data
            self.check("both ways, and the backend knows whose it is", want in heard, heard)
        heads = self.relay.take()[1]
        self.check("no upgrade is asked of queue-server", heads and not any("upgrade" in h.lower() for h in heads), heads)

    def queue_paths(self):
        page = self.get(f"/wait/{EVENT}", PAGE)
        self.check("the waiting page is on the site", page.status == 200 and "html" in page.get("content-type"), page)
        assets = re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.text)
        self.check("with its files", assets and all(self.get(path).status == 200 for path in assets), assets)
        session = self.queue.session(self.gate.port)
        self.check("joining through the site gives its cookies", any(c.startswith(f"usher_active.{EVENT}=") for c in session.cookies))
        self.check("which the gate knows", self.get(headers=session.cookie).status == 200)
        origin = f"http://127.0.0.1:{self.gate.port}"
        with websocket(f"ws://127.0.0.1:{self.gate.port}/ws", subprotocols=["usher.v1"], origin=origin) as ws:
            ws.send(json.dumps({"event": "join-queue", "data": {"eventId": EVENT}}))
            message = json.loads(ws.recv(BOUND_SECONDS))
        self.check("the line can be followed through the site", message["event"] == "queue-entry-allowed", message)

    def two_nodes(self):
        """What one node is told, the gate hears from the other."""
        port, program = free_port(), shutil.which("redis-server")
        args = [program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.folder]
        processes = [Process("redis", args, self.folder)]
        try:
            until("Redis answers", lambda: answers(port))
            here = Queue(self.queue.bin_dir, self.folder, f"redis://127.0.0.1:{port}")
            processes.append(here.process)
            there = Queue(self.queue.bin_dir, self.folder, here.store, here.token)
            processes.append(there.process)
            self.folder = Path(self.folder) / "two"
            self.folder.mkdir()
            self.gate = self.kind(self.folder, there.port, self.backend.port, fail_open=False)
            processes.append(self.gate.process)
            released, revoked = here.session(), here.session()
            passed = [self.get(headers=session.cookie).status for session in (released, revoked)]
            self.check("who is admitted by another node passes", passed == [200, 200], passed)
            ask(here.port, "POST", f"/api/v1/queue/release/{EVENT}", released.bearer)
            self.check("who is released there passes no more", self.denied_soon(released), "within 2 s")
            here.operate("2xx", "POST", f"{EVENT}/visitors/{revoked.visitor}/revoke")
            self.check("who is revoked there passes no more", self.denied_soon(revoked), "within 2 s")
        finally:
            for process in reversed(processes):
                process.end()

    def own_errors(self):
        session = self.queue.session()
        for status in (401, 403, 404, 500, 503):
            answer = self.get(headers={**session.bearer, "x-answer": str(status)})
            self.check(f"the backend's own {status} is its own", answer.status == status and is_backends(answer), answer)

    def ends(self):
        released, revoked = self.queue.session(), self.queue.session()
        ask(self.queue.port, "POST", f"/api/v1/queue/release/{EVENT}", released.bearer)
        self.check("a released session passes no more", self.denied_soon(released), "within 2 s")
        self.check("while the other one does", self.get(headers=revoked.cookie).status == 200)
        self.queue.operate("2xx", "POST", f"{EVENT}/visitors/{revoked.visitor}/revoke")
        self.check("a revoked session passes no more", self.denied_soon(revoked), "within 2 s")

    def denied_soon(self, session):
        try:
            until("denied", lambda: self.get(headers=session.cookie).status == 401, KNOWN_SECONDS_MAX)
        except Failed:
            return False
        return True

    def away(self):
        session = self.queue.session()
        before = self.backend.asked
        self.queue.process.freeze()
        if self.kind is not Traefik:  # Traefik waits 30 s for an answer.
            answer = self.get(headers=session.cookie)
            self.refused("closed while queue-server hangs", answer, self.gate.away)
        self.queue.process.end(signal.SIGKILL)
        answer = self.get(headers={**session.cookie, **PAGE})
        self.refused("closed while queue-server is away", answer, self.gate.away)
        self.check("the backend has heard of none of it", self.backend.asked == before)
        self.queue.start()
        fresh = self.queue.session()
        until("the gate opens again", lambda: self.get(headers=fresh.cookie).status == 200)
        self.check("it opens again by itself", True)
        self.check("a session that was lost with its store passes no more", self.get(headers=session.cookie).status == 401)

    def fails_open(self):
        forged = [("x-usher-visitor", "a_forged"), ("x-usher-event", "forged"), ("x_usher_visitor", "a_forged")]
        if self.kind is not Traefik:  # Its switch is for everybody, whether queue-server is there or not.
            self.refused("with the switch set it still refuses", self.get())
        self.queue.process.end(signal.SIGKILL)
        answer = self.get(headers=forged)
        self.check("with the switch set it is open while queue-server is away", answer.status == 200 and is_backends(answer), answer)
        self.check("and says nothing of a visitor", usher(answer) == {}, usher(answer))
        self.queue.start()


def documented_check(report, queue):
    """The Python of docs/gates.md, for backends that check the token themselves."""
    code = re.search(r"```python\n(.*?)```", (CONFIGS.parents[1] / "docs" / "gates.md").read_text(), re.S)[1]
    names = {}
    exec(code.replace("https://queue.example", f"http://127.0.0.1:{queue.port}"), names)  # pylint: disable=exec-used
    session, other = queue.session(), queue.session(event=OTHER)
    report.check("docs: the check of the token finds the visitor", names["visitor"](session.token, EVENT) == session.visitor)
    head, claims, signature = session.token.split(".")
    place = ask(queue.port, "POST", f"/api/v1/queue/check/{EVENT}").json["placeToken"]
    for name, token in {"another event's": other.token, "a bent": f"{head}.{claims[:-1]}A.{signature}", "a place": place}.items():
        try:
            names["visitor"](token, EVENT)
            report.check(f"docs: it refuses {name} token", False)
        except names["jwt"].PyJWTError:
            report.check(f"docs: it refuses {name} token", True)


UPGRADE = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}


def is_backends(answer):
    return isinstance(answer.json, dict) and "path" in answer.json and "headers" in answer.json


def usher(answer):
    """What the backend was told, under any spelling of the names; two of one name are joined."""
    said = {}
    for name, value in (answer.json or {}).get("headers", []):
        key = name.replace("_", "-")
        if key.startswith("x-usher-v") or key.startswith("x-usher-e"):
            said[key] = f"{said[key]}, {value}" if key in said else value
    return said


def told(visitor):
    return {"x-usher-visitor": visitor, "x-usher-event": EVENT}


def too_long(*_):
    raise Failed(f"the whole run took longer than {WHOLE_RUN_SECONDS} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default="target/debug")
    parser.add_argument("gates", nargs="+", choices=sorted(GATES))
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(WHOLE_RUN_SECONDS)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="usher-gates-") as folder:
        queue = Queue(options.bin_dir, folder)
        try:
            documented_check(report, queue)
        finally:
            queue.process.end()
    for name in options.gates:
        kind = GATES[name]
        if not kind.program():
            report.check(f"{name} is installed", False, "see scripts/setup.sh and make test-gates")
            continue
        with tempfile.TemporaryDirectory(prefix="usher-gates-") as folder:
            queue = Queue(options.bin_dir, folder)
            try:
                Run(report, kind, queue, folder).all()
            finally:
                queue.process.end()
    print(f"{report.passed} passed, {report.failed} failed", flush=True)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
