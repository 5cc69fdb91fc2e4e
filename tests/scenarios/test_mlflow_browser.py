"""A sweep in MLflow's interface, in a real browser."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from reasonir.sweep.jobs import SweepRecord
from reasonir.tracking.mlflow_views import ADDRESS
from tests.running import run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A home with a sweep of two jobs: (home, what the command said, the sweep's folder)."""
    home = tmp_path_factory.mktemp("swept")
    small = ("experiment=demo_tiny", "logger=mlflow", "data.variants=1", "evaluation.baselines=[]")
    done = run("train", "-m", *small, "trainer.max_steps=4", "loss.temperature=0.5,1.0", home=home)
    assert done.status == 0, done.err
    (folder,) = (home / "multirun").glob("*")
    return home, done, folder


@contextlib.contextmanager
def interface(home):
    """MLflow's interface on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = f"sqlite:///{home / 'mlflow.db'}"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--port",
        str(port),
        "--backend-store-uri",
        store,
        "--workers",
        "1",
    ]
    server = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
                break
            time.sleep(1)
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait()


@pytest.fixture(scope="module")
def page():
    """A page of a headless browser that asks nobody but this machine."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        opened = browser.new_page(viewport={"width": 1600, "height": 1200})
        opened.set_default_timeout(60_000)
        yield opened
        browser.close()


def test_a_sweep_is_compared(swept, page, tmp_path):
    home, done, folder = swept
    (said,) = [line for line in done.err.splitlines() if line.startswith("In the browser: make ui, then ")]
    with interface(home) as address:
        page.goto(said.split("then ")[1].replace(ADDRESS, address))
        for job in ("temperature=0.5", "temperature=1.0"):
            page.get_by_role("link", name=job).first.wait_for()
        for section in ("Results", "Training", "Speed"):
            page.get_by_text(section, exact=False).first.wait_for()
        charts = page.locator(".js-plotly-plot")
        charts.nth(3).wait_for()  # bars on dev and on the test, what was swept, a curve
        page.get_by_text("train/loss").first.wait_for()
        page.screenshot(path=tmp_path / "sweep.png")

        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
        parent = client.get_run(SweepRecord.read(folder).parent)
        jobs = client.search_runs(
            [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", order_by=["start_time"]
        )
        ids = ",".join(f'"{job.info.run_id}"' for job in jobs)
        page.goto(f'{address}/#/compare-runs?runs=[{ids}]&experiments=["{parent.info.experiment_id}"]')
        page.get_by_text("Comparing 2 Runs").wait_for()
        for job in jobs:
            page.get_by_text(job.info.run_name, exact=True).first.wait_for()
        page.get_by_text("loss.temperature").first.wait_for()
        page.locator("text.axis-title", has_text="train/loss").wait_for()  # what the comparison's plot begins with
        page.locator(".js-plotly-plot").first.wait_for()
        page.screenshot(path=tmp_path / "compared.png")
