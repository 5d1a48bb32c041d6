"""Asking through the Batch API: requests as files, answers within a day, at OpenAI for half the price.

A round writes every request that the journal has no answer to into files; the endpoint answers each file as a batch;
the answers go to the journal; and the next round makes labels or scores of them, and writes the requests that follow.
Which batches were submitted is noted beside the journal before and after, so a run that was killed finds its batches
again and submits nothing twice.

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
from typing import IO, Any

import msgspec

from featurestore import BadStore, Progress, Unavailable
from labeler.llm.asker import AnswerPending, Asker
from labeler.llm.budget import Budget
from labeler.llm.completions import Answer, Messages, ReplyOptions, UnreadableReply, bound_tokens, build_request
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal

MOST_REQUESTS, MOST_BYTES = 50_000, 190_000_000  # of one file; OpenAI takes 50,000 and 200 MB
END_STATES = frozenset({"completed", "failed", "expired", "cancelled"})
POLL = 30.0  # seconds between two questions whether a batch is done


class BatchAsker(Asker):
    """An Asker whose answers come in rounds: `ask` notes what the journal cannot answer, `gather` submits it and waits.

    A context manager.
    """

    in_rounds = True

    def __init__(
        self,
        endpoint: Endpoint,
        journal: Journal,
        budget: Budget | None = None,
        take: int = 1,
        poll: float | None = None,
        options: ReplyOptions | None = None,
    ):
        """`poll` is the number of seconds between two questions whether a batch is done."""
        super().__init__([endpoint], journal, budget, take, options)
        self.endpoint = endpoint
        self.poll = POLL if poll is None else poll
        self.failed_requests: dict[str, str] = {}  # reasons by key
        self._register = BatchRegister(Path(f"{journal.path}.batches"), endpoint)
        self._files = _RequestFiles()
        self._lock_files = threading.Lock()
        self._reservations = contextlib.ExitStack()
        self._noted: set[str] = set()

    def __enter__(self) -> BatchAsker:
        return self

    def __exit__(self, *exc: object) -> None:
        self._reservations.close()
        self._files.delete()

    def ask(self, messages: Messages, about: str | None = None, **settings: Any) -> Answer:
        """The journal's answer.

        Raises AnswerPending when the request has been noted, BudgetSpent when it may not be, and UnreadableReply when a
        batch had no answer to it.
        """
        wanted = self.complete_settings(settings)
        answer = self.find_known(messages, wanted)
        if answer is not None:
            return answer
        wanted = wanted._replace(max_tokens=self.limits.choose(wanted.max_tokens))
        key = self.hash(messages, wanted)
        if key in self.failed_requests:
            raise UnreadableReply(self.failed_requests[key])
        body = build_request(self.model, messages, wanted, frozenset())
        line = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}
        raw = json.dumps(line).encode() + b"\n"
        with self._lock_files:
            if key not in self._noted:
                reservation = self.budget.reserve(bound_tokens(messages), wanted.max_tokens, wait=False)
                self._reservations.enter_context(reservation)
                self._noted.add(key)
                self._files.write(raw)
        raise AnswerPending

    def gather(self, progress: Progress) -> bool:
        """Submit the noted requests, and wait for every batch that is under way. Returns whether there was one.

        When this is interrupted or killed, the next run waits for the same batches.
        """
        self._reservations.close()  # the cost is known when the answers come
        self._noted.clear()
        for path, requests in self._files.take():
            self._register.submit(path, requests)
            path.unlink()
        pending = self._register.list_pending()
        for batch in pending:
            self._collect(batch, progress)
        return bool(pending)

    def stop(self) -> None:
        """Do nothing: no request is under way."""

    def _collect(self, pending: PendingBatch, progress: Progress) -> None:
        """Wait for a batch, and keep its answers. Raises Unavailable when the endpoint failed it as a whole."""
        stage = progress(f"waiting for batch {pending.id}", pending.requests)
        reported = 0
        while True:
            batch = self._register.fetch(pending)
            done = getattr(batch.request_counts, "completed", 0) if batch.request_counts else 0
            stage(done - reported)
            reported = done
            if batch.status in END_STATES:
                break
            self.endpoint.rate_limit.pause(self.poll)
        if batch.status == "failed" and not batch.output_file_id:
            self._register.remove(pending)
            reasons = [error.message for error in getattr(batch.errors, "data", None) or ()]
            reason = reasons[0] if reasons else "no reason given"
            raise Unavailable(f"{self.endpoint.name} failed batch {pending.id}: {reason}")
        for file in (batch.output_file_id, batch.error_file_id):
            for line in self._register.read_lines(file) if file else ():
                self._keep_line(line)
        self.sync()
        self._register.remove(pending)

    def _keep_line(self, line: dict[str, Any]) -> None:
        """Keep the answer in a line of a batch's output, or that it holds none."""
        key = line.get("custom_id")
        if not isinstance(key, str):
            return
        try:
            answer = self.endpoint.parse_body(line["response"]["body"])
        except Exception:  # whatever one line holds, the others are kept
            self.failed_requests[key] = "the batch has no answer"
            return
        if self.find_answer(key) is None:
            self.keep(key, answer, None)
            self.budget.paid += 1
            self.budget.tokens_in += answer.tokens_in
            self.budget.tokens_out += answer.tokens_out


class _RequestFiles:
    """Requests as lines of temporary files, each small enough for one batch."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="featurestore-batch-")
        self._closed: list[tuple[Path, int]] = []
        self._file: IO[bytes] | None = None
        self._count = 0  # of lines in the open file
        self._number = 0  # of the next file

    def write(self, line: bytes) -> None:
        """Append a line, to a new file when the last one is full."""
        if self._file and (self._count >= MOST_REQUESTS or self._file.tell() + len(line) > MOST_BYTES):
            self._close()
        if self._file is None:
            self._file = (Path(self._folder.name) / f"{self._number}.jsonl").open("wb")
            self._number, self._count = self._number + 1, 0
        self._file.write(line)
        self._count += 1

    def take(self) -> list[tuple[Path, int]]:
        """Return the files since the last call, each with its number of lines."""
        self._close()
        files, self._closed = self._closed, []
        return files

    def delete(self) -> None:
        """Delete all files."""
        self._close()
        self._folder.cleanup()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._closed.append((Path(self._file.name), self._count))
            self._file = None


class PendingBatch(msgspec.Struct):
    """A batch that was submitted, or is about to be while `id` is None. `digest` is the hash of its file."""

    digest: str
    requests: int
    id: str | None = None


class BatchRegister:
    """The batches that were submitted and not collected yet, in a small file that is replaced as a whole."""

    def __init__(self, path: Path, endpoint: Endpoint):
        """Raises BadStore when the file cannot be read."""
        self.path, self.endpoint = path, endpoint
        try:
            raw = path.read_bytes() if path.exists() else b"[]"
            self.pending = msgspec.json.decode(raw, type=list[PendingBatch])
        except (OSError, msgspec.DecodeError) as exc:
            raise BadStore(f"{path} cannot be read ({exc}): it lists batches that may be under way") from None

    def list_pending(self) -> list[PendingBatch]:
        """Batches to collect. The endpoint is asked for those that a killed run was about to submit."""
        unsure = {batch.digest: batch for batch in self.pending if batch.id is None}
        if unsure:
            for submitted in self._call(lambda client: list(client.batches.list(limit=100))):
                batch = unsure.get((submitted.metadata or {}).get("featurestore", ""))
                if batch is not None:
                    batch.id = submitted.id
            self.pending = [batch for batch in self.pending if batch.id is not None]
            self._save()
        return list(self.pending)

    def submit(self, path: Path, requests: int) -> PendingBatch:
        """Submit a file of requests as a batch."""
        raw = path.read_bytes()
        pending = PendingBatch(hashlib.sha256(raw).hexdigest()[:32], requests)
        file = self._call(lambda client: client.files.create(file=(path.name, raw), purpose="batch"))
        self.pending.append(pending)
        self._save()  # until the next save the batch is found by its digest
        batch = self._call(
            lambda client: client.batches.create(
                input_file_id=file.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"featurestore": pending.digest},
            )
        )
        pending.id = batch.id
        self._save()
        return pending

    def fetch(self, pending: PendingBatch) -> Any:
        """The batch as the endpoint describes it now: an object of the openai package."""
        return self._call(lambda client: client.batches.retrieve(pending.id))

    def read_lines(self, file: str) -> Iterator[dict[str, Any]]:
        """The lines of a file that the endpoint holds."""
        with tempfile.TemporaryDirectory(prefix="featurestore-batch-") as folder:
            path = Path(folder) / "answers.jsonl"
            self._call(lambda client: client.files.content(file).write_to_file(path))
            with open(path, "rb") as lines:
                for line in lines:
                    with contextlib.suppress(ValueError, RecursionError):  # cut off, or nested too deeply
                        content = json.loads(line) if line.strip() else None
                        if isinstance(content, dict):
                            yield content

    def remove(self, pending: PendingBatch) -> None:
        """Forget a batch, which has been collected."""
        self.pending.remove(pending)
        self._save()

    def _save(self) -> None:
        replacement = self.path.with_name(self.path.name + ".new")
        with open(replacement, "wb") as file:
            file.write(msgspec.json.encode(self.pending))
            file.flush()
            os.fsync(file.fileno())
        os.replace(replacement, self.path)

    def _call(self, action: Callable[[Any], Any]) -> Any:
        return self.endpoint.call(action)
