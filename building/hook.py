"""Puts compiled modules into the wheel that hatchling builds, or the reason why there are none."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attempt import CannotCompile, compile_modules, must_compile
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

REASON = "recipes/core/not_compiled.txt"  # recipes/core/build.py reads it


class CompileHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        self._work = TemporaryDirectory(prefix="recipes-build-")
        work = Path(self._work.name)
        try:
            build_data["force_include"].update(compile_modules(Path(self.root), work, self._modules()))
            build_data["pure_python"], build_data["infer_tag"] = False, True
        except CannotCompile as error:
            if must_compile():
                raise
            self.app.display_warning(f"zab-recipes is installed in pure Python, which is slower: {error}")
            (work / "reason").write_text(f"{error}\n")
            build_data["force_include"][str(work / "reason")] = REASON

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._work.cleanup()

    def _modules(self) -> list[str]:
        """The sources that `include` names, without those of `exclude`: files and directories below the root."""
        root = Path(self.root)
        found: set[Path] = set()
        for name in self.config["include"]:
            path = root / name.strip("/")
            found.update(path.rglob("*.py") if path.is_dir() else [path])
        found -= {root / name.strip("/") for name in self.config["exclude"]}
        return sorted(str(path.relative_to(root)) for path in found if path.name != "__init__.py")
