"""A chat completions endpoint on loopback that fails on a schedule, and keeps account of what it answered.

Real HTTP/1.1 and the protocol's own shapes: usage, logprobs, errors, files and batches. It runs in a thread, or as a
process of its own (`python -m tests.support.fake_llm`), so that it costs its client nothing; `GET /account` tells what
it did. An answer counts as completed when its last byte was handed to the system.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import json
import math
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.support import ROOT

FAULTS = ("429", "500", "503", "slow", "drop", "half", "garbage", "no_choices", "null", "truncated", "not_json")
# What leaves the client without an answer it could use: it has to ask again.
UNUSABLE = frozenset({"429", "500", "503", "drop", "half", "garbage", "no_choices", "null"})


def fault_on_schedule(every: int) -> Callable[[int], str | None]:
    """Of requests counted from 1, each `every`-th meets a fault: all kinds in turn."""
    return lambda n: FAULTS[n // every % len(FAULTS)] if every and n % every == 0 else None


class Endpoint:
    """Answers every question with a label that tells which question it was."""

    def __init__(
        self,
        *,
        fault: Callable[[int], str | None] = lambda n: None,
        latency: float = 0.0,
        most: int | None = None,
        retry_after: float = 0.05,
        models: tuple[str, ...] = ("judge",),
        key: str | None = None,
        answer: Callable[[Mapping[str, Any]], str | dict[str, Any]] | None = None,
        refuse: frozenset[str] = frozenset(),
        probabilities: bool = False,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ):
        """`most` requests at once, or 429; `key` is the one it wants; `refuse` names settings it does not know.

        `probabilities`: logprobs are of the reply's own tokens, each number one; else they are of a 1 that nobody
        wrote.

        `answer` makes the reply's text of a request, or a whole choice (default: a label with a hash of the last
        message).
        """
        self.fault, self.latency, self.most, self.retry_after = fault, latency, most, retry_after
        self.models, self.key, self.answer, self.refuse = models, key, answer or label_of, refuse
        self.probabilities = probabilities
        self.requests = 0
        self.completed: collections.Counter[str] = collections.Counter()  # by question
        self.faults: collections.Counter[str] = collections.Counter()
        self.tokens_in = self.tokens_out = 0
        self.busy = self.busiest = 0
        self.down = False
        self.asked: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._socket = socket.create_server(address, backlog=512)
        self.url = f"http://{address[0]}:{self._socket.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *exc: object) -> None:
        # Closing alone does not wake a thread that waits for connections: it would take those of the port's next user.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def account(self) -> dict[str, Any]:
        """What it did so far."""
        with self._lock:
            return {
                "requests": self.requests,
                "completed": sum(self.completed.values()),
                "questions": len(self.completed),
                "twice": sum(count - 1 for count in self.completed.values() if count > 1),
                "faults": dict(self.faults),
                "tokens_in": self.tokens_in,
                "tokens_out": self.tokens_out,
                "busiest": self.busiest,
            }

    # A thread a connection and a parser of ten lines: the standard library's server costs three times as much,
    # and a bench of a client wants a quick server.
    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            while request := stream.readline():
                if not request.endswith(b"\n"):
                    return
                method, path, _ = request.decode().split(" ", 2)
                headers = {}
                while (line := stream.readline()).strip() != b"":
                    name, _, value = line.strip().partition(b":")
                    headers[name.decode().lower()] = value.strip().decode()
                length = int(headers.get("content-length", 0))
                body = stream.read(length)
                if not line.endswith(b"\n") or len(body) < length:
                    return  # its client was killed while it spoke
                if self.down or not self._respond(connection, method, path, headers, body):
                    return

    def _respond(self, connection: Any, method: str, path: str, headers: dict[str, str], body: bytes) -> bool:
        """Whether the connection stays open."""
        if path == "/account":
            return send(connection, 200, self.account())
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            return send(connection, 401, error("Incorrect API key provided.", "invalid_api_key"))
        if path.startswith(("/v1/files", "/v1/batches")):
            return send(connection, *self._batch(method, path.removeprefix("/v1"), headers, body))
        if method == "GET" and path == "/v1/models":
            return send(
                connection, 200, {"object": "list", "data": [{"id": m, "object": "model"} for m in self.models]}
            )
        if path != "/v1/chat/completions":
            return send(connection, 404, error(f"no such path {path}", "not_found"))
        with self._lock:
            self.requests += 1
            number = self.requests
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
            crowded = self.most is not None and self.busy > self.most
        try:
            return self._complete(connection, json.loads(body), self.fault(number), crowded)
        finally:
            with self._lock:
                self.busy -= 1

    def _complete(self, connection: Any, asked: dict[str, Any], fault: str | None, crowded: bool) -> bool:
        fault = "429" if crowded else fault
        if fault:
            with self._lock:
                self.faults[fault] += 1
        if fault == "429":
            said = error("Rate limit reached.", "rate_limit_exceeded")
            return send(connection, 429, said, {"Retry-After": f"{self.retry_after:g}"})
        if asked.get("model") not in self.models:
            said = error(f"The model `{asked.get('model')}` does not exist.", "model_not_found")
            return send(connection, 404, said)
        for name in self.refuse:
            if name in asked:
                return send(connection, 400, error(f"Unsupported parameter: '{name}'.", "unsupported_parameter"))
        time.sleep(self.latency * (3 if fault == "slow" else 1))
        if fault in ("500", "503"):
            return send(connection, int(fault), error("The server had an error.", "server_error"))
        if fault == "drop":
            return False
        completion = self.completion(asked, fault)
        if fault == "half":
            raw = http(200, json.dumps(completion).encode(), {})
            connection.sendall(raw[: len(raw) - 40])
            return False
        if fault == "garbage":
            return send(connection, 200, b'{"id": "chatcmpl-1", "choices": [{"mess')
        # Counted before it leaves: at a kill of the client it may have been answered and not read.
        if fault not in UNUSABLE:
            with self._lock:
                self.completed[question(asked)] += 1
                self.tokens_in += completion["usage"]["prompt_tokens"]
                self.tokens_out += completion["usage"]["completion_tokens"]
        return send(connection, 200, completion)

    def completion(self, asked: Mapping[str, Any], fault: str | None = None) -> dict[str, Any]:
        """The answer to a request. Format: https://platform.openai.com/docs/api-reference/chat/object"""
        answer, finish = self.answer(asked), "stop"
        text = answer if isinstance(answer, str) else json.dumps(answer["message"])
        if fault == "truncated":
            text, finish = text[: len(text) // 2], "length"
        if fault == "not_json":
            text = "```\n" + text[: len(text) // 2]
        tokens_in = sum(len(one["content"]) // 4 + 4 for one in asked["messages"])
        tokens_out = len(text) // 4 + 1
        message = {"role": "assistant", "content": text, "refusal": None}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        choice = choice if isinstance(answer, str) else answer
        if asked.get("logprobs"):
            tops = [{"token": t, "logprob": v, "bytes": None} for t, v in (("1", -0.25), ("0", -1.5))]
            one = {"token": "1", "logprob": -0.25, "bytes": None, "top_logprobs": tops[: asked.get("top_logprobs", 0)]}
            content = [logprob_of(token) for token in re.findall(r"\d+|\D+", text)] if self.probabilities else [one]
            choice["logprobs"] = {"content": content, "refusal": None}
        choices = {"no_choices": [], "null": None}.get(fault or "", [choice])
        total = tokens_in + tokens_out
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": choices,
            "usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": total},
        }

    def _batch(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        """Files and batches; a batch is done at the second question about it.

        Format: https://platform.openai.com/docs/guides/batch
        """
        _, kind, *rest = path.split("?")[0].split("/")
        if (method, kind, rest) == ("POST", "files", []):
            boundary = headers["content-type"].split("boundary=")[1].encode()
            for piece in body.split(b"--" + boundary):
                head, _, content = piece.partition(b"\r\n\r\n")
                if b"filename=" in head:
                    return 200, self._file(content.removesuffix(b"\r\n"))
            return 400, error("no file in it", "bad_request")
        if (method, kind) == ("GET", "files"):
            return (200, self.files[rest[0]]) if rest[0] in self.files else (404, error("no such file", "not_found"))
        if (method, kind, rest) == ("POST", "batches", []):
            asked = json.loads(body)
            id = f"batch_{len(self.batches)}"
            made = {"id": id, "object": "batch", "status": "in_progress", "created_at": 1, "completion_window": "24h"}
            made |= {"endpoint": asked["endpoint"], "input_file_id": asked["input_file_id"], "output_file_id": None}
            self.batches[id] = made | {"metadata": asked.get("metadata"), "error_file_id": None, "errors": None}
            return 200, self.batches[id]
        if (method, kind, rest) == ("GET", "batches", []):
            return 200, {"object": "list", "data": list(self.batches.values()), "has_more": False}
        if (method, kind) == ("GET", "batches"):
            batch = self.batches.get(rest[0])
            if batch is None:
                return 404, error("no such batch", "not_found")
            if batch.get("seen") and batch["status"] == "in_progress":
                self._run(batch)
            batch["seen"] = True
            return 200, {name: value for name, value in batch.items() if name != "seen"}
        return 404, error(f"no such path {path}", "not_found")

    def _file(self, content: bytes) -> dict[str, Any]:
        id = f"file-{len(self.files)}"
        self.files[id] = content
        about = {"bytes": len(content), "created_at": 1, "filename": "x.jsonl", "purpose": "batch"}
        return {"id": id, "object": "file", "status": "processed", **about}

    def _run(self, batch: dict[str, Any]) -> None:
        lines = list(map(json.loads, self.files[batch["input_file_id"]].splitlines()))
        good, bad = [], []
        for line in lines:
            self.requests += 1
            fault = self.fault(self.requests)
            said = {"id": f"r{self.requests}", "custom_id": line["custom_id"], "error": None}
            if fault in UNUSABLE:
                self.faults[fault] += 1
                bad.append(said | {"response": {"status_code": 500, "body": error("oops", "server_error")}})
                continue
            completion = self.completion(line["body"], fault)
            self.completed[question(line["body"])] += 1
            self.tokens_in += completion["usage"]["prompt_tokens"]
            self.tokens_out += completion["usage"]["completion_tokens"]
            good.append(said | {"response": {"status_code": 200, "request_id": "x", "body": completion}})
        for name, those in (("output_file_id", good), ("error_file_id", bad)):
            if those:
                batch[name] = self._file("\n".join(map(json.dumps, those)).encode() + b"\n")["id"]
        counts = {"total": len(lines), "completed": len(good), "failed": len(bad)}
        batch |= {"status": "completed", "request_counts": counts}


def question(asked: Mapping[str, Any]) -> str:
    """What makes two requests the same: their messages and how long an answer they allow."""
    said = json.dumps([asked["messages"], asked.get("max_tokens")])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def label_of(asked: Mapping[str, Any]) -> str:
    """A label that tells the first question from others."""
    first = asked["messages"][1]["content"]
    return json.dumps({"label": f"words of the kind {hashlib.sha256(first.encode()).hexdigest()[:12]}"})


def logprob_of(token: str) -> dict[str, Any]:
    """A token of a reply: a number has four fifths of the probability, its opposite the rest."""
    other = {"0": "1", "1": "0", "10": "0"}.get(token, "5")
    tops = [(token, math.log(0.8)), (other, math.log(0.2))] if token.isdigit() else [(token, -0.01)]
    listed = [{"token": one, "logprob": value, "bytes": None} for one, value in tops]
    return listed[0] | {"top_logprobs": listed}


def error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def http(status: int, content: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} said", "Content-Type: application/json", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def send(connection: Any, status: int, content: Any, headers: Mapping[str, str] | None = None) -> bool:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    connection.sendall(http(status, raw, headers or {}))
    return True


@contextlib.contextmanager
def in_a_process(*arguments: str) -> Iterator[str]:
    """The URL of an endpoint in a process of its own."""
    command = [sys.executable, "-m", "tests.support.fake_llm", *arguments]
    root = ROOT
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def account(url: str) -> dict[str, Any]:
    """What the endpoint at a URL did so far."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/account") as answer:
        counts: dict[str, Any] = json.load(answer)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.fake_llm", description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--every", type=int, default=0, help="each so many requests meet a fault; 0 for none")
    parser.add_argument("--most", type=int, help="requests at once; more are refused")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for a free one")
    parser.add_argument("--key", help="the key it wants")
    parser.add_argument(
        "--shapes", action="store_true", help="answer in every shape of tests.labeler.replies.reply_shapes"
    )
    arguments = parser.parse_args()
    settings = {"latency": arguments.latency, "most": arguments.most, "key": arguments.key}
    if arguments.shapes:
        from tests.labeler.replies.reply_shapes import answer_in_shapes

        settings["answer"] = answer_in_shapes
    address = (arguments.host, arguments.port)
    with Endpoint(fault=fault_on_schedule(arguments.every), address=address, **settings) as endpoint:
        print(endpoint.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
