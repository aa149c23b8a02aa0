# SPDX-License-Identifier: GPL-2.0
"""The house rules of the kernel, and that nothing changes when the option is off."""

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from . import check, docs, model, series, source, tap, tools
from .kernel import Kernel
from .util import TOP, Failure, log_file, output_of, run, say


def files(*suffixes, under=("rust", "kernel", "include", "tools", "vm", ".ci", "host")):
    """Our files with one of these suffixes."""
    return [
        path
        for folder in under
        for path in sorted((TOP / folder).rglob("*"))
        if path.is_file() and path.suffix in suffixes and not series.ignored(path) and not path.name.endswith(".mod.c")
    ]


def is_script(path):
    with open(path, "rb") as handle:
        return re.match(rb"#!.*\b(sh|bash)\n", handle.readline()) is not None


def attempt(name, command, log, **kwargs):
    """One check: passed if the command succeeds. Says where to look if not."""
    try:
        run([str(word) for word in command], log=log, what=name, **kwargs)
    except Failure as failure:
        say(str(failure))
        return name, tap.FAILED
    return name, tap.PASSED


def rustdoc(kernel, log):
    """make rustdoc, which prints warnings of all the kernel: ours must not be among them."""
    name = "rustdoc"
    # It takes a minute, and starts from nothing each time.
    inputs = b"".join(path.read_bytes() for path in [*files(".rs"), *sorted((TOP / "patches").rglob("*.patch"))])
    stamp = kernel.folder / "module-dedup.rustdoc"
    digest = hashlib.sha256(inputs).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return f"{name} (unchanged since it passed)", tap.PASSED
    if kernel.make("rustdoc", what="Building the Rust documentation", log=log, check=False):
        say(f"make rustdoc failed: {log}")
        return name, tap.FAILED
    ours = [series.target(path) for path in files(".rs")] + ["rust/kernel/sync/completion.rs"]
    text = log.read_text(errors="replace")
    wrong = [line for line in text.splitlines() if "-->" in line and any(place in line for place in ours)]
    if wrong:
        say("rustdoc warns about\n" + "\n".join(wrong) + f"\nThe whole log: {log}")
        return name, tap.FAILED
    stamp.write_text(digest)
    return name, tap.PASSED


def documentation(tree, log):
    """Our pages, built by Sphinx as the kernel sets it up; a warning about one of them is a failure."""
    name = "documentation"
    pages = files(".rst", under=("Documentation",))
    abi = [path for path in (TOP / "Documentation/ABI").rglob("*") if path.is_file()]
    env = {"srctree": str(tree)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "Documentation"
        for page in pages:
            place = folder.parent / page.relative_to(TOP)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(page.read_bytes())
        # Of our files alone, so that it takes seconds.
        symbols = output_of([tree / "tools/docs/get_abi.py", "-D", TOP / "Documentation/ABI", "rest"], env=env) or ""
        (folder / "abi.rst").write_text(f"ABI\n===\n\n{symbols}")
        names = ["abi", *(str(page.relative_to(TOP / "Documentation").with_suffix("")) for page in pages)]
        toctree = "\n".join(f"   {page}" for page in names)
        (folder / "index.rst").write_text(f"Index\n=====\n\n.. toctree::\n\n{toctree}\n")
        (folder.parent / "MAINTAINERS").symlink_to(tree / "MAINTAINERS")
        command = ["sphinx-build", "-q", "-b", "html", "-c", tree / "Documentation", folder, folder.parent / "out"]
        status = run(command, log=log, what="Sphinx", check=False, env=env | {"BUILDDIR": scratch})
        missing = [page for page in names if not (folder.parent / f"out/{page}.html").is_file()]
    wrong = [line for line in log.read_text(errors="replace").splitlines() if f"{folder}/" in line]
    wanted = sum(path.read_text().count("What:") for path in abi)
    if symbols.count("Defined on file") != wanted:
        wrong.append("Not every entry in Documentation/ABI is understood.")
    if status or missing or wrong:
        say("\n".join(["Sphinx warns about pages of this repository:", *wrong, *missing, f"The whole log: {log}"]))
        return name, tap.FAILED
    return name, tap.PASSED


def checks(kernel):
    """Runs all of them; yields nothing until all are done."""
    tree = kernel.source
    rustfmt = kernel.toolchain.tool("rustfmt")
    results = [
        attempt(
            "rustfmt",
            [rustfmt, "--check", "--edition=2021", f"--config-path={tree}/.rustfmt.toml", *rust_roots()],
            log_file("rustfmt.log"),
        ),
        # The kernel is built by clippy, with warnings as errors; it would not be here otherwise.
        tap.verdict("clippy", kernel.vmlinux.is_file()),
        attempt("clippy of the model", model.command("clippy"), log_file("clippy-model.log"), cwd=TOP / "model"),
        rustdoc(kernel, log_file("rustdoc.log")),
        documentation(tree, log_file("sphinx.log")),
        attempt(
            "kernel-doc",
            [tree / "scripts/kernel-doc", "-none", "-Wall", "-Werror", *files(".c", ".h", under=("kernel", "include"))],
            log_file("kernel-doc.log"),
        ),
    ]
    for version in series.supported():
        wrong = series.differing(series.mails(version))
        name = f"the series for {series.text_of(version)} leaves what lies here {' '.join(wrong)}".strip()
        results.append(tap.verdict(name, not wrong))
    results.append(check.maintained(tree, series.overlay()))
    results += [check.checkpatch(tree, mail) for mail in series.mails(series.kernel_version(tree))]
    results += docs.checks()
    scripts = [path for path in files("", ".sh") if is_script(path)]
    ruff = tools.by_pip("ruff")
    results += [
        attempt(
            "tests of host/",
            [sys.executable, "-m", "unittest", "discover", "-s", "host", "-t", TOP],
            log_file("unittest.log"),
            cwd=TOP,
        ),
        attempt("shellcheck", ["shellcheck", *scripts], log_file("shellcheck.log"), cwd=TOP),
        attempt("ruff check", [ruff, "check", "--no-cache", TOP], log_file("ruff.log")),
        attempt("ruff format", [ruff, "format", "--no-cache", "--check", TOP], log_file("ruff-format.log")),
    ]
    return results


def rust_roots():
    """Our Rust files that no other of ours brings in as a module, and those of the model beside the engine."""
    ours = [path for path in files(".rs") if not path.with_suffix("").parent.with_suffix(".rs").is_file()]
    return [
        *ours,
        *(TOP / "model" / name for name in ("src/main.rs", "src/world.rs", "src/shim/mod.rs", "macros/src/lib.rs")),
    ]


def disassembly(path):
    """What runs in an object file: its code, with what it refers to.

    The compiler marks the name of a function of which it left out a parameter that is always the same.
    """
    text = subprocess.run(
        ["objdump", "-dr", "--no-show-raw-insn", path], capture_output=True, text=True, check=True
    ).stdout
    return re.sub(r"\.constprop\.\d+", "", text.split("\n", 3)[3])


def disabled(kernel):
    """With CONFIG_MODULE_DEDUP=n the loader is the stock one, instruction by instruction."""
    stock, patched = source.trees(kernel.toolchain)
    kernels = [Kernel(kernel.toolchain, tree, "off") for tree in (stock, patched)]
    for one in kernels:
        one.configure()
        try:
            one.make("kernel/module/", "kernel/umh.o", what=f"Building the module loader of {one.name}")
        except Failure as failure:
            say(str(failure))
            return [(f"{one.source.name} builds", tap.FAILED)]
    results = [("builds", tap.PASSED)]
    for name in ("module/main.o", "module/stats.o", "module/kmod.o", "umh.o"):
        texts = [disassembly(one.folder / "kernel" / name) for one in kernels]
        results.append(tap.verdict(f"{Path(name).name} is what stock has", texts[0] == texts[1]))
    members = [output_of(["ar", "t", "kernel/module/built-in.a"], cwd=one.folder) for one in kernels]
    results.append(tap.verdict("no other object is linked", members[0] == members[1]))
    return results
