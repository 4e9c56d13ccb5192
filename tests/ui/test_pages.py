"""What a data engineer does in Dagster's UI: each test clicks, and reads the page and the table."""

import dagster as dg
import pytest
from playwright.sync_api import expect

from crdbvec_pipelines.orchestration.assets.check_results import DESCRIPTIONS, check_names
from crdbvec_pipelines.orchestration.assets.contact_sheet_text import contact_sheet_text
from crdbvec_pipelines.orchestration.assets.metadata import CONTACT_SHEET
from crdbvec_pipelines.search.contact_sheet import ContactSheet, SheetRow
from crdbvec_pipelines.search.picture_grid import CELL_PIXELS, picture_grid
from tests.support.pictures import scene
from tests.support.tables import INT_SHAPE, insert_rows
from tests.ui.browser import Ui
from tests.ui.conftest import ASSET, INDEX, PARTITION_ROWS, PASSWORD, ROWS, Site

pytestmark = pytest.mark.timeout(900)


def test_page_of_an_asset_without_partitions_names_the_job_to_launch(ui: Ui) -> None:
    ui.open_asset(*ASSET, view="overview")
    ui.see("passage_vector__sync_partitions")
    # Neither a newsletter nor a tour covers the first page.
    expect(ui.page.get_by_role("dialog")).to_have_count(0)
    # The server of these tests.
    expect(ui.page.get_by_text("CockroachDB", exact=True)).to_have_count(0)


@pytest.mark.parametrize("action", ["sync_partitions", "follow", "maintain"])
def test_job_is_launched_as_its_launchpad_opens(site: Site, ui: Ui, action: str) -> None:
    ui.open_launchpad(f"passage_vector__{action}")
    ui.see("url: '********'")
    run = ui.launch()
    site.wait_for_success(run)
    ui.see("Success")
    assert len(site.column.project.partitions) == ROWS // PARTITION_ROWS


@pytest.mark.parametrize("action", ["encode", "encode_in_process"])
def test_job_of_a_partition_is_launched_as_its_launchpad_opens(site: Site, ui: Ui, action: str) -> None:
    site.prepare()
    ui.open_launchpad(f"passage_vector__{action}")
    partition = site.column.project.partitions[0]
    ui.choose_partition(partition)
    site.wait_for_success(ui.launch())
    assert partition in site.column.project.materialized()


def test_number_out_of_bounds_is_rejected_before_a_run_is_queued(site: Site, ui: Ui) -> None:
    site.prepare()
    runs = site.column.instance.get_runs_count()
    ui.open_launchpad("passage_vector__encode")
    ui.choose_partition(site.column.project.partitions[0])
    ui.replace_config("ops: {public__passage__passage_vector: {config: {batch_size: 99999}}}")
    ui.button("Launch Run").click()
    ui.see("batch_size", "less than or equal to")
    # Dagster's webserver answers with this status if the answer contains an error, which the page shows.
    ui.expect_errors("500")
    assert site.column.instance.get_runs_count() == runs


def test_all_partitions_are_backfilled_from_the_dialog(site: Site, ui: Ui) -> None:
    site.prepare()
    dialog = ui.open_materialize_dialog(*ASSET)
    dialog.get_by_role("button", name="All", exact=True).click()
    dialog.get_by_text(f"{ROWS // PARTITION_ROWS} partitions selected").wait_for()
    ui.screenshot("materialize")
    dialog.get_by_role("button", name="Launch backfill").click()
    expect(dialog).to_be_hidden()
    site.deployment.wait_until(lambda: len(site.column.project.materialized()) == ROWS // PARTITION_ROWS)
    ui.open_asset(*ASSET, view="partitions")
    ui.see(f"Materialized ({ROWS // PARTITION_ROWS})")
    site.column.assert_each_row_has_its_vector()


def test_page_of_the_asset_is_complete_after_a_run_and_after_a_follow_run(site: Site, ui: Ui) -> None:
    site.embed()
    for action in ("", "follow"):
        if action:
            insert_rows(site.column.connection, INT_SHAPE, {len(site.column.texts()) + 1_000: "new"})
            site.run(action)
        ui.open_asset(*ASSET, view="overview")
        ui.see("rows_embedded", "rows_pending", "counts", "summary", "server", "passage_vector_fingerprint")
        ui.see("VECTOR(8)", "embedding by stub_slow")
        ui.screenshot("overview")
        ui.open_asset(*ASSET, view="checks")
        for check in check_names(site.column.project.spec):
            # The page shows names of commands in another font.
            ui.choose_check(check, DESCRIPTIONS[check].partition("`")[0].strip())
            ui.see("Passed", "Latest execution")
        expect(ui.page.get_by_text("Not evaluated")).to_have_count(0)
        ui.screenshot("checks")


def test_index_is_built_and_its_recall_is_plotted(site: Site, ui: Ui) -> None:
    site.embed()
    ui.open_asset(*INDEX, view="overview")
    ui.button("Materialize").click()
    instance = site.column.instance
    site.deployment.wait_until(lambda: bool(instance.fetch_materializations(dg.AssetKey(INDEX), limit=1).records))
    site.run("encode_in_process", partition_key=site.column.partitions[0])
    ui.open_asset(*INDEX, view="overview")
    ui.see("full_precision_bytes", "metric")
    expect(ui.page.get_by_text("Unsynced")).to_have_count(0)
    ui.open_asset(*INDEX, view="checks")
    for check, shown in (("index_used", "3 of 3 searches use the index."), ("recall_at_k", "Recall at 10 is 1.000")):
        ui.choose_check(check, shown)
    ui.text("[Show Markdown]").click()
    picture = ui.page.get_by_alt_text("recall over latency")
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 100
    ui.screenshot("recall")


def test_contact_sheet_of_pictures_is_shown(site: Site, ui: Ui) -> None:
    site.prepare()
    pictures = [scene(number, CELL_PIXELS, CELL_PIXELS) for number in range(12)]
    rows = tuple(SheetRow((number,), ((0.25, (number + 1,)),), "exact_scan") for number in (0, 6))
    text = contact_sheet_text(ContactSheet(rows, picture_grid([pictures[:6], pictures[6:]]), unread=0))
    site.column.instance.report_runless_asset_event(
        dg.AssetMaterialization(
            ASSET, partition=site.column.partitions[0], metadata={CONTACT_SHEET: dg.MetadataValue.md(text)}
        )
    )
    ui.open_asset(*ASSET, view="overview")
    ui.see("contact_sheet")
    ui.text("[Show Markdown]").click()
    sheet = ui.page.get_by_alt_text("some pictures, each with those nearest to it")
    sheet.wait_for()
    assert sheet.evaluate("image => image.naturalWidth") > 6 * CELL_PIXELS
    ui.see("keys and distances of the nearest pictures", "0.2500")


def test_sensor_is_switched_on_and_embeds_new_rows(site: Site, ui: Ui) -> None:
    site.embed()
    ui.open_location("sensors/passage_vector__follow_sensor")
    switch = ui.page.locator("label:has(input[type=checkbox])").first
    switch.click()
    insert_rows(site.column.connection, INT_SHAPE, {2_000: "a new passage"})
    site.deployment.wait_until(lambda: all(vector is not None for vector in site.column.vectors().values()))
    site.column.assert_each_row_has_its_vector()
    ui.see("1 run requested")
    ui.screenshot("sensor")
    switch.click()
    expect(switch.locator("input")).not_to_be_checked()


def test_run_is_terminated_and_the_table_is_right(site: Site, ui: Ui) -> None:
    site.prepare()
    insert_rows(site.column.connection, INT_SHAPE, {3_000 + number: f"late {number}" for number in range(20)})
    with site.calls.held():
        ui.open_launchpad("passage_vector__follow")
        run = ui.launch()
        ui.see("STEP_START")
        ui.button("Terminate").click()
        dialog = ui.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Terminate 1 run").click()
        dialog.get_by_text("Successfully requested termination for 1 run.").wait_for()
        dialog.get_by_role("button", name="Done").click()
    site.deployment.wait_until(lambda: site.deployment.webserver.status(run) == "CANCELED")
    ui.see("Canceled")
    ui.expect_logged("STEP_FAILURE", "canceled")
    site.run("follow")
    site.column.assert_each_row_has_its_vector()


def test_page_of_the_resource_shows_the_variable_and_no_secret(site: Site, ui: Ui) -> None:
    ui.open_location("resources/cockroach")
    ui.see("max_connections", "CRDBVEC_URL")
    assert PASSWORD not in ui.page.content()
