"""Asking through the Batch API: requests as files, answers within a day, at OpenAI for half the price.

Nothing but the way of asking differs. A round writes down every request that the journal has no answer to; the
endpoint answers them as a batch; the answers go to the journal; and the next round makes labels or scores of them, and
writes down what is to be asked a second time. What has been handed over is noted beside the journal before and after, so a
run that was killed finds its batches again and hands nothing over twice.

Format: https://platform.openai.com/docs/guides/batch
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from featurestore import BadStore, Progress, Unavailable
from labeler.llm.asker import Asker, Waits
from labeler.llm.budget import Budget
from labeler.llm.endpoint import Answer, Endpoint, Messages, Settings, request_body, tokens_most
from labeler.llm.journal import Journal
from labeler.llm.replies import UnreadableReply

MOST_REQUESTS, MOST_BYTES = 50_000, 190_000_000  # of one file; OpenAI takes 50,000 and 200 MB
OVER = frozenset({"completed", "failed", "expired", "cancelled"})
POLL = 30.0  # seconds


class Handed(msgspec.Struct):
    """A batch that was handed over, or is about to be while `id` is None. `digest` is the hash of its file."""

    digest: str
    requests: int
    id: str | None = None


class Batches(Asker):
    """In an Asker's place: what the journal has no answer to is written down, and `gather` hands it over and waits.

    A context manager. `ask` raises Waits for what was written down.
    """

    in_rounds = True

    def __init__(
        self,
        endpoint: Endpoint,
        journal: Journal,
        budget: Budget | None = None,
        take: int = 1,
        poll: float | None = None,
    ):
        """`poll` is how many seconds there are between two looks at a batch."""
        super().__init__([endpoint], journal, budget, take)
        self.endpoint = endpoint
        self.poll = POLL if poll is None else poll
        self.given_up: dict[str, str] = {}  # requests that a batch failed, and why
        self._book = Book(Path(f"{journal.path}.batches"), endpoint)
        self._writing = threading.Lock()
        self._held = contextlib.ExitStack()
        self._folder = tempfile.TemporaryDirectory(prefix="featurestore-batch-")
        self._files: list[tuple[Path, int]] = []
        self._file: Any = None
        self._count = 0
        self._noted: set[str] = set()

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *exc: object) -> None:
        self._written_down()
        self._folder.cleanup()

    def ask(self, messages: Messages, about: str | None = None, **settings: Any) -> Answer:
        """The journal's answer. Raises Waits, Spent, or UnreadableReply for what a batch had no answer to."""
        wanted = Settings(**settings)
        key = self.key(messages, wanted)
        known = self.known(key)
        if known is not None:
            return known
        if key in self.given_up:
            raise UnreadableReply(self.given_up[key])
        body = request_body(self.model, messages, wanted, frozenset())
        line = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}
        raw = json.dumps(line).encode() + b"\n"
        with self._writing:
            if key not in self._noted:
                held = self.budget.reserved(tokens_most(messages), wanted.max_tokens, wait=False)
                self._held.enter_context(held)
                self._noted.add(key)
                self._write(raw)
        raise Waits

    def gather(self, progress: Progress) -> bool:
        """Hand over what was written down, and wait for every batch that is under way. Whether there was one.

        Interrupted or killed, the next run waits on.
        """
        for path, requests in self._written_down():
            self._book.hand_over(path, requests)
            path.unlink()
        under_way = self._book.open()
        for handed in under_way:
            self._collect(handed, progress)
        return bool(under_way)

    def stop(self) -> None:
        """There is nothing under way to stop."""

    def _write(self, raw: bytes) -> None:
        if self._file and (self._count >= MOST_REQUESTS or self._file.tell() + len(raw) > MOST_BYTES):
            self._close()
        if self._file is None:
            self._file = (Path(self._folder.name) / f"{len(self._files)}.jsonl").open("wb")
            self._count = 0
        self._file.write(raw)
        self._count += 1

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._files.append((Path(self._file.name), self._count))
            self._file = None

    def _written_down(self) -> list[tuple[Path, int]]:
        """The files of requests since it was last asked, and how many are in each."""
        self._close()
        self._held.close()  # what they cost is known when they are answered
        found, self._files, self._noted = self._files, [], set()
        return found

    def _collect(self, handed: Handed, progress: Progress) -> None:
        stage = progress(f"waiting for batch {handed.id}", handed.requests)
        shown = 0
        while True:
            batch = self._book.look(handed)
            done = getattr(batch.request_counts, "completed", 0) if batch.request_counts else 0
            stage(done - shown)
            shown = done
            if batch.status in OVER:
                break
            self.endpoint.pace.pause(self.poll)
        if batch.status == "failed" and not batch.output_file_id:
            self._book.close(handed)
            said = [one.message for one in getattr(batch.errors, "data", None) or ()]
            raise Unavailable(
                f"{self.endpoint.name} failed batch {handed.id}: {said[0] if said else 'no reason given'}"
            )
        for file in (batch.output_file_id, batch.error_file_id):
            for line in self._book.lines(file) if file else ():
                self._answered(line)
        self.sync()
        self._book.close(handed)

    def _answered(self, line: dict[str, Any]) -> None:
        """Keep what a line of a batch's output says."""
        key, response = line["custom_id"], line.get("response") or {}
        try:
            answer = self.endpoint.answer_in(response["body"])
        except (ValueError, KeyError, TypeError, AttributeError):
            self.given_up[key] = "the batch has no answer"
            return
        if self.known(key) is None:
            self.keep(key, answer, None)
            self.budget.paid += 1
            self.budget.tokens_in += answer.tokens_in
            self.budget.tokens_out += answer.tokens_out


class Book:
    """Which batches have been handed over and not been collected, in a small file that is replaced as a whole."""

    def __init__(self, path: Path, endpoint: Endpoint):
        """Raises BadStore when the file is not to be read."""
        self.path, self.endpoint = path, endpoint
        try:
            raw = path.read_bytes() if path.exists() else b"[]"
            self.handed = msgspec.json.decode(raw, type=list[Handed])
        except (OSError, msgspec.DecodeError) as exc:
            raise BadStore(f"{path} cannot be read ({exc}): it lists batches that may be under way") from None

    def open(self) -> list[Handed]:
        """Batches to be collected. Those that a killed run was about to hand over are looked for at the endpoint."""
        unsure = {one.digest: one for one in self.handed if one.id is None}
        if unsure:
            for batch in self._call(lambda client: list(client.batches.list(limit=100))):
                found = unsure.get((batch.metadata or {}).get("featurestore", ""))
                if found is not None:
                    found.id = batch.id
            self.handed = [one for one in self.handed if one.id is not None]
            self._save()
        return list(self.handed)

    def hand_over(self, path: Path, requests: int) -> Handed:
        """Make a batch of a file of requests."""
        raw = path.read_bytes()
        made = Handed(hashlib.sha256(raw).hexdigest()[:32], requests)
        file = self._call(lambda client: client.files.create(file=(path.name, raw), purpose="batch"))
        self.handed.append(made)
        self._save()  # from here to the next save it is looked for by its digest
        batch = self._call(
            lambda client: client.batches.create(
                input_file_id=file.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"featurestore": made.digest},
            )
        )
        made.id = batch.id
        self._save()
        return made

    def look(self, handed: Handed) -> Any:
        """The batch as the endpoint describes it now."""
        return self._call(lambda client: client.batches.retrieve(handed.id))

    def lines(self, file: str) -> Iterator[dict[str, Any]]:
        """The lines of a file of the endpoint's."""
        with tempfile.TemporaryDirectory(prefix="featurestore-batch-") as folder:
            path = Path(folder) / "answers.jsonl"
            self._call(lambda client: client.files.content(file).write_to_file(path))
            with open(path, "rb") as lines:
                for line in lines:
                    if line.strip():
                        yield json.loads(line)

    def close(self, handed: Handed) -> None:
        """It has been collected."""
        self.handed.remove(handed)
        self._save()

    def _save(self) -> None:
        beside = self.path.with_name(self.path.name + ".new")
        with open(beside, "wb") as file:
            file.write(msgspec.json.encode(self.handed))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self.path)

    def _call(self, action: Callable[[Any], Any]) -> Any:
        return self.endpoint.call(action)
