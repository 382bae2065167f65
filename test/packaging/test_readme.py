"""README and docs: links lead somewhere, commands and options exist, the README stays short."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from instructseg_ros.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'instructseg_ros'
README = ROOT / 'README.md'
MAX_README_WORDS = 1200
DOCS = sorted((ROOT / 'docs').glob('*.md'))
# Pages that show commands and name files, and those that only link.
GUIDES = [README, ROOT / 'CONTRIBUTING.md', ROOT / 'SECURITY.md', *DOCS]
LINKING = [
    *GUIDES,
    ROOT / 'CHANGELOG.md',
    PACKAGE / 'models' / 'embedded' / 'README.md',
    *sorted((ROOT / 'docs' / 'adr').glob('*.md')),
]
INTERFACES = ('msg', 'srv', 'action')
PROGRAMS = ('instructseg', 'segmentation_node', 'sim_camera')
FOLDERS = (
    *('action', 'config', 'docs', 'instructseg_ros', 'launch', 'msg', 'requirements', 'scripts'),
    *('srv', 'test', 'tabletop', 'research', 'checks', 'ros', 'video', 'streaming', 'spatial'),
    *('model', 'cli'),
)

each_guide = pytest.mark.parametrize('page', GUIDES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of a page."""
    return re.findall(rf'^```{language}\n(.*?)^```$', page.read_text(), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r'^```.*?^```$', '', page.read_text(), flags=re.MULTILINE | re.DOTALL)


def quoted(page: Path) -> list[str]:
    """Code that stands in the sentences of a page, on one line each."""
    return [' '.join(code.split()) for code in re.findall(r'`([^`]+)`', prose(page))]


def shell_commands(page: Path) -> Iterator[list[str]]:
    """Words of every command in the shell blocks of a page."""
    for block in blocks(page, 'sh'):
        for line in block.replace('\\\n', ' ').splitlines():
            words: list[str] = []
            for word in shlex.split(line, comments=True):
                if word in ('&&', '&', '|', ';'):
                    yield words
                    words = []
                else:
                    words.append(word)
            yield words


def arguments_after(words: list[str], program: list[str]) -> list[str] | None:
    """Return what follows a program in a command; None if the command does not run it."""
    for start in range(len(words) - len(program) + 1):
        if words[start : start + len(program)] == program:
            return words[start + len(program) :]
    return None


def instructseg_arguments(words: list[str]) -> list[str] | None:
    """Return the arguments of `instructseg`, however a command starts it."""
    if words[:1] == ['instructseg']:
        return words[1:]
    for program in (
        ['ros2', 'run', 'instructseg_ros', 'instructseg'],
        ['accelerate', 'launch', '-m', 'instructseg_ros.cli.main'],
    ):
        if (arguments := arguments_after(words, program)) is not None:
            return arguments
    return None


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    text = re.sub(r'[^\w\- ]', '', heading.strip().lower().replace('`', ''))
    return text.replace(' ', '-')


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page."""
    return {slug(each) for each in re.findall(r'^#+ (.*)$', prose(page), re.MULTILINE)}


def test_the_readme_is_short() -> None:
    assert len(README.read_text().split()) <= MAX_README_WORDS


def test_the_readme_links_to_every_page() -> None:
    text = README.read_text()
    assert [page.name for page in DOCS if f'(docs/{page.name})' not in text] == []


@pytest.mark.parametrize('page', LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_or_heading_leads_there(page: Path) -> None:
    broken = []
    for target in re.findall(r'\]\(([^)\s]+)\)', prose(page)):
        if target.startswith(('http:', 'https:')):
            continue
        name, _, anchor = target.partition('#')
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def is_there(name: str, page: Path) -> bool:
    """Tell whether a page names an existing file, pattern of files, or interface."""
    if re.fullmatch(r'instructseg_ros/[A-Z]\w*', name):
        return any((ROOT / kind / f'{Path(name).name}.{kind}').is_file() for kind in INTERFACES)
    places = (ROOT, PACKAGE) if page.name == 'CONTRIBUTING.md' else (ROOT,)
    return any(list(place.glob(name.rstrip('/'))) for place in places)


@each_guide
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    words = [word for code in quoted(page) for word in code.split()]
    named = [word for word in words if re.fullmatch(rf'({"|".join(FOLDERS)})/[\w./*-]*', word)]
    named += re.findall(r'\binstructseg_ros/[A-Z]\w*', prose(page))
    assert [name for name in named if not is_there(name, page)] == []


@each_guide
def test_every_instructseg_command_of_a_page_is_accepted(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AcceptedError(Exception):
        """The command was parsed; it shall not run."""

    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, arguments: list[str]) -> NoReturn:
        parse(self, arguments)
        raise AcceptedError

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)
    for words in shell_commands(page):
        arguments = instructseg_arguments(words)
        if arguments is not None:
            with pytest.raises(AcceptedError):
                main(arguments)


@each_guide
def test_every_instructseg_command_in_a_sentence_exists_with_its_options(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for code in quoted(page):
        words = shlex.split(code, comments=True) if '"' in code or "'" not in code else []
        if words[:1] != ['instructseg']:
            continue
        command = []
        for word in words[1:]:
            if not re.fullmatch(r'[a-z]+', word):
                break
            command.append(word)
        with pytest.raises(SystemExit) as ending:
            main([*command, '--help'])
        assert ending.value.code == 0, code
        shown = capsys.readouterr().out
        assert [word for word in words if word.startswith('--') and word not in shown] == [], code


@each_guide
def test_every_make_target_of_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))
    commands = [*shell_commands(page), *(code.split() for code in quoted(page))]
    wanted = {words[1] for words in commands if words[:1] == ['make'] and len(words) > 1}
    assert wanted - targets == set()


@each_guide
def test_every_launch_file_and_argument_of_a_page_exists(page: Path) -> None:
    for words in shell_commands(page):
        arguments = arguments_after(words, ['ros2', 'launch', 'instructseg_ros'])
        if arguments is None:
            continue
        file, *given = arguments
        known = launch_arguments(file) | launch_arguments('segmentation.launch.py')
        named = {each.partition(':=')[0] for each in given if ':=' in each}
        assert named - known == set()


def launch_arguments(file: str) -> set[str]:
    """Names in the tables of a launch file, which include its arguments."""
    tree = ast.parse((ROOT / 'launch' / file).read_text())
    return {
        key.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }


@each_guide
def test_every_parameter_that_a_page_sets_exists(page: Path) -> None:
    known = (ROOT / 'docs' / 'parameters.md').read_text()
    commands = [*shell_commands(page), *(code.split() for code in quoted(page))]
    settings = (arguments_after(words, ['ros2', 'param', 'set']) for words in commands)
    names = [setting[1] for setting in settings if setting]
    assert [name for name in names if f'| `{name}` |' not in known] == []


@each_guide
def test_what_the_python_examples_of_a_page_import_exists(page: Path) -> None:
    for block in blocks(page, 'python'):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert [each.name for each in node.names if not hasattr(module, each.name)] == []


@each_guide
def test_every_module_that_a_page_runs_exists(page: Path) -> None:
    commands = [*shell_commands(page), *(code.split() for code in quoted(page))]
    modules = (arguments_after(words, ['-m']) for words in commands)
    names = [words[0] for words in modules if words]
    assert [name for name in names if importlib.util.find_spec(name) is None] == []


@pytest.mark.ros
@pytest.mark.parametrize('program', PROGRAMS)
def test_a_program_of_the_environment_prints_help(program: str) -> None:
    command = [Path(sys.executable).parent / program, '--help']
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.startswith(f'usage: {program} ')


def test_the_pages_show_every_program() -> None:
    shown = {word for page in GUIDES for words in shell_commands(page) for word in words}
    assert set(PROGRAMS) <= shown
