"""Receives linkseal's events: verifies webhook signatures and stores every event once.

    python3 receiver.py --secret-file hook.key --listen 127.0.0.1:8090 --database events.db

Python 3.8 or newer, standard library only. The signatures are those of Standard Webhooks 1.0, so
any library for it works as well.
"""

import argparse
import base64
import hashlib
import hmac
import json
import sqlite3
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Older or newer timestamps are refused, so that a recorded request cannot be replayed later.
TOLERANCE_SECONDS = 5 * 60
# A request has at most 768 KiB of events, unless a single event is larger.
MAX_BODY = 4 << 20


def signature(secret, message_id, timestamp, body):
    """The `webhook-signature` of a request. `secret` is `whsec_` and base64."""
    key = base64.b64decode(secret.strip()[len("whsec_"):])
    signed = b".".join([message_id.encode(), timestamp.encode(), body])
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def is_authentic(secrets, headers, body):
    """Whether one of the secrets has signed the request, and recently."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    # linkseal signs with every secret that it has, so that secrets can be rotated.
    presented = headers.get("webhook-signature", "").encode().split()
    expected = [signature(secret, message_id, timestamp, body).encode() for secret in secrets]
    return any(hmac.compare_digest(e, p) for e in expected for p in presented)


def store(database, events):
    """Stores events that are not stored yet: a batch is repeated when its answer is lost."""
    connection = sqlite3.connect(database, timeout=10)
    try:
        with connection:
            connection.execute("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, event TEXT NOT NULL)")
            rows = [(event["id"], json.dumps(event, ensure_ascii=False)) for event in events]
            connection.executemany("INSERT OR IGNORE INTO events (id, event) VALUES (?, ?)", rows)
    finally:
        connection.close()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A client that stops sending must not keep its thread.
    timeout = 30
    secrets = []
    database = ""

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            return self.answer(413)
        body = self.rfile.read(int(length))
        if not is_authentic(self.secrets, self.headers, body):
            return self.answer(401)
        try:
            store(self.database, json.loads(body)["data"])
        except sqlite3.Error as error:
            self.log_error("not stored: %s", error)
            return self.answer(503)  # linkseal sends the batch again
        return self.answer(204)  # only now: linkseal does not send these events again

    def answer(self, status):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()


def main():
    parser = argparse.ArgumentParser(description="Receives linkseal's events by webhook.")
    parser.add_argument("--secret-file", action="append", required=True, help="may be given twice during a rotation")
    parser.add_argument("--listen", default="127.0.0.1:8090")
    parser.add_argument("--database", default="events.db")
    options = parser.parse_args()
    for path in options.secret_file:
        with open(path, encoding="utf-8") as file:
            Receiver.secrets.append(file.read())
    Receiver.database = options.database
    host, port = options.listen.rsplit(":", 1)
    server = ThreadingHTTPServer((host, int(port)), Receiver)
    print("listening on http://{}:{}/".format(*server.server_address), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
