"""A payment provider for the tests, in a process of its own: docs/payments.md in a few lines.

It keeps what it was asked in memory, and notes every change of a payment in a file, one JSON object a line, before
it answers. `POST /behave` says how it behaves from then on:

  delay      [from, to] in seconds
  decline    share of authorizations that are declined
  pending    share of authorizations that are not decided at once: `POST /decide` does
  lost       share of requests that are done and not answered
  dropped    share of requests that are neither
  refuse     operations that are answered 503
"""

import hashlib
import hmac
import json
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

SECRET, LOG = sys.argv[1].encode(), sys.argv[2]
AFTER = {
    "authorize": {None: "AUTHORIZED"},
    "capture": {"AUTHORIZED": "CAPTURED"},
    "void": {None: "VOIDED", "PENDING": "VOIDED", "AUTHORIZED": "VOIDED"},
    "refund": {"CAPTURED": "REFUNDED"},
    "lookup": {},
}
payments, lock = {}, threading.Lock()
behaviour = {"delay": [0, 0], "decline": 0, "pending": 0, "lost": 0, "dropped": 0, "refuse": []}
log = open(LOG, "a", buffering=1)


def sign(timestamp, body):
    return "v1=" + hmac.new(SECRET, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def change(payment, status, operation, amount, trace):
    payments[payment] = status
    line = {"payment": payment, "status": status, "operation": operation, "amount": amount, "trace": trace}
    log.write(json.dumps(line) + "\n")


def ask(question, trace):
    operation, payment = question["operation"], question["paymentId"]
    with lock:
        before = payments.get(payment)
        after = AFTER[operation].get(before)
        if after == "AUTHORIZED":
            if random.random() < behaviour["decline"]:
                after = "DECLINED"
            elif random.random() < behaviour["pending"]:
                after = "PENDING"
        if after:
            change(payment, after, operation, question["amountMinor"], trace)
        return payments.get(payment, "NOT_KNOWN")


def tell(url, event, payment, kind):
    body = json.dumps({"id": event, "type": kind, "paymentId": payment, "more": {"ours": 1}}).encode()
    now = str(int(time.time() * 1000))
    headers = {"content-type": "application/json", "usher-timestamp": now, "usher-signature": sign(now, body)}
    with urlopen(Request(url, body, headers)) as answer:
        return answer.status


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        question = json.loads(body)
        if self.path == "/behave":
            behaviour.update(question)
            return self.answer(200, behaviour)
        if self.path == "/decide":
            with lock:
                change(question["paymentId"], question["status"], "decide", 0, "")
            return self.answer(200, {"told": tell(question["url"], question["event"], question["paymentId"], "decided")})
        timestamp, signature = self.headers["usher-timestamp"], self.headers["usher-signature"]
        fresh = abs(time.time() * 1000 - int(timestamp)) < 300_000
        if not (fresh and hmac.compare_digest(signature, sign(timestamp, body))):
            return self.answer(401, {})
        if question["operation"] in behaviour["refuse"]:
            return self.answer(503, {})
        if random.random() < behaviour["dropped"]:
            self.close_connection = True
            return None
        time.sleep(random.uniform(*behaviour["delay"]))
        status = ask(question, self.headers["traceparent"] or "")
        if random.random() < behaviour["lost"]:
            self.close_connection = True
            return None
        return self.answer(200, {"paymentId": question["paymentId"], "status": status})


server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
