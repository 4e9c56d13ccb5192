"""`crdbvec uninstall`: remove what this project added to a table."""

import click

from crdbvec_pipelines.cli.databases import Databases
from crdbvec_pipelines.cli.output import print_json, print_text
from crdbvec_pipelines.cli.target import Selection, Target, column_options
from crdbvec_pipelines.database.column import bind_column
from crdbvec_pipelines.database.schema.migrations import find_migration
from crdbvec_pipelines.database.schema.uninstall import Uninstallation, plan_uninstallation, uninstall
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.naming import TableName


@click.command(epilog="Example: crdbvec uninstall -t article")
@column_options
@click.option("--drop-column", is_flag=True, help="Also drop the vector column with its vectors.")
@click.option("--yes", is_flag=True, help="Remove what is listed. Without it, nothing is changed.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(selection: Selection, drop_column: bool, yes: bool, as_json: bool) -> None:
    """Remove what this project added to a table, after listing it.

    Removes trigger, indexes, fingerprint column and metadata of each vector column, and nothing else. The vector column
    is kept unless --drop-column is given. Stop the processes that embed before.
    """
    target = selection.resolve()
    with target.open() as databases:
        found = _plan(databases, target, drop_column)
        if yes:
            for number in range(len(found)):
                # The statements are planned again, because those of the columns before have changed the table.
                planned = _plan(databases, target, drop_column)[number][1]
                uninstall(databases.of(target.columns[number]), planned)
    if as_json:
        print_json(
            {
                "removed": yes,
                "columns": [
                    {
                        "column": name,
                        "removals": [
                            {"what": each.what, "statement": each.statement.text} for each in planned.removals
                        ],
                        "kept": planned.kept,
                    }
                    for name, planned in found
                ],
            }
        )
        return
    for name, planned in found:
        if not planned.removals:
            print_text(f"{name}: nothing to remove; the column is not recorded as managed.")
            continue
        print_text(f"{name}: {'removed' if yes else 'would be removed'}:")
        for each in planned.removals:
            print_text(f"  {each.what}: {each.statement.text};")
        for sentence in planned.kept:
            print_text(f"  {sentence}")
    if not yes and any(planned.removals for _, planned in found):
        print_text("Nothing was changed. Run the command again with --yes to remove this.")


def _plan(databases: Databases, target: Target, drop_column: bool) -> list[tuple[str, Uninstallation]]:
    planned: list[tuple[str, Uninstallation]] = []
    before: dict[str | None, set[tuple[TableName, str]]] = {}
    for spec in target.columns:
        migration = find_migration(databases.of(spec), spec.table, spec.output)
        if migration is not None and migration.phase != "finished":
            raise ConfigurationError(
                f"{spec} is being migrated to another model (phase {migration.phase}). Run `crdbvec migrate status`, "
                "and finish or abandon the migration first."
            )
        column = bind_column(databases.of(spec), spec, target.registry.encoder_of(spec))
        removed = before.setdefault(spec.database, set())
        planned.append((str(spec), plan_uninstallation(column, with_vectors=drop_column, before=removed)))
        removed.add((spec.table, spec.output))
    return planned
