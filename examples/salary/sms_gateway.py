"""A small SMS gateway, as the common providers offer it: a form-encoded POST, answered with a message id.

Run it with `python sms_gateway.py [PORT]`. It sends nothing; it prints what it would send.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


class Gateway(BaseHTTPRequestHandler):
    """Takes POST /messages with the fields `to` and `text`."""

    sent = 0

    def do_POST(self) -> None:
        """Take one message."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        form = {name: texts[0] for name, texts in parse_qs(body).items()}
        if self.path != "/messages" or self.headers.get("Content-Type") != "application/x-www-form-urlencoded":
            self._answer(404, {"error": "POST a form to /messages"})
        elif not form.get("to") or not form.get("text"):
            self._answer(400, {"error": "the fields 'to' and 'text' are needed"})
        else:
            Gateway.sent += 1
            print(f"SMS to {form['to']}: {form['text']}", flush=True)
            self._answer(201, {"message_id": f"sms-{Gateway.sent}", "status": "queued"})

    def _answer(self, status: int, value: dict[str, str]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: what counts is printed."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8099
    ThreadingHTTPServer(("127.0.0.1", port), Gateway).serve_forever()
