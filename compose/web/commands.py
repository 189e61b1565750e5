"""The command that serves the wiki to browsers.

What it is made of is imported when it is asked for: it comes with the extra `compose`.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated

import typer

from eventsourcing_kafka.compose.stack.environment import WhichData, stack_environment
from eventsourcing_kafka.producer.runtime.logs import LogFormat, LogFormatOption, start_logs
from eventsourcing_kafka.producer.runtime.process import run as run_async

COMMANDS = typer.Typer()


@COMMANDS.command()
def web(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where it listens; 0: on a free one.")
    ] = 8080,
    host: Annotated[
        str, typer.Option(help="On which address; 0.0.0.0 lets others reach it.")
    ] = "127.0.0.1",
    anybody: Annotated[
        bool, typer.Option("--anybody", help="Let others in, under any name; no operators then.")
    ] = False,
    secure: Annotated[
        bool, typer.Option("--secure", help="Sessions over HTTPS only: behind a proxy.")
    ] = False,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Believe what a proxy at this address, or network, says of who asks;"
            " may be given several times.",
        ),
    ] = None,
    access_log: Annotated[bool, typer.Option("--access-log", help="Log every request.")] = False,
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
    from eventsourcing_kafka.compose.web.serving import checked_settings, listening, serve
    from eventsourcing_kafka.compose.web.settings import session_secret

    start_logs(log_format)
    settings = checked_settings(os.environ, host, proxied=bool(proxy) or secure, anybody=anybody)
    secret, environment = session_secret(os.environ), stack_environment(data)
    served = partial(
        serve,
        environment,
        settings,
        listening(host, port),
        secret=secret,
        secure=secure,
        proxies=proxy or (),
        access_log=access_log,
    )
    run_async(served)
