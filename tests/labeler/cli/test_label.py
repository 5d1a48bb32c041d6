"""The command `featurestore label`."""

import http.server
import json
import threading

import featurestore
from featurestore.cli.main import main
from tests.support import fake_llm, tiny


def test_the_command_counts_keeps_and_goes_on(tmp_path, invoke):
    path = str(tmp_path / "s")
    tiny.write_tiny_store(tmp_path / "s", index=False).close()
    with fake_llm.Endpoint() as endpoint:
        common = ["label", "--store", path, "--model", "judge", "--endpoint", endpoint.url, "--no-index"]
        prices = ["--price-in", "1", "--price-out", "2"]
        dry = invoke(main, [*common, *prices, "--dry-run", "--json"])
        about = json.loads(dry.stdout)
        assert (about["features"], endpoint.requests) == (46, 0)
        assert about["money"] > 0
        stopped = invoke(main, [*common, "--budget", "2ktokens", "--concurrency", "2"])
        assert stopped.exit_code == 0
        assert "might not be enough for another request" in stopped.stderr
        assert "answers paid" in stopped.stderr
        assert 0 < endpoint.tokens_in + endpoint.tokens_out <= 2000
        little = invoke(main, [*common, "--budget", "20tokens"])
        assert "20 tokens is not enough for one request" in little.stderr
        zero = invoke(main, [*common, "--budget", "0"])
        assert "the budget is 0, so nothing was asked" in zero.stderr
        refused = invoke(main, [*common, "--budget", "5"])
        assert (refused.exit_code, "needs --price-in" in refused.stderr) == (2, True)
        before = endpoint.account()["completed"]
        whole = invoke(main, [*common, "--order", "density desc", "--json"])
        report = json.loads(whole.stdout)
        assert (report["failed"], report["stopped"], report["left"]) == ({}, None, 0)
        assert report["labelled"] + report["skipped"] == 46
        assert report["paid"] == endpoint.account()["completed"] - before
    assert (tmp_path / "s.journal.jsonl").exists()


class Server:
    """An OpenAI-compatible endpoint on loopback that answers by a script: (status, headers, body) or a label."""

    def __init__(self, answer):
        self.requests = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
                status, headers, content = answer(len(server.requests), body)
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {
                    "Content-Type": "application/json",
                    "Content-Length": str(len(raw)),
                    **headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *arguments):
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._http.shutdown()
        self._http.server_close()


def said(content):
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return 200, {}, {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def test_the_command(tmp_path, invoke):
    path = str(tmp_path / "s")
    tiny.write_tiny_store(tmp_path / "s", index=False).close()
    with Server(lambda n, body: said('{"label": "aardvarks"}')) as server:
        done = invoke(main, ["label", "--store", path, "--base-url", server.url, "--model", "m", "--limit", "2"])
    assert done.stdout == "2 features labelled by m, 0 skipped\n"
    hits = featurestore.connect(path).search("aardvarks", mode="keyword")
    assert len(hits) == 2, "new labels are indexed"
    refused = invoke(main, ["label", "--store", path, "--where", "feature = 1"])
    assert (refused.exit_code, refused.stderr) == (
        2,
        "error: --where goes with --model; token statistics label every feature of a dictionary\n",
    )
