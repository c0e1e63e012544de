"""A proxy that remembers what passes: between agents and the gateway, or between the gateway and a tool server."""

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Fields that concern one connection, and what the proxy writes anew.
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Exchange:
    """A request and its answer, each of them as it came."""

    def __init__(self, verb, headers, body):
        self.verb, self.headers, self.body = verb, headers, body
        self.status, self.answer_headers, self.answer = None, {}, b""
        self.over = threading.Event()

    @property
    def request(self):
        """The JSON-RPC message, or nothing."""
        try:
            message = json.loads(self.body)
        except ValueError:
            return {}
        return message if isinstance(message, dict) else {}

    @property
    def response(self):
        """The JSON-RPC message that answers: the body, or the last event; nothing if there is none."""
        lines = self.answer.decode().splitlines()
        texts = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")] or ["".join(lines)]
        try:
            return json.loads(texts[-1])
        except ValueError:
            return {}


class Recorder:
    def __init__(self, port, own_headers=lambda exchange: {}):
        """In front of a port of this machine. `own_headers` are added to each request."""
        self.exchanges = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                exchange = Exchange(self.command, dict(self.headers), body)
                recorder.exchanges.append(exchange)
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
                    upstream.request(self.command, self.path, body or None, {**headers, **own_headers(exchange)})
                    self.pass_on(exchange, upstream.getresponse())
                except (OSError, http.client.HTTPException):  # either side hung up
                    self.close_connection = True
                finally:
                    upstream.close()
                    exchange.over.set()

            def pass_on(self, exchange, answer):
                exchange.status, exchange.answer_headers = answer.status, dict(answer.headers)
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in HOP:
                        self.send_header(name, value)
                if answer.status in (204, 304):
                    return self.end_headers()
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                while piece := answer.read1(65536):
                    exchange.answer += piece
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")

            do_GET = do_POST = do_DELETE = do_PUT = do_OPTIONS = handle_any

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/mcp"

    def stop(self):
        self.server.shutdown()
