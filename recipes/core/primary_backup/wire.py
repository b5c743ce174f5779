"""Primary-backup's messages on the quorum port: those that all protocols share, under its names."""

from typing import Final

from recipes.core.replicas import wire as w
from recipes.core.replicas.wire import Dialect

NAMES: Final = w.NAMES | {w.APPEND: "COPY", w.APPENDED: "COPIED"}
PRIMARY_BACKUP_MESSAGES: Final = Dialect("primary-backup", b"recipes/copy", NAMES)
