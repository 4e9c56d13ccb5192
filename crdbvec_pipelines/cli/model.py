"""`crdbvec model list`, `crdbvec model desc` and `crdbvec model add`. They do not connect to a database."""

import json
from pathlib import Path
from typing import Any

import click

from crdbvec_pipelines.cli.completion import complete_model
from crdbvec_pipelines.cli.output import print_json, print_text
from crdbvec_pipelines.cli.target import model_options, read_config
from crdbvec_pipelines.config.model_name import is_named_model, split_model
from crdbvec_pipelines.encoding.registry import ModelRegistry, load_registry


@click.group(epilog="Example: crdbvec model list")
def command() -> None:
    """List and describe the models."""


@command.command("list", epilog="Example: crdbvec model list --json")
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_models(config_path: Path | None, as_json: bool) -> None:
    """List the models.

    Prints one line per model: name and label. Models by name are those of the configuration.
    """
    config = read_config(config_path)
    registry = load_registry(config)
    by_name = {spec.model for spec in config.vectors if is_named_model(spec.model)} if config else set()
    models = [(name, registry.load(name).label) for name in [*registry.names(), *sorted(by_name)]]
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


@command.command("add", epilog="Example: crdbvec model add sentence-transformers/all-mpnet-base-v2")
@model_options
@click.argument("model")
@click.option("--reranker", "is_reranker", is_flag=True, help="It is a cross-encoder, for the key rerank.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def add(config_path: Path | None, model: str, is_reranker: bool, as_json: bool) -> None:
    """Download a model of the Hugging Face hub, check it and pin it.

    It is pinned to its present commit. MODEL is organization/model, or a folder; settings follow as in
    'organization/model?pooling=mean'. Only weights in safetensors are downloaded, and no code of the model is run.
    """
    registry = load_registry(read_config(config_path))
    facts = _add_reranker(registry, model) if is_reranker else _add_model(registry, model)
    if as_json:
        print_json(facts)
        return
    print_text(f"{facts['name']}: checked, in {facts['folder']}.")
    if not is_reranker:
        print_text(f"Dimension {facts['dimension']}, metric {facts['metric']}.")
    if facts["commit"]:
        entry = _entry("rerank" if is_reranker else "model", model, facts["commit"])
        print_text(f"To use the same commit on every machine, write in crdbvec.yaml:\n    {entry}")


def _add_model(registry: ModelRegistry, model: str) -> dict[str, Any]:
    named = registry.named_model(model)
    directory, commit = named.add()
    vectors = {"dimension": named.embedding_dim(), "metric": named.embedding_metric()}
    return {"name": named.name, "commit": commit, "folder": str(directory), **vectors}


def _add_reranker(registry: ModelRegistry, model: str) -> dict[str, Any]:
    reranker = registry.reranker(model)
    directory, commit = reranker.add()
    return {"name": reranker.name, "commit": commit, "folder": str(directory)}


def _entry(key: str, model: str, commit: str) -> str:
    """Return the line of crdbvec.yaml that names a model at a commit."""
    name, settings = split_model(model)
    pairs = {"name": name, **settings, "revision": commit}
    return f"{key}: {{" + ", ".join(f"{each}: {json.dumps(value)}" for each, value in pairs.items()) + "}"
