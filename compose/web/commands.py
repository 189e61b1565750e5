"""The commands that serve browsers: the wiki, and the window on any pipeline.

What they are made of is imported when it is asked for: it comes with the extra `compose`.
"""

from __future__ import annotations

import os
import secrets
from typing import Annotated

import typer

from eventsourcing_kafka.compose.stack.environment import WhichData, meant, stack_environment
from eventsourcing_kafka.consumer.followers import edges_of
from eventsourcing_kafka.producer.runtime.applications import wait_until_reachable
from eventsourcing_kafka.producer.runtime.logs import LogFormat, LogFormatOption, start_logs
from eventsourcing_kafka.producer.runtime.pipeline import PipelineFile
from eventsourcing_kafka.producer.runtime.process import run as run_async

COMMANDS = typer.Typer()

Port = Annotated[int, typer.Option(min=0, max=65_535, help="Where it listens; 0: on a free one.")]
Host = Annotated[str, typer.Option(help="On which address; 0.0.0.0 lets others reach it.")]
Anybody = Annotated[
    bool, typer.Option("--anybody", help="Let others in, under any name; no operators then.")
]
Secure = Annotated[bool, typer.Option("--secure", help="Sessions over HTTPS only: behind a proxy.")]
Proxy = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ADDRESS",
        help="Believe what a proxy at this address, or network, says of who asks;"
        " may be given several times.",
    ),
]
AccessLog = Annotated[bool, typer.Option("--access-log", help="Log every request.")]

LOOPBACK = "127.0.0.1"


@COMMANDS.command()
def web(
    port: Port = 8080,
    host: Host = LOOPBACK,
    anybody: Anybody = False,
    secure: Secure = False,
    proxy: Proxy = None,
    access_log: AccessLog = False,
    data: WhichData = None,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Show the wiki in a browser, to be read, searched and edited, until Ctrl-C.

    A name is enough to sign in, so it is for a machine of your own: it listens there only, unless
    told otherwise. Who signs in as `operator`, or as one of WEB_OPERATORS, is an operator.
    It answers under this machine's own names, any address, and those of WEB_HOSTS.

    WEB_SECRET, or a file that WEB_SECRET_FILE names, signs the sessions; without it they end with
    the program.

    Example: eventsourcing-kafka compose web --port 8080

    For others: with WEB_OIDC_ISSUER, WEB_OIDC_CLIENT_ID and WEB_OIDC_CLIENT_SECRET of a provider
    that knows who it is, WEB_URL as browsers see it, and a proxy that speaks HTTPS:

    Example: eventsourcing-kafka compose web --secure --proxy 127.0.0.1
    """
    from eventsourcing_kafka.compose.web.app import web_app
    from eventsourcing_kafka.compose.web.serving import checked_settings, listening, serve

    start_logs(log_format)
    settings = checked_settings(os.environ, host, proxied=bool(proxy) or secure, anybody=anybody)
    secret, environment = _secret(), stack_environment(data)
    app = web_app(environment, secret, settings=settings, secure=secure)
    listener = listening(host, port)
    run_async(lambda: serve(app, listener, proxies=proxy or (), access_log=access_log))


@COMMANDS.command()
def window(
    file: PipelineFile = None,
    port: Port = 8080,
    host: Host = LOOPBACK,
    anybody: Anybody = False,
    secure: Secure = False,
    proxy: Proxy = None,
    access_log: AccessLog = False,
    data: WhichData = None,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Show a pipeline in a browser, live, to be watched and acted on, until Ctrl-C.

    Each application is shown with its outbox, relay, topic, views and followers. Without a pipeline
    it is about all views that are installed. It is for operators: sign in as `operator`, or as one
    of WEB_OPERATORS. Who is let in, and from where, is decided as for `compose web`.

    Example: eventsourcing-kafka compose window --with shop/pipeline.toml
    """
    from eventsourcing_kafka.compose.web.pipeline.app import window_app
    from eventsourcing_kafka.compose.web.serving import checked_settings, listening, serve

    start_logs(log_format)
    settings = checked_settings(os.environ, host, proxied=bool(proxy) or secure, anybody=anybody)
    secret, (environment, pipeline) = _secret(), meant(data, file)
    app = window_app(environment, secret, pipeline, settings=settings, secure=secure)
    listener = listening(host, port)
    followers = [edge.follower for edge in edges_of(pipeline).values()] if pipeline else []

    async def main() -> None:
        # What they have is looked into with their own code, which is opened on their databases.
        await wait_until_reachable("the window", followers, environment)
        await serve(app, listener, proxies=proxy or (), access_log=access_log)

    run_async(main)


def _secret() -> str:
    from eventsourcing_kafka.compose.web.settings import session_secret

    return session_secret(os.environ) or secrets.token_urlsafe(32)
