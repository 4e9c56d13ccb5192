"""Dagster's pages in Chromium, operated as a person operates them: by what they read and click."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import ConsoleMessage, Locator, Page, expect, sync_playwright

from tests.chaos.webserver import LOCATION
from tests.support.processes import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
"""The browser; None if there is none."""

SCREENSHOTS = ROOT / "docs" / "images"
UPDATE_VARIABLE = "CRDBVEC_UPDATE_SCREENSHOTS"

# The machine may be busy: nothing here is measured.
TIMEOUT_MILLISECONDS = 120_000
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_SIZE = (1400, 900)


class Ui:
    """One tab.

    Args:
        page: The tab.
        url: The address of Dagster's webserver.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self._url = url
        self.errors: list[str] = []
        """What the browser's console has shown as errors."""
        self.expected_in_log: tuple[str, ...] = ()
        """What an error in Dagster's log may contain."""
        page.set_default_timeout(TIMEOUT_MILLISECONDS)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def expect_errors(self, text: str) -> None:
        """Accept the errors so far in the browser's console; each contains a text."""
        assert all(text in error for error in self.errors), self.errors
        self.errors.clear()

    def expect_logged(self, *texts: str) -> None:
        """Accept errors in Dagster's log that contain one of some texts."""
        self.expected_in_log = texts

    def open(self, path: str) -> None:
        """Open a page of the webserver."""
        self.page.goto(f"{self._url}/{path}")

    def open_location(self, path: str) -> None:
        """Open a page of the code location."""
        self.open(f"locations/{LOCATION}/{path}")

    def open_asset(self, *key: str, view: str) -> None:
        """Open a tab of the page of an asset."""
        self.open(f"assets/{'/'.join(key)}?view={view}")

    def choose_check(self, check: str, shown: str) -> None:
        """Click a check in the list, and wait until its page, which shows a text, is there."""
        self.text(check).click()
        self.see(shown)

    def button(self, name: str) -> Locator:
        """Return a button by its text; its whole name also contains that of its icon."""
        return self.page.get_by_role("button", name=name).first

    def text(self, text: str) -> Locator:
        """Return the first element with exactly this text."""
        return self.page.get_by_text(text, exact=True).first

    def see(self, *texts: str) -> None:
        """Wait until the page shows each text."""
        for text in texts:
            expect(self.page.get_by_text(text).first).to_be_visible(timeout=TIMEOUT_MILLISECONDS)

    def open_launchpad(self, job: str) -> None:
        """Open the launchpad of a job, and wait until its configuration is there."""
        self.open_location(f"jobs/{job}/playground")
        self.see("No errors")

    def choose_partition(self, partition: str) -> None:
        """Choose a partition in a launchpad."""
        self.page.get_by_placeholder("Partition").click()
        self.page.keyboard.type(partition)
        # The partitions are loaded while it is typed.
        self.see(partition)
        self.page.keyboard.press("Enter")

    def replace_config(self, text: str) -> None:
        """Replace the configuration in a launchpad."""
        self.page.locator(".CodeMirror").first.click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text)

    def launch(self) -> str:
        """Click "Launch Run", and return the id of the run whose page opens."""
        self.button("Launch Run").click()
        self.page.wait_for_url("**/runs/*")
        return self.page.url.rsplit("/", 1)[-1].partition("?")[0]

    def open_materialize_dialog(self, *key: str) -> Locator:
        """Click "Materialize…" on the page of a partitioned asset, and return the dialog."""
        self.open_asset(*key, view="partitions")
        self.button("Materialize").click()
        dialog = self.page.get_by_role("dialog").first
        expect(dialog).to_be_visible()
        return dialog

    def screenshot(self, name: str) -> None:
        """Make the picture of the documents, if they are to be updated."""
        if os.environ.get(UPDATE_VARIABLE):
            SCREENSHOTS.mkdir(exist_ok=True)
            self.page.wait_for_load_state("networkidle")
            picture = Image.open(BytesIO(self.page.screenshot()))
            # A page has few colors; the file takes a third of the space.
            picture.convert("RGB").quantize(128).save(SCREENSHOTS / f"{name}.png", optimize=True)


@contextmanager
def open_tab(url: str) -> Iterator[Ui]:
    """Start the browser with a new profile, and close it at the end."""
    assert CHROMIUM is not None
    with sync_playwright() as playwright, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        context = playwright.chromium.launch_persistent_context(
            Path(profile),
            executable_path=CHROMIUM,
            headless=True,
            args=_FLAGS,
            viewport={"width": _SIZE[0], "height": _SIZE[1]},
        )
        try:
            yield Ui(context.pages[0], url)
        finally:
            context.close()
