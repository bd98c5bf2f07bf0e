"""The loader itself: its environment, and files that it has loaded.

Everything stays in this process until a kernel is booted, so that a VM is not
touched by a run that fails.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from . import freebsd, kernelelf, linkerhints, loaderconf, modmeta
from .devices import Devices
from .errors import LoadError
from .loaderconf import LoaderConf, ModuleWish
from .preload import Preloaded
from .volume import Node, read_chunks, read_file

_MAX_CONF = 1 << 20
_MAX_NEEDS = 16
_FSTAB = "/etc/fstab"
_ARCH = {8: "amd64", 4: "i386"}


@dataclass(slots=True)
class Loader:
    """One run of the loader: `limit` is where guest memory for it ends."""

    devices: Devices
    limit: int
    say: Callable[[str], None]
    conf: LoaderConf = field(default_factory=LoaderConf)
    files: list[Preloaded] = field(default_factory=list)
    args: str = ""
    provided: dict[str, int] | None = None
    hints: dict[str, list[linkerhints.Hint]] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """The environment, which the kernel gets too."""
        return self.conf.env

    # ---- reading ----

    def read_text(self, path: str) -> bytes | None:
        """Return a small file, or None if there is none."""
        node = self.devices.file(path)
        return None if node is None else bytes(read_file(node, path, _MAX_CONF))

    def read_conf(self) -> None:
        """Read loader.conf and the files it names."""
        loaderconf.read_all(self.conf, self.read_text, self.devices.names, self.warn)

    def warn(self, text: str) -> None:
        """Report what is skipped."""
        self.say(text + "\n")

    def _find(self, path: str) -> Node | None:
        """Return the file at `path`, or its gzip'ed form."""
        return self.devices.file(path) or self.devices.file(f"{path}.gz")

    def _image(self, node: Node, path: str) -> bytearray:
        """Return a file's bytes, unpacked if it is gzip'ed."""
        if node.read(0, 2) != b"\x1f\x8b":
            return read_file(node, path, self.limit)
        data = bytearray()
        unzip = zlib.decompressobj(31)
        try:
            for chunk in read_chunks(node, path, self.limit):
                todo = chunk
                while todo and not unzip.eof:
                    data += unzip.decompress(todo, 1 << 20)
                    todo = unzip.unconsumed_tail
                    if len(data) > self.limit:
                        raise LoadError(
                            f"{path}: unpacks to more than {self.limit >> 20} MiB"
                        )
        except zlib.error as error:
            raise LoadError(f"{path}: damaged gzip data: {error}") from None
        if not unzip.eof:
            raise LoadError(f"{path}: damaged gzip data: it ends early")
        return data

    # ---- loading ----

    def kernel_paths(self, name: str = "") -> list[str]:
        """Return where a kernel is looked for, best first."""
        name = name or self.env.get("kernel", "kernel")
        paths = []
        for boot in self.env.get("bootfile", "kernel").split(";"):
            if boot.startswith("/"):
                paths.append(boot)
            elif name.startswith("/") or ":" in name:
                paths += [name, f"{name}/{boot}"]
            else:
                paths += [f"/boot/{name}/{boot}", f"/boot/{name}", f"/{name}"]
        return paths

    def load_kernel(self, name: str = "") -> None:
        """Load a kernel by name or path; others must be unloaded before."""
        if self.files:
            raise LoadError("a kernel is loaded already: unload it first")
        for path in self.kernel_paths(name):
            node = self._find(path)
            if node is None:
                continue
            self.say(f"Loading {path}\n")
            image = self._image(node, path)
            self.files.append(kernelelf.load_kernel(image, path, self.limit))
            meta = modmeta.read(image, path)
            self.provided = dict(meta.provides) if meta.known else None
            self.env["kernelname"] = path
            folder = path.rpartition("/")[0]
            old = self.env.get("module_path", "")
            if folder not in old.split(";"):
                self.env["module_path"] = f"{folder};{old}".strip(";")
            return
        tried = ", ".join(self.kernel_paths(name))
        raise LoadError(f"{self.devices.current}: no kernel: tried {tried}")

    def _folders(self) -> list[str]:
        """Return the folders in which modules are looked for."""
        path = self.env.get("module_path", "").replace(",", ";")
        return [folder for folder in path.split(";") if folder]

    def _module_node(self, name: str) -> tuple[str, Node]:
        """Return path and node of a module or another file by its name."""
        if name.startswith("/") or ":" in name:
            folders = [""]
        else:
            folders = [f"{folder}/" for folder in self._folders()]
        for folder in folders:
            for suffix in ("", ".ko"):
                path = f"{folder}{name}{suffix}"
                node = self._find(path)
                if node is not None:
                    return path, node
        raise LoadError(f"{name}: no such file or module")

    def _hints(self, folder: str) -> list[linkerhints.Hint]:
        """Return what a folder's linker.hints says."""
        if folder not in self.hints:
            path = f"{folder}/{linkerhints.NAME}"
            node = self.devices.file(path)
            data = b""
            if node is not None:
                data = bytes(read_file(node, path, linkerhints.MAX_SIZE))
            self.hints[folder] = linkerhints.parse(data)
        return self.hints[folder]

    def _needed_path(self, need: linkerhints.Wanted) -> str:
        """Return the file of a module: by the folders' hints, or by its name."""
        for folder in self._folders():
            file = linkerhints.find(self._hints(folder), need)
            if file is not None and self._find(f"{folder}/{file}") is not None:
                return f"{folder}/{file}"
        return need.module

    def load_file(
        self, name: str, kind: str = "", args: str = "", depth: int = 0
    ) -> None:
        """Load a module and then those it needs, or with `kind` a file as it is.

        Nothing of it stays if that fails.
        """
        if not self.files:
            raise LoadError(f"{name}: load a kernel before its modules")
        path, node = self._module_node(name)
        if any(file.name == path for file in self.files):
            return
        self.say(f"Loading {path}\n")
        image = self._image(node, path)
        dest = freebsd.next_place(self.files)
        if kind not in ("", "module"):
            file = kernelelf.load_raw(image, path, kind, dest, self.limit)
            file.args = args
            self.files.append(file)
            return
        file = kernelelf.load_module(image, path, dest, self.limit)
        if file.word != self.files[0].word:
            raise LoadError(f"{path}: for {_ARCH[file.word]}, unlike the kernel")
        file.args = args
        count, provided = len(self.files), self.provided
        self.files.append(file)
        try:
            self._load_needs(modmeta.read(image, path), path, depth)
        except LoadError:
            del self.files[count:]
            self.provided = provided
            raise

    def _load_needs(self, meta: modmeta.ModMeta, path: str, depth: int) -> None:
        """Load the modules that a module needs and nothing loaded provides.

        A kernel that does not say what it provides is asked at boot instead.
        """
        if self.provided is None:
            return
        self.provided = self.provided | meta.provides
        for need in meta.needs:
            if self._is_there(need, path):
                continue
            if depth >= _MAX_NEEDS:
                raise LoadError(f"{path}: modules need each other too deeply")
            try:
                self.load_file(self._needed_path(need), depth=depth + 1)
            except LoadError as error:
                raise LoadError(f"{path} needs module {need.module}: {error}") from None
            if not self._is_there(need, path):
                self.provided[need.module] = need.preferred

    def _is_there(self, need: linkerhints.Wanted, path: str) -> bool:
        """Tell if a module is loaded; LoadError: it is, but a wrong version."""
        have = (self.provided or {}).get(need.module)
        if have is None:
            return need.module == "kernel"
        if not need.suits(have):
            raise LoadError(
                f"{path} needs {need.module} in version {need.minimum} to "
                f"{need.maximum}; here it is {have}"
            )
        return True

    def load_configured(self) -> None:
        """Load what loader.conf wants: the kernel, then each module.

        A module that cannot be had is reported, as FreeBSD's loader does.
        """
        if not self.files:
            self.load_kernel()
        for wish in self.conf.wanted():
            self._load_wish(wish)

    def _load_wish(self, wish: ModuleWish) -> None:
        try:
            self.load_file(wish.path, wish.type, wish.flags)
        except LoadError as error:
            self.warn(f"{wish.name}: {error}")

    def unload(self) -> None:
        """Forget all that was loaded."""
        self.files.clear()
        self.provided = None
        self.env.pop("kernelname", None)

    # ---- environment ----

    def set_devices(self) -> None:
        """Put the current device into the environment."""
        for name in ("currdev", "loaddev"):
            self.env[name] = f"{self.devices.current}:"

    def find_root(self) -> None:
        """Name the root file system for the kernel, from /etc/fstab."""
        if "vfs.root.mountfrom" in self.env:
            return
        text = (self.read_text(_FSTAB) or b"").decode("utf-8", "replace")
        for line in text.split("\n")[:1000]:
            fields = line.split("#")[0].split()
            if len(fields) >= 3 and fields[1] == "/":
                device, _, kind, *rest = fields
                self.env["vfs.root.mountfrom"] = f"{kind}:{device}"
                if rest:
                    self.env.setdefault("vfs.root.mountfrom.options", rest[0])
                return


def start_environment(given: list[str]) -> dict[str, str]:
    """Return the first environment: -e's values, then bhyveload's own.

    Of two values of one name the first counts.
    """
    env: dict[str, str] = {}
    for text in [*given, "smbios.bios.vendor=BHYVE", "boot_serial=1"]:
        name, _, value = text.partition("=")
        env.setdefault(name, value)
    return env | {"LINES": "24", "console": "userboot", "prompt": "OK"}
