"""The command line, as far as it runs nothing."""

from pathlib import Path

import pytest

from api import cli


def test_kubeconfig_of_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/elsewhere")
    assert cli.kubeconfig_path() == "/elsewhere"


def test_kubeconfig_is_in_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("CP_DATA_DIR", "/data")
    assert cli.kubeconfig_path() == "/data/kubeconfig"


def test_the_hosts_kubectl_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.kubectl_program() == str(program)


def test_explain_needs_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["explain", "db"])
    assert "KIND/NAME" in capsys.readouterr().err
