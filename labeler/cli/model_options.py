"""The options of `label` and `score` that say how a language model is asked, and the Asker that they describe."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featurestore import BadRequest
from featurestore.extension.output import print_json_lines

if TYPE_CHECKING:
    from labeler.llm.asker import Asker
    from labeler.llm.budget import Budget
    from labeler.llm.completions import ReplyOptions
    from labeler.runs.base import CostEstimate, RunReport
    from labeler.runs.first_sample import Approval
    from labeler.runs.projection import Projection

# Fields of a request that are the run's own, and how a user sets them.
OWN_FIELDS = {
    "model": "is set with --model",
    "messages": "are made of the prompt, see --prompt",
    "max_tokens": "is set with --max-tokens",
    "temperature": "is set with --temperature",
    "logprobs": "are asked for where they are needed",
    "top_logprobs": "are asked for where they are needed",
    "stream": "is not possible: a reply is read as a whole",
    "n": "is not possible: every question has one reply, see --take",
}
_OPTIONS = (
    click.option(
        "--base-url",
        "--endpoint",
        "endpoints",
        multiple=True,
        metavar="URL",
        help="An OpenAI-compatible endpoint. Repeat it to share the work. Default: the OpenAI API.",
    ),
    click.option(
        "--api-key-env", default="OPENAI_API_KEY", show_default=True, help="Environment variable that holds the key."
    ),
    click.option("--ray", metavar="ADDRESS", help="Serve the model on this Ray cluster: host:port, 'auto' or 'local'."),
    click.option(
        "--serve",
        metavar="COMMAND",
        help="With --ray, the command that serves the model; {model}, {host}, {port} and {key} are filled in.",
    ),
    click.option(
        "--servers",
        type=click.IntRange(1),
        help="With --ray, number of servers. Default: as many as the cluster's GPUs, or 1.",
    ),
    click.option(
        "--gpus-per-server",
        type=click.FloatRange(0),
        metavar="N",
        help="With --ray, GPUs of each server. Default: 1, or 0 if the cluster has none.",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1, 1000),
        default=8,
        show_default=True,
        help="Number of concurrent requests to each endpoint.",
    ),
    click.option(
        "--budget", metavar="AMOUNT", help="Spend at most this: money, such as 2.50, or tokens, such as 800ktokens."
    ),
    click.option("--price-in", type=click.FloatRange(0), metavar="MONEY", help="Price of a million tokens of prompts."),
    click.option(
        "--price-out", type=click.FloatRange(0), metavar="MONEY", help="Price of a million tokens of replies."
    ),
    click.option(
        "--max-tokens",
        type=click.IntRange(1, 1_000_000),
        metavar="N",
        help="Most tokens of a reply, thinking included. Default: few, and more when replies are cut off.",
    ),
    click.option("--temperature", type=click.FloatRange(0, 2), metavar="T", help="Temperature of replies. Default: 0."),
    click.option(
        "--extra-body",
        metavar="JSON",
        help="Further fields of every request, as a JSON object: "
        """'{"chat_template_kwargs": {"enable_thinking": false}}'.""",
    ),
    click.option("--batch", is_flag=True, help="Use the Batch API: cheaper, with answers within a day."),
    click.option(
        "--yes", is_flag=True, help="Go on after the first sample of replies, whatever the whole run will cost."
    ),
    click.option(
        "--estimate",
        is_flag=True,
        help="Ask about a first sample only, store what comes of it, and print what the whole run will cost and take.",
    ),
    click.option("--dry-run", is_flag=True, help="Print the estimated cost and the first three prompts, and stop."),
    click.option(
        "--take",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Number of the attempt: another number asks again for new answers.",
    ),
    click.option("--journal", metavar="FILE", help="File that keeps the answers. Default: beside the store."),
)


def asking_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add these options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """How the model is asked, as the command line says. The fields are the names of the options."""

    model: str
    endpoints: tuple[str, ...]
    api_key_env: str
    ray: str | None
    serve: str | None
    servers: int | None
    gpus_per_server: float | None
    concurrency: int
    budget: str | None
    price_in: float | None
    price_out: float | None
    max_tokens: int | None
    temperature: float | None
    extra_body: str | None
    batch: bool
    yes: bool
    estimate: bool
    dry_run: bool
    take: int
    journal: str | None

    @classmethod
    def of(cls, model: str, options: dict[str, Any]) -> ModelOptions:
        """Take its fields out of `options`. Raises BadRequest for options that do not go together."""
        names = [field.name for field in dataclasses.fields(cls) if field.name != "model"]
        parsed = cls(model, **{name: options.pop(name) for name in names})
        if parsed.ray is None and (parsed.serve or parsed.servers or parsed.gpus_per_server is not None):
            raise BadRequest("--serve, --servers and --gpus-per-server go with --ray: name the cluster")
        if parsed.ray is not None and not parsed.serve:
            raise BadRequest(
                "--ray needs --serve: the command that serves the model, as in 'vllm serve {model} --port {port}'"
            )
        if parsed.ray is not None and (parsed.endpoints or parsed.batch):
            raise BadRequest("--ray serves the model itself: it goes without --endpoint and --batch")
        if parsed.batch and len(parsed.endpoints) > 1:
            raise BadRequest("--batch asks one endpoint: name one")
        if (parsed.price_in is None) != (parsed.price_out is None):
            raise BadRequest("--price-in and --price-out go together: what a million tokens of each kind cost")
        if parsed.estimate and (parsed.batch or parsed.dry_run):
            raise BadRequest("--estimate asks about a sample now: it goes without --batch and --dry-run")
        parse_extra_body(parsed.extra_body)
        return parsed

    def build_reply_options(self) -> ReplyOptions:
        """What is wanted of every reply."""
        from labeler.llm.completions import ReplyOptions

        return ReplyOptions(self.max_tokens, self.temperature, parse_extra_body(self.extra_body))

    def build_budget(self) -> Budget:
        """The budget of the run, with its prices. Raises BadRequest."""
        from labeler.llm.budget import Budget, Prices, parse_limit

        prices = None if self.price_in is None or self.price_out is None else Prices(self.price_in, self.price_out)
        return Budget(None if self.budget is None else parse_limit(self.budget, prices), prices)

    def announce(self, cost: CostEstimate, noun: str, done: str, as_json: bool) -> bool:
        """Print what a run is about to ask and cost; returns whether it is a dry run, which ends there."""
        from labeler.llm.budget import format_money

        if self.dry_run and as_json:
            print_json_lines([cost._asdict()])
            return True
        price = "" if cost.money is None else f", {format_money(cost.money)} at these prices"
        click.echo(
            f"{cost.features:,} {noun} to ask {self.model} about ({cost.skipped:,} {done}): about "
            f"{cost.tokens_in:,} tokens of prompts and {cost.tokens_out:,} of replies{price}",
            err=not self.dry_run,
        )
        for number, messages in enumerate(cost.prompts if self.dry_run else (), 1):
            for message in messages:
                click.echo(f"\n--- prompt {number} of {len(cost.prompts)}, {message['role']} ---\n{message['content']}")
        return self.dry_run

    def build_approval(self, noun: str, as_json: bool) -> Approval:
        """What the run is to do after its first sample."""
        from labeler.runs.first_sample import Approval

        return Approval(lambda projection: self._approve(projection, noun, as_json), small_too=self.estimate)

    def _approve(self, projection: Projection, noun: str, as_json: bool) -> bool:
        """Print what a run will cost by its first replies; returns whether it goes on.

        At a terminal the user is asked, unless --yes or a budget has answered already.
        """
        from labeler.runs.projection import build_record, describe

        if self.estimate and as_json:
            print_json_lines([build_record(projection)])
        else:
            click.echo(describe(projection, noun), err=not self.estimate)
        if self.estimate:
            return False
        asks = not (self.yes or self.budget is not None or as_json) and stands_at_terminal()
        return not asks or click.confirm("Go on?", default=True, err=True)

    @contextlib.contextmanager
    def open_asker(self, location: str, budget: Budget) -> Iterator[Asker]:
        """An Asker with the journal of the store at a location.

        Servers that it needs are started, and ended with it.
        """
        from labeler.llm import journal
        from labeler.llm.asker import Asker
        from labeler.llm.batch_api import BatchAsker
        from labeler.llm.endpoint import Endpoint

        options = self.build_reply_options()
        with contextlib.ExitStack() as stack:
            kept = stack.enter_context(journal.Journal(Path(self.journal or journal.default_path(location))))
            if self.ray is not None:
                from labeler.llm.ray_replicas import serve_on_ray

                how = (self.servers, self.gpus_per_server, self.concurrency)
                fleet = stack.enter_context(serve_on_ray(self.ray, self.serve or "", self.model, *how))
                yield Asker(fleet, kept, budget, self.take, options)
                return
            endpoints = [
                Endpoint(self.model, url, self.api_key_env, concurrency=self.concurrency)
                for url in self.endpoints or (None,)
            ]
            if self.batch:
                yield stack.enter_context(BatchAsker(endpoints[0], kept, budget, self.take, options=options))
            else:
                yield Asker(endpoints, kept, budget, self.take, options)


def stands_at_terminal() -> bool:
    """Whether somebody can answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def parse_extra_body(text: str | None) -> dict[str, Any] | None:
    """Return the object in a text of JSON; None for None. Raises BadRequest for other JSON, and for fields of ours."""
    if text is None:
        return None
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise BadRequest(f"--extra-body: {text[:80]} is no JSON ({exc})") from None
    if not isinstance(body, dict):
        raise BadRequest(f'--extra-body: {text[:80]} is no JSON object, such as {{"reasoning_effort": "low"}}')
    for name in OWN_FIELDS.keys() & body.keys():
        raise BadRequest(f"--extra-body: {name} {OWN_FIELDS[name]}")
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def refuse_without_model(ctx: click.Context, further: Collection[str], reason: str) -> None:
    """Raises BadRequest when an option was given that needs a language model: one of those above, or of `further`."""
    names = {field.name for field in dataclasses.fields(ModelOptions)} | set(further)
    for option in ctx.command.params:
        source = ctx.get_parameter_source(option.name or "")
        if option.name in names and source is click.core.ParameterSource.COMMANDLINE:
            raise BadRequest(f"{option.opts[0]} goes with --model; {reason}")


def print_spending(report: RunReport) -> None:
    """Print on stderr what a run's answers cost."""
    from labeler.llm.budget import format_money

    if report.paid or report.cached:
        money = "" if report.money is None else f", {format_money(report.money)}"
        click.echo(
            f"{report.paid:,} answers paid: {report.tokens_in:,} tokens of prompts, {report.tokens_out:,} of "
            f"replies{money}; {report.cached:,} from the journal",
            err=True,
        )
