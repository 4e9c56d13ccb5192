"""`crdbvec model list` and `crdbvec model desc`. They do not connect to a database."""

from pathlib import Path

import click

from crdbvec_pipelines.cli.completion import complete_model
from crdbvec_pipelines.cli.output import print_json, print_text
from crdbvec_pipelines.cli.target import model_options, read_config
from crdbvec_pipelines.encoding.registry import load_registry


@click.group(epilog="Example: crdbvec model list")
def command() -> None:
    """List and describe the models."""


@command.command("list", epilog="Example: crdbvec model list --json")
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_models(config_path: Path | None, as_json: bool) -> None:
    """List the models.

    Prints one line per model: name and label.
    """
    registry = load_registry(read_config(config_path))
    models = [(name, registry.load(name).label) for name in registry.names()]
    if as_json:
        print_json([{"name": name, "label": label} for name, label in models])
        return
    for name, label in models:
        print_text(f"{name}\t{label}")


@command.command("desc", epilog="Example: crdbvec model desc hf_st_all_minilm_l6")
@model_options
@click.argument("name", shell_complete=complete_model)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def describe(config_path: Path | None, name: str, as_json: bool) -> None:
    """Describe a model.

    Prints its label, its description, its dimension and its metric.
    """
    encoder = load_registry(read_config(config_path)).load(name)
    facts = {"name": name, "label": encoder.label, "dimension": encoder.dim, "metric": encoder.metric}
    if as_json:
        print_json({**facts, "description": encoder.description})
        return
    frame = "-" * (len(encoder.label) + 4)
    print_text(f"{frame}\n| {encoder.label} |\n{frame}\n{encoder.description.strip()}\n")
    print_text(f"Dimension {encoder.dim}, metric {encoder.metric}.")
