"""The words of `primacy`: its commands, options and their help. What they do is in `commands.py`.

Nothing slow is imported here: gRPC and rich are loaded when a command runs, not for `--help` or completion.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import context as ctx
from orchestrator.cli.exit_codes import ExitCode, described

if TYPE_CHECKING:
    from orchestrator.cli.operation import Begin
    from orchestrator.cli.screen import Screen

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

app = typer.Typer(
    name="primacy",
    help="Automatic failover for PostgreSQL: look at clusters, change them, move their primary.",
    epilog=described(),
    context_settings=SETTINGS,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
cluster_app = typer.Typer(help="What a cluster shall be.", no_args_is_help=True, rich_markup_mode=None)
context_app = typer.Typer(
    help="How the control nodes are reached, kept in a file.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(cluster_app, name="cluster", short_help="Apply a cluster's file.")
app.add_typer(context_app, name="context", short_help="Keep how the control nodes are reached.")

Cluster = Annotated[str, typer.Argument(metavar="CLUSTER", help="The cluster's name.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to stdout.")]
RequestId = Annotated[
    str,
    typer.Option(
        metavar="ID", help="Look again at an operation that was begun with this id, instead of a new one."
    ),
]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"primacy {version('primacy')}")
        except PackageNotFoundError:
            typer.echo("primacy (not installed: run from a source tree)")
        raise typer.Exit(ExitCode.DONE)


@app.callback()
def top(
    context: typer.Context,
    control: Annotated[
        str,
        typer.Option(
            envvar="PRIMACY_CONTROL", metavar="HOST:PORT,…", help="All control nodes; tried in order."
        ),
    ] = "",
    tls_cert: Annotated[
        str,
        typer.Option(envvar="PRIMACY_TLS_CERT", metavar="FILE", help="Your certificate (operator:<name>)."),
    ] = "",
    tls_key: Annotated[
        str, typer.Option(envvar="PRIMACY_TLS_KEY", metavar="FILE", help="Its key, mode 0600.")
    ] = "",
    tls_ca: Annotated[
        str, typer.Option(envvar="PRIMACY_TLS_CA", metavar="FILE", help="The fleet's certificate authority.")
    ] = "",
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and end.")
    ] = False,
) -> None:
    given = {ctx.CONTROL: control, ctx.CERTIFICATE: tls_cert, ctx.KEY: tls_key, ctx.AUTHORITY: tls_ca}
    names = {ctx.CONTROL: "control", ctx.CERTIFICATE: "tls_cert", ctx.KEY: "tls_key", ctx.AUTHORITY: "tls_ca"}
    context.obj = {}
    for key, value in given.items():
        source = context.get_parameter_source(names[key])
        if value and source is not None:
            by_option = source.name == "COMMANDLINE"
            origin = f"option {ctx.OPTIONS[key]}" if by_option else f"environment {ctx.VARIABLES[key]}"
            context.obj[key] = ctx.Setting(value, origin)


@cluster_app.command("apply")
def cluster_apply(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The cluster's file (TOML).", show_default=False)
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a cluster what FILE says: the only source of its membership.

    All mistakes in FILE are told at once, and nothing is sent while there is one.
    """
    from orchestrator.cli import commands

    screen = _screen(as_json)
    _end(
        commands.run(
            screen,
            lambda: commands.apply(
                screen, lambda: _connection(context), file, dry_run=dry_run, as_json=as_json
            ),
        )
    )


@app.command(short_help="Show the fleet, or one cluster in detail.")
def status(
    context: typer.Context,
    cluster: Annotated[
        str, typer.Argument(metavar="CLUSTER", help="Everything about one; without it, a line each.")
    ] = "",
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on, with each change, until Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON (with --watch: a line each).")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 5 when it is not whole.")] = False,
) -> None:
    """Show the fleet, or one cluster in detail."""
    from orchestrator.cli import commands

    if watch and exit_code:
        raise typer.BadParameter("--exit-code and --watch don't go together", param_hint="--exit-code")
    screen = _screen(as_json)
    wanted = commands.StatusWanted(cluster, as_json, exit_code)
    show = commands.watch_status if watch else commands.status
    _end(commands.run(screen, lambda: show(screen, _connection(context), wanted)))


@app.command(short_help="Move the primary, cleanly.")
def switchover(
    context: typer.Context,
    cluster: Cluster,
    to: Annotated[
        str, typer.Option(metavar="MEMBER", help="The new primary; without it, the best candidate.")
    ] = "",
    as_json: Json = False,
    request_id: RequestId = "",
) -> None:
    """Move the primary, cleanly: the old one is stopped first, nothing is lost.

    Prints each step as it comes; then one outcome, with the outage as far as it was measured, or every member
    with the reason why it can't be the primary.
    """
    from protos import operator_pb2 as pb

    def begin(drawn: str) -> pb.SwitchoverRequest:
        return pb.SwitchoverRequest(cluster=cluster, to=to, request_id=drawn)

    words = f"primacy switchover {cluster}" + (f" --to {to}" if to else "")
    _operate(context, "Switchover", begin, cluster, words, request_id, as_json=as_json)


@app.command(short_help="Replace the primary now, without its help.")
def failover(
    context: typer.Context,
    cluster: Cluster,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also while the primary is healthy, and where too few members answer (nobody serves then).",
        ),
    ] = False,
    as_json: Json = False,
    request_id: RequestId = "",
) -> None:
    """Replace the primary now, without waiting for detection and without its help.

    Refused on a healthy primary: use switchover, or --force.
    """
    from protos import operator_pb2 as pb

    def begin(drawn: str) -> pb.FailoverRequest:
        return pb.FailoverRequest(cluster=cluster, force=force, request_id=drawn)

    words = f"primacy failover {cluster}" + " --force" * force
    _operate(context, "Failover", begin, cluster, words, request_id, as_json=as_json)


@app.command(short_help="What happened to a cluster, and what it cost.")
def history(
    context: typer.Context,
    cluster: Cluster,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="The newest N incidents.")] = 20,
    as_json: Json = False,
) -> None:
    """What happened to a cluster, newest first: every step with its time and reason, and what it cost."""
    from orchestrator.cli import commands

    screen = _screen(as_json)
    _end(
        commands.run(
            screen,
            lambda: commands.history(
                screen, _connection(context), cluster=cluster, limit=limit, as_json=as_json
            ),
        )
    )


@app.command(short_help="Deadlines and retries of the daemons' calls.")
def policies(as_json: Json = False) -> None:
    """The deadlines, retries and circuit breakers of every call that the daemons make."""
    from orchestrator.cli.show_policies import print_policies

    print_policies(_screen(as_json), as_json=as_json)


@context_app.command("set")
def context_set(
    context: typer.Context,
    control: Annotated[str, typer.Option(metavar="HOST:PORT,…", help="All control nodes.")] = "",
    tls_cert: Annotated[str, typer.Option(metavar="FILE", help="Your certificate.")] = "",
    tls_key: Annotated[str, typer.Option(metavar="FILE", help="Its key, mode 0600.")] = "",
    tls_ca: Annotated[str, typer.Option(metavar="FILE", help="The fleet's certificate authority.")] = "",
) -> None:
    """Keep how the control nodes are reached; what is not given stays as it was.

    The file is ~/.config/primacy/context.toml, readable by you alone. Options and environment win over it.
    """
    from orchestrator.cli import show_context

    given = {ctx.CONTROL: control, ctx.CERTIFICATE: tls_cert, ctx.KEY: tls_key, ctx.AUTHORITY: tls_ca}
    _end(
        show_context.keep(_screen(False), {key: value for key, value in given.items() if value}, context.obj)
    )


@context_app.command("show")
def context_show(context: typer.Context) -> None:
    """What is used, where it comes from, and what is wrong with it."""
    from orchestrator.cli import show_context

    _end(show_context.show(_screen(False), context.obj))


def _operate(
    context: typer.Context,
    method: str,
    begin: Begin,
    cluster: str,
    words: str,
    request_id: str,
    *,
    as_json: bool,
) -> None:
    from orchestrator.cli import commands

    screen = _screen(as_json)
    wanted = commands.OperationWanted(method, begin, cluster, words, request_id, as_json)
    _end(commands.run(screen, lambda: commands.operate(screen, _connection(context), wanted)))


def _connection(context: typer.Context) -> ctx.Connection:
    """Raise BadConfig."""
    file = ctx.context_file()
    return ctx.connection(ctx.settings(context.obj, file), file)


def _screen(as_json: bool) -> Screen:
    from orchestrator.cli.screen import Screen

    return Screen(as_json=as_json)


def _end(code: ExitCode) -> None:
    raise typer.Exit(int(code))
