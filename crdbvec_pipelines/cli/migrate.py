"""`crdbvec migrate`: another model for a vector column while applications continue to use it."""

from dataclasses import asdict, replace
from pathlib import Path

import click

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.cli.databases import Databases
from crdbvec_pipelines.cli.migrate_output import (
    comparison_json,
    comparison_lines,
    estimate_lines,
    migration_json,
    next_step,
    print_judged,
    state_lines,
)
from crdbvec_pipelines.cli.output import print_info, print_json, print_text
from crdbvec_pipelines.cli.target import Selection, Target, column_options
from crdbvec_pipelines.config import ProjectConfig
from crdbvec_pipelines.config.migration_file import FileChange, write_migration, write_model
from crdbvec_pipelines.database.schema.migrations import find_migration
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.comparison import DEFAULT_K, DEFAULT_SAMPLE
from crdbvec_pipelines.search.model_migration import DEFAULT_WAIT_SECONDS, ModelMigration

json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
wait_option = click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(0),
    default=DEFAULT_WAIT_SECONDS,
    show_default=True,
    help="How long to wait for rows that have only one of the two vectors.",
)
keep_config_option = click.option(
    "--keep-config", is_flag=True, help="Print what belongs into crdbvec.yaml, and do not change it."
)


@click.group(epilog="Example: crdbvec migrate start -t article -m another_model")
def command() -> None:
    """Change the model of a vector column without an outage."""


@command.command("start", epilog="Example: crdbvec migrate start -t article -m another_model --plan")
@column_options
@click.option("--second", help="The name of the second column.  [default: <output>_second]")
@click.option("--chunk-size", type=int, help="With chunks: the tokens of a chunk for the new model.  [default: as now]")
@click.option("--chunk-overlap", type=int, help="With chunks: the tokens that chunks share.  [default: as now]")
@click.option("--old-model", help="The present model, if there is no configuration file.")
@click.option("--plan", "only_plan", is_flag=True, help="Print the estimate, and change nothing.")
@keep_config_option
@json_option
def start(
    selection: Selection,
    second: str | None,
    chunk_size: int | None,
    chunk_overlap: int | None,
    old_model: str | None,
    only_plan: bool,
    keep_config: bool,
    as_json: bool,
) -> None:
    """Open a migration to the model that -m names.

    Adds a second vector column, which `crdbvec embed` and the follow process fill and keep fresh from then on, as they
    do the first one, and writes it into crdbvec.yaml, so that Dagster shows it after a reload. `crdbvec migrate status`
    shows what comes next.
    """
    if selection.model is None:
        raise click.UsageError("Name the new model with -m.")
    target = replace(selection, model=old_model).resolve()
    entry = target.column
    target.registry.find(selection.model)
    with target.open() as databases:
        database = databases.of(entry)
        migrated = ModelMigration(database, entry, target.registry)
        wanted = migrated.wanted(selection.model, second, chunk_size=chunk_size, chunk_overlap=chunk_overlap)
        if only_plan:
            # Imported here, because the other commands need no estimate.
            from crdbvec_pipelines.estimate import estimate_refresh

            encoder = target.registry.encoder_of(wanted)
            estimate = estimate_refresh(database.with_quality_of_service(wanted.quality_of_service), wanted, encoder)
            if as_json:
                print_json({"second": wanted.output, "model": wanted.model, **asdict(estimate)})
            else:
                print_text("\n".join(estimate_lines(wanted, estimate)))
            return
        migration = migrated.start(wanted)
    change = write_migration(_file_to_change(target.config, keep_config), entry, migrated.written(wanted))
    if as_json:
        print_json({**migration_json(migration), **_change_json(change)})
    else:
        print_text("\n".join(state_lines(migration)))
        print_text(next_step(migration, None))
        print_text(str(change))


@command.command("status", epilog="Example: crdbvec migrate status --json")
@column_options
@json_option
def status(selection: Selection, as_json: bool) -> None:
    """Show the migrations of the vector columns, and what comes next.

    Changes nothing.
    """
    target = selection.resolve(also_second=True)
    found = []
    with target.open() as databases:
        for entry in target.columns:
            database = databases.of(entry)
            migration = find_migration(database, entry.table, target.output or entry.output)
            if migration is None:
                continue
            readiness = ModelMigration(database, entry, target.registry, target.output).readiness()
            found.append((migration, readiness))
    if as_json:
        print_json([{**migration_json(each), **(asdict(ready) if ready else {})} for each, ready in found])
        return
    if not found:
        print_text("No vector column is being migrated.")
    for migration, readiness in found:
        print_text("\n".join([*state_lines(migration, readiness), next_step(migration, readiness)]))


@command.command("compare", epilog="Example: crdbvec migrate compare -t article --queries-file questions.txt")
@column_options
@click.option(
    "--queries-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Compare the answers to these questions, one per line, not the neighbors of rows.",
)
@click.option(
    "--judged",
    "judged_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Questions with their relevant rows, as for `crdbvec evaluate`: measure recall and nDCG, too.",
)
@click.option(
    "-q", "--queries", type=click.IntRange(2), default=DEFAULT_SAMPLE, show_default=True, help="Rows of the sample."
)
@click.option("-k", "k", type=click.IntRange(1), default=DEFAULT_K, show_default=True, help="Nearest rows to compare.")
@click.option("--show-text", is_flag=True, help="Print the inputs of the rows, too, not only their keys.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path, dir_okay=False), help="Write a plot as PNG.")
@json_option
def compare(
    selection: Selection,
    queries_file: Path | None,
    judged_file: Path | None,
    queries: int,
    k: int,
    show_text: bool,
    plot_file: Path | None,
    as_json: bool,
) -> None:
    """Measure how searches of the two columns differ.

    Prints the overlap of the nearest rows and the correlation of their ranks with confidence intervals, latency,
    distances and storage, and the queries that differ most. With --judged, also recall, MRR and nDCG of both columns,
    and their difference.
    """
    # Imported here, because the other commands need no questions.
    from crdbvec_pipelines.search.questions import read_questions

    if queries_file is not None and judged_file is not None:
        raise click.UsageError("Give one of --queries-file and --judged.")
    judgements = read_questions(judged_file) if judged_file is not None else []
    questions = [each.query for each in judgements]
    if queries_file is not None:
        questions = [line for line in queries_file.read_text(encoding="utf-8").splitlines() if line.strip()]
        if not questions:
            raise ConfigurationError(f"{queries_file} contains no question. Write one per line.")
    target = selection.resolve(also_second=True)
    with target.open() as databases:
        migrated = _of_target(databases, target)
        first, second = (each.spec for each in migrated.columns())
        compared = migrated.compare(questions=questions, sample=queries, k=k)
        judged = migrated.judge(judgements, k) if judgements else None
    texts = compared.inputs if show_text else {}
    names = (first, second)
    if plot_file is not None:
        from crdbvec_pipelines.search.plot import comparison_plot

        plot_file.write_bytes(comparison_plot(names, compared, judged))
    if as_json:
        shown = comparison_json(names, compared, with_inputs=show_text)
        print_json(shown if judged is None else {**shown, "judged": asdict(judged)})
        return
    print_text("\n".join(comparison_lines(names, compared, texts)))
    if judged is not None:
        print_judged(names, judged)


@command.command("switch", epilog="Example: crdbvec migrate switch -t article")
@column_options
@wait_option
@json_option
def switch(selection: Selection, wait: float, as_json: bool) -> None:
    """Write the new vectors under the name of the old ones.

    Exchanges the two columns by renaming them, so that the SQL of applications uses the new vectors. Both columns stay
    fresh. The command ends with an error if rows lack a new vector, or an index is missing.
    """
    _exchange(selection, wait, as_json, back=False)


@command.command("rollback", epilog="Example: crdbvec migrate rollback -t article")
@column_options
@wait_option
@json_option
def rollback(selection: Selection, wait: float, as_json: bool) -> None:
    """Write the old vectors under their name again, after a switch.

    Both columns stay fresh, so that the switch can be repeated.
    """
    _exchange(selection, wait, as_json, back=True)


@command.command("finish", epilog="Example: crdbvec migrate finish -t article")
@column_options
@click.option("--abandon", is_flag=True, help="Before a switch: drop the new vectors, and keep the old ones.")
@keep_config_option
@json_option
def finish(selection: Selection, abandon: bool, keep_config: bool, as_json: bool) -> None:
    """Remove the column that is no longer used, with its index.

    After a switch, it is the column with the old vectors. Then the new model is written into crdbvec.yaml.
    """
    target = selection.resolve(also_second=True)
    entry = target.column
    with target.open() as databases:
        migration = _of_target(databases, target).finish(abandon=abandon)
    model, chunks = migration.kept(abandon=abandon)
    entry = entry.model_copy(update={"output": migration.output})
    change = write_model(_file_to_change(target.config, keep_config), entry, model, chunks)
    if as_json:
        phase = "abandoned" if abandon else "finished"
        print_json({**migration_json(migration), "phase": phase, **_change_json(change)})
        return
    if migration.phase == "finished":
        print_text(f"The column {migration.second} of {migration.table} was dropped before.")
    else:
        print_text(f"The column {migration.second} of {migration.table} was dropped with its index and its records.")
    print_text(str(change))


def _exchange(selection: Selection, wait: float, as_json: bool, *, back: bool) -> None:
    target = selection.resolve(also_second=True)
    is_noted: list[int] = []

    def on_wait(behind: int) -> None:
        if not is_noted:
            print_info(f"Waiting for {behind:,} rows that have only one of the two vectors.")
        is_noted.append(behind)

    with target.open() as databases:
        done = _of_target(databases, target).exchange(back=back, wait_seconds=wait, on_wait=on_wait)
    found = done.migration
    if as_json:
        print_json({**migration_json(found), "seconds": round(done.seconds, 4)})
        return
    model = found.first_model if back else found.second_model
    print_text(f"{found.table}.{found.output} has the vectors of {model} now ({done.seconds:.3f} s).")
    print_text(next_step(found, None))


def _of_target(databases: Databases, target: Target) -> ModelMigration:
    entry = target.column
    return ModelMigration(databases.of(entry), entry, target.registry, target.output)


def _file_to_change(config: ProjectConfig | None, keep_config: bool) -> ProjectConfig | None:
    """Return the configuration whose file a command may change: not that of the demo, which is part of the package."""
    is_own = config is not None and config.file is not None and config.file != bundled("crdbvec.yaml")
    return config if is_own and not keep_config else None


def _change_json(change: FileChange) -> dict[str, object]:
    return {"config_file": str(change.file) if change.is_written else None}
