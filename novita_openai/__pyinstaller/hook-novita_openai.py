"""What PyInstaller puts into a program that imports ``novita_openai``, besides what import statements name.

The package resolves its public names on first use, and the prompt formats are data files. The command line and the
pytest plugin come only into programs that import them; modules of an extra that is not installed are left out.
"""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

_ON_DEMAND = ("novita_openai.cli", "novita_openai.testing", "novita_openai.__main__", "novita_openai.__pyinstaller")


def _is_needed(module: str) -> bool:
    return not module.startswith(_ON_DEMAND)


datas = collect_data_files("novita_openai", includes=["**/*.toml"])
hiddenimports = collect_submodules("novita_openai", filter=_is_needed, on_error="ignore")
