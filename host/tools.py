# SPDX-License-Identifier: GPL-2.0
"""The programs that a build needs: found where they are, installed where they are not."""

import functools
import shutil
import sys
import zlib
from pathlib import Path

from . import apt, arch
from .settings import asked
from .util import CACHE, TOP, Failure, locked, log_file, need_space, output_of, run, say

# What 7.3 asks for (scripts/min-tool-version.sh); a newer kernel says so itself.
RUSTC_MIN = (1, 85)
# They are beside the compiler.
RUST_TOOLS = ("rustdoc", "rustfmt", "clippy-driver")
BINDGEN_MIN = (0, 71, 1)
# The best known first. What bindgen 0.71 makes of libclang 22 does not compile.
LIBCLANG = (19, 18, 17, 20, 21)

# A program, and the Debian package that has it.
PROGRAMS = {
    "gcc": "gcc",
    "make": "make",
    "ld": "binutils",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "perl": "perl",
    "patch": "patch",
    "rsync": "rsync",
    "xz": "xz-utils",
    "zstd": "zstd",
    "depmod": "kmod",
    "busybox": "busybox-static",
    "bash": "bash",
    "git": "git",
    "checkpolicy": "checkpolicy",
}

# Only for the tests.
TEST_PROGRAMS = {
    "perf": "linux-perf",
    "trace-cmd": "trace-cmd",
    "shellcheck": "shellcheck",
    "pip3": "python3-pip",
    "sphinx-build": "python3-sphinx",
}

# What is said of a program that is missing although its package is installed.
NO_HELP = "Debian's packages for it are installed: look at PATH, or install a newer version by hand."

# Packages with the programs of guests (host/image.py) that are not of this machine's architecture.
GUEST_PACKAGES = (
    *("busybox-static", "kmod", "bash", "coreutils", "util-linux", "util-linux-extra"),
    *("linux-perf", "trace-cmd"),
)

# Headers, by a file that they have.
HEADERS = {
    "libelf.h": "libelf-dev",
    "openssl/evp.h": "libssl-dev",
    "stdio.h": "libc6-dev",
}


def which(program):
    """A program on the search path, or where only root looks."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def rust_library(rustc):
    """The source of the standard library that belongs to a compiler, or None."""
    sysroot = (output_of([rustc, "--print", "sysroot"]) or "").strip()
    version = ".".join(map(str, apt.version_of(output_of([rustc, "--version"]))))
    for path in (f"{sysroot}/lib/rustlib/src/rust/library", f"/usr/src/rustc-{version}/library"):
        if Path(path, "core/src/lib.rs").is_file():
            return path
    return None


def find_rust():
    """A Rust compiler that is new enough, with its tools and the source of its library: (rustc, library)."""
    for name in (asked().rustc, "rustc", "/usr/bin/rustc"):
        rustc = name and shutil.which(name)
        if rustc and apt.version_of(output_of([rustc, "--version"])) >= RUSTC_MIN:
            library = asked().rust_lib_src or rust_library(rustc)
            if library and all(Path(rustc).with_name(tool).exists() for tool in RUST_TOOLS):
                return rustc, library
    return None


def find_libclang():
    """The folder of a libclang that will do."""
    if asked().libclang_path:
        return asked().libclang_path
    for version in LIBCLANG:
        # With its headers, which are in the package that has the link, too.
        for path in Path("/usr/lib").glob(f"llvm-{version}/lib/libclang.so"):
            return str(path.parent)
    return None


def find_llvm():
    """What the LLVM variable of the kernel's Makefile has to be, for a clang with its tools, or None."""
    wanted = ("clang", "ld.lld", "llvm-nm", "llvm-objcopy", "llvm-strip")
    for version in LIBCLANG:
        folder = Path(f"/usr/lib/llvm-{version}/bin")
        if all((folder / name).exists() for name in wanted):
            return f"{folder}/"
    return "1" if all(which(name) for name in wanted) else None


def ensure_llvm():
    """Finds clang and its tools, or installs them."""
    if find_llvm():
        return
    found = [version for version in LIBCLANG if apt.candidate(f"lld-{version}")]
    suffix = f"-{found[0]}" if found else ""
    apt.install({f"clang{suffix}", f"lld{suffix}", f"llvm{suffix}"})
    if not find_llvm():
        raise Failure(f"clang, ld.lld and the llvm tools are missing. {NO_HELP}")


def cargo_package():
    return "cargo-web" if apt.candidate("cargo") < RUSTC_MIN else "cargo"


def ensure_cargo():
    """Finds cargo, or installs it."""
    if shutil.which("cargo"):
        return
    apt.install({cargo_package(), "gcc", "patch"})


def by_pip(name):
    """A program of Python's, installed for us alone if it is not there."""
    folder = CACHE / name
    program = folder / "bin" / name
    if not program.is_file():
        what = f"Installing {name}"
        say(what)
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), name]
        try:
            run(command, log=log_file("pip.log"), what=what)
        except Failure as failure:
            raise Failure(f"{failure}\npip comes with Debian's package python3-pip.") from failure
    return program


def find_matplotlib():
    """A Python that has matplotlib; installs it if there is none."""

    def found():
        for python in (sys.executable, "/usr/bin/python3"):
            if output_of([python, "-c", "import matplotlib"]) is not None:
                return python
        return None

    if not found():
        apt.install({"python3-matplotlib"})
    python = found()
    if not python:
        raise Failure(f"matplotlib is missing. {NO_HELP}")
    return python


def draw(script, data):
    """Runs a program of bench/ that draws the figures of a JSON file, beside it."""
    run(
        [find_matplotlib(), TOP / "bench" / script, data, data.parent],
        log=log_file(f"{data.stem}-plot.log"),
        what="Drawing the pictures",
        env={"MPLCONFIGDIR": str(CACHE / "matplotlib")},
    )


def find_bindgen():
    for bindgen in (asked().bindgen, CACHE / "bindgen/bin/bindgen", shutil.which("bindgen")):
        if bindgen and apt.version_of(output_of([bindgen, "--version"])) >= BINDGEN_MIN:
            return str(bindgen)
    return None


def rust_packages():
    if apt.candidate("rustc") >= RUSTC_MIN:
        return ["rustc", "rust-src", "rust-clippy", "rustfmt"]
    # Debian keeps a newer one in its stable suites, to build browsers with.
    return ["rustc-web", "rust-web-src", "rust-web-clippy", "rustfmt-web"]


def libclang_package():
    found = [f"libclang-{version}-dev" for version in LIBCLANG if apt.candidate(f"libclang-{version}-dev")]
    return found[0] if found else "libclang-dev"


def missing_packages(programs, headers):
    """The Debian packages of those programs and headers that are not here."""
    include = Path("/usr/include")
    missing = {package for program, package in programs.items() if not which(program)}
    for header, package in headers.items():
        if not (include / header).exists() and not any(include.glob(f"*-linux-gnu/{header}")):
            missing.add(package)
    return missing


def require(programs, headers=None):
    """Installs what is not here."""
    missing = missing_packages(programs, headers or {})
    if missing:
        apt.install(missing)


def unpacked(root, suite, what, packages, *options):
    """Makes a folder with the files of Debian packages, and of those that they need, once. Nothing is installed."""
    if root.is_dir():
        return
    apt.need_root()
    require({"mmdebstrap": "mmdebstrap"})
    say(f"Fetching {what}")
    part = root.with_name(root.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    apt.debian(suite, part, "extract", packages, *options)
    part.rename(root)


@functools.cache
@locked("programs of guests")
def guest_root():
    """A folder with the programs of guests, and what they need; None if those of this machine will do."""
    guest = arch.guest()
    if guest.native:
        return None
    # The libraries are to be those that the cross compiler has.
    suite = apt.suite()
    root = CACHE / f"guest/{suite}-{guest.debian}-{zlib.crc32(' '.join(GUEST_PACKAGES).encode()):x}"
    # Nothing of it is ever run here.
    options = (f"--architectures={guest.debian}", "--skip=check/qemu")
    unpacked(root, suite, f"programs for {guest.name} (70 MB)", GUEST_PACKAGES, *options)
    return root


@functools.cache
@locked("programs of guests")
def qemu_for_many():
    """How to run a QEMU whose PC has more than 288 CPUs: this machine's, or Debian 13's with the libraries of that."""
    program = arch.guest().emulator
    if apt.version_of(output_of([program, "--version"])) >= (9,):
        return [program]
    root = CACHE / "guest/qemu"
    unpacked(root, "trixie", "QEMU of Debian 13 (60 MB)", [arch.guest().qemu])
    libraries = root / "usr/lib/x86_64-linux-gnu"
    return [
        *("env", f"QEMU_MODULE_DIR={libraries}/qemu", f"{libraries}/ld-linux-x86-64.so.2"),
        *("--library-path", f"{libraries}:{libraries}/pulseaudio", f"{root}/usr/bin/{program}"),
        *("-L", f"{root}/usr/share/qemu", "-L", f"{root}/usr/share/seabios"),
    ]


@locked("tools")
def packages(tests=False):
    """Installs the Debian packages that are missing. Returns whether bindgen is to be built."""
    programs = PROGRAMS | arch.guest().programs | (TEST_PROGRAMS if tests else {})
    missing = missing_packages(programs, HEADERS | arch.guest().headers)
    if not find_rust():
        missing.update(rust_packages())
    if not find_libclang():
        missing.add(libclang_package())
    build_bindgen = not find_bindgen() and apt.candidate("bindgen") < BINDGEN_MIN
    if not find_bindgen() and not build_bindgen:
        missing.add("bindgen")
    # The model is built with it, too.
    if (tests or build_bindgen) and not shutil.which("cargo"):
        missing.add(cargo_package())
    if build_bindgen:
        need_space(4, "A first build")
    if missing:
        apt.install(missing)
        # Found out now, and not when all is built.
        for program in PROGRAMS:
            if not which(program):
                raise Failure(f"{program} is missing. {NO_HELP}")
    return build_bindgen


@locked("tools")
def ensure(tests=False):
    """Finds everything, and installs what is missing. Returns the variables for make."""
    if packages(tests):
        say("Building bindgen (two minutes, once)")
        run(
            ["cargo", "install", "--locked", "--root", CACHE / "bindgen", "bindgen-cli"],
            log=log_file("bindgen.log"),
            what="Building bindgen",
            progress=True,
        )
    found = {
        "a Rust compiler with its library source": find_rust(),
        "libclang": find_libclang(),
        "bindgen": find_bindgen(),
    }
    for name, place in found.items():
        if not place:
            raise Failure(f"{name} is missing, or too old. {NO_HELP}")
    guest_root()
    return Toolchain(*found.values())


class Toolchain:
    """What a kernel build is told about the tools."""

    def __init__(self, rust, libclang, bindgen):
        rustc, library = rust
        self.rustc = Path(rustc)
        self.env = {"RUST_LIB_SRC": library, "LIBCLANG_PATH": libclang, "LC_ALL": "C"}
        self.variables = [
            f"RUSTC={rustc}",
            f"HOSTRUSTC={rustc}",
            f"RUSTDOC={self.tool('rustdoc')}",
            f"RUSTFMT={self.tool('rustfmt')}",
            f"CLIPPY_DRIVER={self.tool('clippy-driver')}",
            f"BINDGEN={bindgen}",
        ]

    def tool(self, name):
        return self.rustc.with_name(name)
