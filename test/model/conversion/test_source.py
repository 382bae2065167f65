from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from instructseg_ros.cli.main import main
from instructseg_ros.model.conversion import source
from instructseg_ros.model.conversion.source import find_source, read_config
from instructseg_ros.model.model_files import ModelError, find_model

NAME = 'nobody/nothing-of-this-name'
COMMIT = '0' * 40
FILES = {
    'config.json': '{}',
    '.gitattributes': '*.safetensors -text\n',
    'images/a.txt': 'a',
    'pytorch_model.bin': '\x80\x04.',
    'model.py': 'print()',
    'model.gguf': 'GGUF',
}


@pytest.fixture(autouse=True)
def refusing_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of the hub, and an endpoint that refuses; the rest is each test's."""
    for name in ('http_proxy', 'https_proxy', 'all_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    with closing(socket.create_server(('127.0.0.1', 0))) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr(constants, 'ENDPOINT', f'http://127.0.0.1:{port}')


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """An endpoint that takes connections, which are counted, and never answers."""
    taken: list[socket.socket] = []

    def accept(server: socket.socket) -> None:
        while True:
            try:
                taken.append(server.accept()[0])
            except OSError:
                return

    with closing(socket.create_server(('127.0.0.1', 0))) as server:
        monkeypatch.setattr(constants, 'ENDPOINT', f'http://127.0.0.1:{server.getsockname()[1]}')
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        yield taken
        server.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's interface that downloads a model."""

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition('?')[0]
        files = [
            {'type': 'file', 'path': name, 'rfilename': name, 'size': len(text), 'oid': name}
            for name, text in FILES.items()
        ]
        if path.startswith(f'/api/models/{NAME}/tree/'):
            return self._send(json.dumps(files))
        if path.startswith(f'/api/models/{NAME}'):
            return self._send(json.dumps({'id': NAME, 'sha': COMMIT, 'siblings': files}))
        for name, text in FILES.items():
            if path == f'/{NAME}/resolve/{COMMIT}/{name}':
                return self._send(text, etag=name.replace('/', '-'))
        self.send_response(404)
        if path != '/':
            self.send_header('X-Error-Code', 'RepoNotFound')
        self.send_header('Content-Length', '0')
        self.end_headers()

    def _send(self, text: str, etag: str = 'x') -> None:
        body = text.encode('latin-1')
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.send_header('X-Repo-Commit', COMMIT)
        self.send_header('ETag', f'"{etag}"')
        self.end_headers()
        if self.command == 'GET':
            self.wfile.write(body)


@pytest.fixture
def answering_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that answers, however long a busy machine takes."""
    monkeypatch.setattr(source, '_REQUEST_TIMEOUT', 120)
    monkeypatch.setattr(source, '_HUB_TIMEOUT', 120)
    with ThreadingHTTPServer(('127.0.0.1', 0), Hub) as server:
        endpoint = f'http://127.0.0.1:{server.server_port}'
        template = '/{repo_id}/resolve/{revision}/{filename}'
        monkeypatch.setattr(constants, 'ENDPOINT', endpoint)
        monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', endpoint + template)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def refused(name: str) -> str:
    with pytest.raises(ModelError) as error:
        find_source(name)
    assert '\n' not in str(error.value)
    return str(error.value)


def assert_the_files_to_copy_are_named(message: str) -> None:
    for file in ('config.json', 'model.safetensors.index.json', 'tokenizer.json', 'hf download'):
        assert file in message


def test_a_folder_is_its_own_source(tmp_path: Path) -> None:
    assert find_source(str(tmp_path)) == tmp_path


@pytest.mark.parametrize('name', ['not a hub id', '/no/such/folder', '~nobody/x', 'x' * 5000])
def test_a_name_that_no_model_of_the_hub_has_is_refused_without_asking_it(
    name: str, silent_hub: list[socket.socket]
) -> None:
    message = refused(name)
    assert 'not a valid hub id' in message
    assert_the_files_to_copy_are_named(message)
    assert silent_hub == []


def test_offline_the_hub_is_not_asked_and_the_files_to_copy_are_named(
    monkeypatch: pytest.MonkeyPatch, silent_hub: list[socket.socket]
) -> None:
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    message = refused(NAME)
    assert 'HF_HUB_OFFLINE' in message
    assert_the_files_to_copy_are_named(message)
    assert silent_hub == []


def test_if_the_hub_refuses_the_files_to_copy_are_named() -> None:
    message = refused(NAME)
    assert f'the hub ({constants.ENDPOINT}) does not answer' in message
    assert f'hf download {NAME}' in message
    assert_the_files_to_copy_are_named(message)


def test_a_hub_that_never_answers_is_asked_once_for_seconds(
    monkeypatch: pytest.MonkeyPatch, silent_hub: list[socket.socket]
) -> None:
    assert 0 < source._REQUEST_TIMEOUT <= source._HUB_TIMEOUT <= 10
    monkeypatch.setattr(source, '_REQUEST_TIMEOUT', 0.2)
    assert_the_files_to_copy_are_named(refused(NAME))
    deadline = time.monotonic() + 60
    while not silent_hub and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(silent_hub) == 1


def test_a_name_server_that_never_answers_costs_only_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()

    def look_up(*_: object, **__: object) -> list[object]:
        over.wait()
        return []

    monkeypatch.setattr(source, '_HUB_TIMEOUT', 0.2)
    monkeypatch.setattr(socket, 'getaddrinfo', look_up)
    try:
        assert_the_files_to_copy_are_named(refused(NAME))
    finally:
        over.set()


@pytest.mark.parametrize('endpoint', ['http://hub.invalid', 'no address', 'http://127.0.0.1:1'])
def test_an_unreachable_endpoint_is_named_at_once(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def known(host: str, *arguments: object, **options: object) -> object:
        if host == 'hub.invalid':
            raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
        return look_up(host, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(source, '_HUB_TIMEOUT', threading.TIMEOUT_MAX)  # the refusal ends the wait
    monkeypatch.setattr(socket, 'getaddrinfo', known)
    monkeypatch.setattr(constants, 'ENDPOINT', endpoint)
    assert f'the hub ({endpoint}) does not answer' in refused(NAME)


@pytest.mark.usefixtures('answering_hub')
def test_only_files_that_conversion_reads_are_downloaded_from_the_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = find_source(NAME)
    found = {file.relative_to(folder).as_posix() for file in folder.rglob('*') if file.is_file()}
    assert found == {'config.json', 'images/a.txt'}
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:1')
    assert find_source(NAME) == folder


@pytest.mark.usefixtures('answering_hub')
def test_a_model_that_the_hub_does_not_have_is_refused_without_advice_to_download_it() -> None:
    message = refused('nobody/other')
    assert 'Check the name' in message and 'hf download' not in message


def test_a_model_is_loaded_by_its_hub_id_without_asking_the_hub(
    silent_hub: list[socket.socket],
) -> None:
    with pytest.raises(ModelError, match='loading never uses the network'):
        find_model(NAME)
    assert silent_hub == []


def test_a_folder_that_is_in_use_is_refused_before_a_download(
    tmp_path: Path, silent_hub: list[socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').touch()
    assert main(['convert', NAME, str(tmp_path)]) == 1
    assert 'is not empty' in capsys.readouterr().err and silent_hub == []


def test_the_help_mentions_that_the_disk_is_needed_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(['convert', '--help'])
    assert 'for both the source' in ' '.join(capsys.readouterr().out.split())


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'has no config\.json'):
        read_config(tmp_path)


@pytest.mark.parametrize('text', ['{', 'null', '[1, 2]'])
def test_a_damaged_config_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(ModelError, match='damaged'):
        read_config(tmp_path)


def test_a_pickled_file_is_refused_as_such(tmp_path: Path) -> None:
    file = tmp_path / 'model_final.pkl'
    file.write_bytes(b'\x80\x04.')
    with pytest.raises(ModelError, match=r'model_final\.pkl is pickled'):
        find_source(str(file))


def test_a_file_is_not_a_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / 'model.safetensors'
    file.touch()
    with pytest.raises(ModelError, match='name the folder'):
        find_source(str(file))
