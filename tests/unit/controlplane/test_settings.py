"""Settings: defaults, what is refused and how that is told, and that the page is current."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.errors import TerminalError
from controlplane.settings import Settings, docker_url
from resources.docstrings import texts

ROOT = Path(__file__).resolve().parents[3]


def test_defaults_put_root_in_the_system_folder() -> None:
    settings = Settings.from_env({}, uid=0)
    assert settings.data_dir == Path("/var/lib/bunker")
    assert (settings.api_address, settings.api_port) == ("127.0.0.1", 8443)
    assert settings.secrets_dir == Path("/run/bunker/secrets")


def test_another_installation_has_a_runtime_folder_of_its_own() -> None:
    settings = Settings.from_env({"CP_INSTANCE": "two"}, uid=0)
    assert settings.runtime_dir == Path("/run/bunker-two")


def test_who_is_not_root_keeps_secret_files_where_anybody_may_make_a_folder() -> None:
    settings = Settings.from_env({"HOME": "/home/ann", "CP_INSTANCE": "two"}, uid=1000)
    assert settings.runtime_dir == Path("/dev/shm/bunker-two")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"HOME": "/home/ann"}, "/home/ann/.local/share/bunker"),
        ({"HOME": "/home/ann", "XDG_DATA_HOME": "/data"}, "/data/bunker"),
        ({"CP_DATA_DIR": "/elsewhere", "HOME": "/home/ann"}, "/elsewhere"),
    ],
)
def test_data_dir_follows_the_users_data_home(env: dict[str, str], expected: str) -> None:
    assert Settings.from_env(env, uid=1000).data_dir == Path(expected)


def test_the_bundled_postgresql_has_room_for_two_processes() -> None:
    for readers in ("", "100"):
        settings = Settings.from_env({"CP_DATABASE_CONNECTIONS": readers}, uid=0)
        assert settings.bundled_connections >= 2 * (settings.database_connections + 2) + 10
    assert Settings.from_env({}, uid=0).bundled_connections == 50


def test_empty_value_counts_as_unset() -> None:
    assert Settings.from_env({"CP_API_PORT": "", "CP_DATABASE_URL": ""}, uid=0).api_port == 8443


def test_values_are_read_from_the_environment() -> None:
    env = {
        "CP_API_PORT": "9443",
        "CP_IMAGES": "local",
        "CP_PORT_POOL": "31000-31009",
        "CP_VENV": "x",
    }
    settings = Settings.from_env(env, uid=0)
    assert settings.api_port == 9443
    assert settings.images == "local"
    assert settings.ports == range(31000, 31010)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CP_API_PORT", "0"),
        ("CP_API_PORT", "many"),
        ("CP_API_ADDRESS", "localhost"),
        ("CP_IMAGES", "cloud"),
        ("CP_INSTANCE", "Not A Label"),
        ("CP_SUBNET_POOL", "10.0.0.0/25"),
        ("CP_SUBNET_POOL", "10.0.0.1/16"),
        ("CP_PORT_POOL", "80-90"),
        ("CP_PORT_POOL", "31000-30000"),
        ("CP_RESYNC_S", "-1"),
        ("CP_WATCH_WINDOW_S", str(10**12)),
        ("CP_HISTORY_VERSIONS", str(10**19)),
        ("CP_VAULT_MOUNT", "schlüssel"),
        ("CP_DATA_DIR", "data"),
        ("CP_DATA_DIR", "/srv/a,b"),
        ("CP_RUNTIME_DIR", "run"),
        ("CP_DOCKER_HOST", "ssh://host"),
        ("CP_DOCKER_HOST", "tcp://10.0.0.2:2375"),
        ("CP_DOCKER_HOST", "http://10.0.0.2:2375"),
        ("CP_DOCKER_HOST", "unix://docker.sock"),
        ("CP_DOCKER_HOST", "/var/run/docker.sock"),
        ("CP_DATABASE_URL", "db:5432/cp"),
        ("CP_DATABASE_URL", "mysql://cp@db/cp"),
    ],
)
def test_wrong_value_is_refused_by_the_variables_name(name: str, value: str) -> None:
    with pytest.raises(TerminalError, match=name) as caught:
        Settings.from_env({name: value}, uid=0)
    assert caught.value.reason == "InvalidSettings"


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("CP_INSTANCE", "Not A Label", "such as 'staging'"),
        ("CP_PORT_POOL", "many", "such as '30000-32767'"),
        ("CP_VAULT_MOUNT", "schlüssel", "such as 'bunker/main'"),
        ("CP_DOCKER_HOST", "tcp://h:1", "such as unix:///var/run/docker.sock"),
    ],
)
def test_a_refusal_says_how_to_write_it(name: str, value: str, fix: str) -> None:
    with pytest.raises(TerminalError, match=f"{name}: '{value}' is not .*{fix}"):
        Settings.from_env({name: value}, uid=0)


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({}, "unix:///var/run/docker.sock"),
        ({"DOCKER_HOST": ""}, "unix:///var/run/docker.sock"),
        ({"DOCKER_HOST": "unix:///a"}, "unix:///a"),
        ({"DOCKER_HOST": "tcp://h:1", "CP_DOCKER_HOST": "unix:///b"}, "unix:///b"),
    ],
)
def test_the_engine_is_one_of_this_host(env: dict[str, str], url: str) -> None:
    assert docker_url(Settings.from_env(env, uid=0), env) == url


def test_an_engine_of_another_host_is_refused_wherever_it_is_named() -> None:
    env = {"DOCKER_HOST": "tcp://h:1"}
    settings = Settings.from_env(env, uid=0)  # which an API alone, with no engine, starts with
    with pytest.raises(TerminalError, match="DOCKER_HOST: 'tcp://h:1' is not") as caught:
        docker_url(settings, env)
    assert caught.value.reason == "InvalidSettings"


def test_a_folder_with_a_comma_holds_all_but_the_bundled_database() -> None:
    """Its clients would take it for two servers."""
    env = {"CP_DATA_DIR": "/srv/a,b", "CP_DATABASE_URL": "postgresql://db/cp"}
    assert Settings.from_env(env, uid=0).data_dir == Path("/srv/a,b")


def test_database_url_is_not_shown() -> None:
    settings = Settings.from_env({"CP_DATABASE_URL": "postgresql://cp:hunter22@db/cp"}, uid=0)
    assert "hunter22" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://cp:hunter22@db/cp",
        "postgresql://cp:hunter22@[::1]:5432/cp",
        "postgres://cp:hunter22@one:5432,two:5433/cp",
        "postgresql://postgres@/cp?host=/run/postgresql",
        "postgresql:///cp",
    ],
)
def test_a_database_is_named_as_postgresql_has_it(url: str) -> None:
    found = Settings.from_env({"CP_DATABASE_URL": url}, uid=0).database_url
    assert found is not None
    assert found.get_secret_value() == url


@pytest.mark.parametrize("password", ["hunter/22", "hunter#22"])
def test_a_password_that_breaks_its_url_is_told_without_it(password: str) -> None:
    with pytest.raises(TerminalError, match=r"CP_DATABASE_URL: .*%2F") as refused:
        Settings.from_env({"CP_DATABASE_URL": f"postgresql://cp:{password}@db/cp"}, uid=0)
    assert "hunter" not in str(refused.value)


def test_every_field_says_what_it_is() -> None:
    assert not Settings.model_fields.keys() - texts(Settings).keys()


def test_every_field_is_used_by_who_puts_the_parts_together() -> None:
    """Or by a property that is: a setting that changes nothing misleads."""
    places = ("controlplane/__main__.py", "controlplane/settings.py", "reconcilers/agent.py")
    used = {
        node.attr
        for place in places
        for node in ast.walk(ast.parse((ROOT / place).read_text()))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value).endswith(("settings", "self"))
    }
    assert set(Settings.model_fields) - used == set()


def test_settings_page_is_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/docs_settings.py"), "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
