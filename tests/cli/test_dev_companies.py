"""`dcbridge dev --with …`: what it writes into bridge.yaml, and what it leaves as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dcbridge.cli.dev.companies import COMPANIES, CannotAdd, accounts, carriers
from dcbridge.cli.dev.processes import Ports, prepare
from dcbridge.config.loader import load
from dcbridge.providers import KINDS
from tests import warm
from tests.cli.test_dev_is_private import open_to_others


def told(folder: Path) -> dict[str, dict[str, dict[str, object]]]:
    found: dict[str, dict[str, dict[str, object]]] = yaml.safe_load((folder / "bridge.yaml").read_text())
    return found


def test_a_company_gets_a_provider_a_channel_and_secrets_of_its_own(tmp_path: Path) -> None:
    prepare(tmp_path / "data", Ports(), list(COMPANIES))
    configuration = load(tmp_path / "data" / "bridge.yaml", {})
    assert set(configuration.providers) == {"twilio", "mail", *COMPANIES}
    assert {one.provider for one in configuration.channels.values()} == set(configuration.providers)
    assert configuration.build_providers().keys() == configuration.providers.keys()
    assert [str(one) for one in configuration.warnings] == []
    assert set(COMPANIES) == set(KINDS) - {"twilio", "smtp"}
    found, channels = accounts(tmp_path / "data")
    assert found.keys() == COMPANIES.keys()
    assert channels.keys() == configuration.channels.keys()
    assert open_to_others(tmp_path / "data") == []


def test_what_stands_in_bridge_yaml_is_left_as_it_is(tmp_path: Path) -> None:
    prepare(tmp_path, Ports())
    path = tmp_path / "bridge.yaml"
    path.write_text(path.read_text().replace("unknown_grace: 3", "unknown_grace: 7  # mine", 1))
    before = path.read_text().splitlines()
    prepare(tmp_path, Ports(), ["vonage"])
    once = path.read_text()
    prepare(tmp_path, Ports(), ["vonage"])
    assert path.read_text() == once
    assert [line for line in before if line not in once.splitlines()] == []
    assert told(tmp_path)["channels"][COMPANIES["vonage"].channel]["provider"] == "vonage"


def test_a_company_stays_when_the_ports_change(tmp_path: Path) -> None:
    prepare(tmp_path, Ports(), ["telnyx"])
    kept = (tmp_path / "telnyx_private_key").read_text()
    prepare(tmp_path, Ports(page=18090))
    assert told(tmp_path)["providers"]["telnyx"]["base_url"] == "http://127.0.0.1:18090"
    assert (tmp_path / "telnyx_private_key").read_text() == kept


def test_a_spare_company_stands_second_to_twilio_and_stays_there(tmp_path: Path) -> None:
    prepare(tmp_path, Ports(), spare="telnyx")
    once = (tmp_path / "bridge.yaml").read_text()
    assert load(tmp_path / "bridge.yaml", {}).channels["0123456789"].providers == ("twilio", "telnyx")
    prepare(tmp_path, Ports())
    assert (tmp_path / "bridge.yaml").read_text() == once
    assert carriers(tmp_path)["0123456789"] == ("twilio", "telnyx")
    assert carriers(tmp_path)[COMPANIES["telnyx"].channel] == ("telnyx",)
    prepare(tmp_path, Ports(page=18090))  # the file is written anew
    assert told(tmp_path)["channels"]["0123456789"]["providers"] == ["twilio", "telnyx"]


def test_a_second_spare_company_is_not_guessed_at(tmp_path: Path) -> None:
    prepare(tmp_path, Ports(), spare="telnyx")
    with pytest.raises(CannotAdd, match=r"write providers: \[twilio, infobip\] by hand"):
        prepare(tmp_path, Ports(), spare="infobip")


@pytest.mark.parametrize("section", ["providers", "channels"])
def test_a_file_of_another_form_is_not_guessed_at(tmp_path: Path, section: str) -> None:
    prepare(tmp_path, Ports())
    path = tmp_path / "bridge.yaml"
    path.write_text(path.read_text().replace(f"\n{section}:\n", f"\n{section}:  # mine\n"))
    before = path.read_text()
    with pytest.raises(CannotAdd, match=f'no line "{section}:"'):
        prepare(tmp_path, Ports(), ["vonage"])
    assert path.read_text() == before


@pytest.mark.parametrize("option", [["--with", "vonage,acme"], ["--spare", "acme"]], ids=" ".join)
def test_a_company_that_there_is_not_is_named(tmp_path: Path, option: list[str]) -> None:
    import sys

    command = [sys.executable, "-m", "dcbridge", "dev", "--folder", str(tmp_path / "data"), *option]
    ended = warm.run(command, {})
    assert ended.returncode == 2
    assert "there is no acme; choose from" in " ".join(ended.stderr.replace("│", "").split())
    assert not (tmp_path / "data").exists()


def test_the_help_names_every_company() -> None:
    import sys

    said = warm.run([sys.executable, "-m", "dcbridge", "dev", "--help"], {}).stdout
    named = " ".join(said.replace("│", "").split()).partition("separated by commas: ")[2].partition(".")[0]
    assert set(named.split(", ")) == set(COMPANIES)
