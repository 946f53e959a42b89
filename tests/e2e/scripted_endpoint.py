"""A process of its own that answers chat completions as the prompts' marks tell it to, and counts what it answered.

Run: python scripted_endpoint.py [DELAY_S]. It prints its port. GET /stats says what it did.

Marks in a prompt: [429] and [500] are refused so once, [stall] waits once for longer than anybody should, [html] and
[json] are answered with nonsense, [down] always fails, [400] is always refused, [null] has no text, [ramble] makes the
judge miss its last line, [first] makes it prefer what stands first, [weak] the weak answer, [full] is answered with
as many tokens as may be.
"""

import hashlib
import json
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DELAY_S = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
STALL_S = 3.0
LOCK = threading.Lock()
SEEN: Counter[str] = Counter()
ANSWERED: Counter[str] = Counter()
STATS: dict[str, Any] = {
    "in_flight": 0,
    "most_in_flight": 0,
    "keys": [],
    "usd_in_tokens": 0,
    "usd_out_tokens": 0,
    "at": [],
}


def completion(text, asked, body):
    if "[full]" in asked:
        usage = {"prompt_tokens": len(asked.encode()) + 200, "completion_tokens": body["max_tokens"]}
    else:
        usage = {"prompt_tokens": len(asked) // 4 + 1, "completion_tokens": len(text) // 4 + 1}
    with LOCK:
        STATS["usd_in_tokens"] += usage["prompt_tokens"]
        STATS["usd_out_tokens"] += usage["completion_tokens"]
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}


def verdict(asked):
    if "[ramble]" in asked:
        return (
            "Well. VERDICT: A\nor perhaps\nVERDICT: B\nif one thinks about it for longer. " + "So much to say. " * 500
        )
    if "SCORE: n" in asked:
        return "Fine.\nSCORE: 5" if "[weak]" in asked else "Lacks a step.\nSCORE: 2"
    strong_is_a = asked.index("big says") < asked.index("small says")
    if "[first]" in asked:
        return "VERDICT: A"
    return f"Reasons.\nVERDICT: {'A' if strong_is_a != ('[weak]' in asked) else 'B'}"


def reply(body):
    """Status, headers and content."""
    asked = body["messages"][0]["content"]
    key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    with LOCK:
        SEEN[key] += 1
        is_first = SEEN[key] == 1
        STATS["at"].append(time.monotonic())
    if "[400]" in asked:
        return 400, {}, b'{"error": {"message": "I will not"}}'
    if "[down]" in asked or ("[500]" in asked and is_first):
        return 500, {}, b"<html>oops</html>"
    if "[429]" in asked and is_first:
        return 429, {"Retry-After": "1"}, b'{"error": {"message": "slow down"}}'
    if "[stall]" in asked and is_first:
        time.sleep(STALL_S)
    if "[html]" in asked:
        return 200, {"Content-Type": "text/html"}, b"<html>Welcome</html>"
    if "[json]" in asked:
        return 200, {}, b'{"choices": "none"}'
    text = verdict(asked) if body["model"] == "judge" else f"{body['model']} says: {asked[:200]}"
    said = completion("" if "[null]" in asked else text, asked, body)
    with LOCK:
        ANSWERED[key] += 1
    return 200, {}, json.dumps(said).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with LOCK:
            said = {**STATS, "answered": dict(ANSWERED), "seen": sum(SEEN.values())}
        self.answer(200, {}, json.dumps(said).encode())

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with LOCK:
            STATS["keys"].append(self.headers.get("Authorization"))
            STATS["in_flight"] += 1
            STATS["most_in_flight"] = max(STATS["most_in_flight"], STATS["in_flight"])
        try:
            time.sleep(DELAY_S)
            status, headers, content = reply(body)
        finally:
            with LOCK:
                STATS["in_flight"] -= 1
        self.answer(status, headers, content)

    def answer(self, status, headers, content):
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except ConnectionError:
            pass  # the client was killed, or did not want to wait

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a killed client's connection breaks off
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
