"""The files in the state directory that PostgreSQL reads: settings, service, hba, ident and password file.

Blocking; called on the writing lane. Rule of admission: written by this agent alone, replaced durably.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agents.core.steps import Stream
from agents.postgres.config import InstanceConfig
from agents.postgres.files import DurableFile, write_all
from agents.postgres.hba import hba_text, ident_text, lets_clients_in
from agents.postgres.service_file import password_text, read_address, service_text
from agents.postgres.settings import purge_auto_conf, read_settings, settings_text
from common.errors import BadConfig


class OwnFiles:
    def __init__(self, config: InstanceConfig, major: int) -> None:
        self._config = config
        self._major = major
        owner = config.run_as
        self._settings = DurableFile(config.settings_file, owner)
        self._service = DurableFile(config.service_file, owner)
        self._hba = DurableFile(config.hba_file, owner)
        self._ident = DurableFile(config.ident_file, owner)
        self._password = DurableFile(config.password_file, owner)
        self._beside = ThreadPoolExecutor(2, thread_name_prefix="syncing")

    def prepare(self) -> None:
        """Raise BadConfig when the replication password can't be read."""
        password = read_password("replication_password_file", self._config)
        for file, text in (
            (self._ident, ident_text(self._config)),
            (self._password, password_text(self._config, password)),
        ):
            try:
                file.write(text)
            except OSError:  # on a full disk what lies there will do
                if file.read() != text:
                    raise

    def write(self, rule: str, stream: Stream | None, *, closed: bool | None) -> list[str]:
        """Answers the managed names that were found in postgresql.auto.conf, and removed."""
        if closed is None:
            closed = not self.open
        # The service file first: without a stream it withdraws the address from every later receiver (R1). What was
        # withdrawn must not come back; what is granted may be lost, and is granted again.
        write_all(
            [
                (self._service, service_text(self._config, stream)),
                (self._settings, settings_text(self._config, self._major, rule, stream)),
                (self._hba, hba_text(self._config, closed=closed)),
            ],
            self._beside,
            lasting=stream is None,
        )
        return purge_auto_conf(self._config.data_directory, self._config.run_as)

    def set_door(self, *, closed: bool) -> None:
        write_all([(self._hba, hba_text(self._config, closed=closed))], lasting=closed)

    @property
    def open(self) -> bool:
        return lets_clients_in(self._hba.read())

    @property
    def there(self) -> bool:
        return self._settings.read() is not None and self._hba.read() is not None

    def rule_and_upstream(self) -> tuple[str | None, str]:
        return read_settings(self._settings.read())

    def upstream_address(self) -> str:
        return read_address(self._service.read())


def read_password(key: str, config: InstanceConfig) -> str:
    path: Path | None = getattr(config, key)
    assert path is not None, f"{key} is not given"
    try:
        password = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig([f"postgres.{key} {path}: {error}"]) from error
    if not password:
        raise BadConfig([f"postgres.{key} {path}: is empty"])
    return password
