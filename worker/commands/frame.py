"""What the CLI is without its commands."""

import typer


def frame() -> typer.Typer:
    """An application without commands."""
    made = typer.Typer(
        name="embedding-worker",
        help="Text events in from Kafka, Segmind embeddings out to Kafka; no event is lost.",
        epilog="Start with: embedding-worker demo. Settings: WORKER_* variables, --config FILE.toml or --set NAME=VALUE.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )
    made.callback()(nothing)
    return made


def nothing() -> None:
    """With it, an application of one command is told its name as well."""
