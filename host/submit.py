# SPDX-License-Identifier: GPL-2.0
"""make series: the series as mails to send, with a cover letter, and how large it is.

Made of the mails in patches/ alone: nothing is installed, built, locked or waited for. If a kernel was built before,
its size is looked at.
"""

import hashlib
import re
import shutil
from email.utils import formataddr
from pathlib import Path

from . import series
from .settings import asked
from .util import CACHE, OUT, TOP, Failure, output_of

COVER = series.PATCHES / "cover-letter"
FOLDER = OUT / "series"
MBOX = OUT / "series.mbox"


def asked_version():
    """The version of the tree that KSRC= names, or the newest that there are mails for."""
    given = asked().ksrc
    if not given:
        return series.supported()[-1]
    version = series.kernel_version(Path(given).expanduser())
    if not version:
        raise Failure(f"KSRC={given} is no folder with a kernel tree.")
    return series.check_version(given)


def is_test(place):
    return place.startswith("tools/testing/") or re.search(r"(^|[/_])tests?([_./]|$)", place) is not None


def code_lines(text):
    """How many lines of a program are neither comment nor blank: outside of KUnit tests, and in them."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    code = re.sub(r"^#\[kunit_tests\(.*?^}\n", "", text, flags=re.M | re.S)
    counts = [
        sum(not re.match(r"\s*(//.*|#!?.*\bbin/.*)?$", line) for line in part.splitlines()) for part in (text, code)
    ]
    return counts[1], counts[0] - counts[1]


def hook_lines(diff):
    """By how many lines of code a diff makes a stock file longer; a line that begins like a comment is none."""
    lines = re.findall(r"^([+-])(?![+-]{2} )(.*)$", diff, re.M)
    return sum(
        (1 if sign == "+" else -1)
        for sign, line in lines
        if line.strip() and not re.match(r"\s*(//|/\*|\*( |/|$))", line)
    )


COLUMNS = ("Rust", "C", "stock", "tests")


def counts(steps):
    """Lines of code that each step adds: [{column: number}]."""
    rows, before = [], dict.fromkeys(COLUMNS, 0)
    stock = 0
    for mail, files in series.grown(steps):
        now = dict.fromkeys(COLUMNS, 0)
        for place, text in files.items():
            suffix = Path(place).suffix
            if suffix not in (".rs", ".c", ".h", ".sh") or place.startswith("Documentation/"):
                continue
            code, tests = code_lines(text)
            now["tests"] += tests + code if is_test(place) else tests
            if not is_test(place):
                now["Rust" if suffix == ".rs" else "C"] += code
        stock += sum(
            hook_lines(diff)
            for place, diff in mail.diffs.items()
            if place not in series.created(steps) and Path(place).suffix in (".rs", ".c", ".h") and not is_test(place)
        )
        now["stock"] = stock
        rows.append({column: now[column] - before[column] for column in COLUMNS})
        before = now
    return rows


def text_of_object(path):
    """The size of the code in an object file, or None."""
    sections = output_of(["size", "-A", path])
    return sections and sum(int(size) for size in re.findall(r"^\.(?:\w+\.)?text\S*\s+(\d+)", sections, re.M))


def text_sizes():
    """The size of our code and of the module loader's main.o in the kernel that was built last, or None."""
    main = sorted((CACHE / "build").glob("*+dedup/kernel/module/main.o"), key=lambda path: path.stat().st_mtime)
    if not main or not shutil.which("size") or not shutil.which("nm"):
        return None
    folder = main[-1].parents[2]
    ours = [folder / Path(place).with_suffix(".o") for place in series.overlay() if Path(place).suffix in (".c", ".rs")]
    objects = [path for path in ours if path.is_file() and "tools" not in path.relative_to(folder).parts]
    # The kernel crate is one object: its functions are known by the modules in their names.
    crate = {Path(place) for place in series.overlay() if place.startswith("rust/kernel/") and place.endswith(".rs")}
    tops = [path for path in crate if path.parent.with_suffix(".rs") not in crate]
    names = [f"{len(path.stem)}{path.stem}" for path in tops]
    symbols = output_of(["nm", "-S", "--defined-only", folder / "rust/kernel.o"]) or ""
    size = sum(
        int(length, 16)
        for length, name in re.findall(r"^\w+ (\w+) [tT] (\S+)$", symbols, re.M)
        if any(word in name for word in names) and not re.search(r"\d+tests", name)
    )
    return size + sum(text_of_object(path) or 0 for path in objects), text_of_object(main[-1]), folder.name


def table(steps, rows):
    """The lines of code of each step, as lines of text."""
    lines = [("", "", *COLUMNS)]
    lines += [
        (str(n), mail.subject, *map(str, row.values()))
        for n, (mail, row) in enumerate(zip(steps, rows, strict=True), 1)
    ]
    lines.append(("", "all", *(str(sum(row[column] for row in rows)) for column in COLUMNS)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if n == 1 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def sender():
    """The name and address that the user's git has; None if it has none."""
    name, address = (
        (output_of(["git", "-C", TOP, "config", f"user.{key}"]) or "").strip() for key in ("name", "email")
    )
    return (name, address) if name and address else None


def base(version):
    """The line that says what the series is for."""
    words = (series.PATCHES / series.text_of(version[:2]) / "base").read_text().split()
    commit = words[1] if len(words) > 1 else None
    if not commit and asked().ksrc:
        # The user's tree may be a git repository that knows.
        found = output_of(["git", "-C", asked().ksrc, "rev-parse", "-q", "--verify", f"{words[0]}^{{commit}}"])
        commit = found and found.strip()
    return words[0], f"base-commit: {commit}" if commit else f"base: {words[0]}"


def filled_in(text, fields):
    def value(match):
        if match[1] not in fields:
            raise Failure(f"{COVER.relative_to(TOP)} has a {{{match[1]}}}, which is none of {', '.join(fields)}.")
        return fields[match[1]]

    return re.sub(r"\{(\w+)\}", value, text)


def signed(message, who):
    """A message with the line of who sends it."""
    if not who:
        return message
    trailers = all(re.match(r"[A-Z][\w-]+: ", line) for line in message.rpartition("\n\n")[2].splitlines())
    return f"{message}\n{'' if trailers else chr(10)}Signed-off-by: {who[0]} <{who[1]}>"


def cover(steps, version, rows, sizes):
    """The cover letter: its subject and its text."""
    total = {column: sum(row[column] for row in rows) for column in COLUMNS}
    tag, line = base(version)
    whole = {}
    for mail in steps:
        for place, diff in mail.diffs.items():
            whole[place] = whole.get(place, "") + diff
    fields = {
        "base": tag,
        "steps": str(len(steps)),
        "lines": f"{total['Rust'] + total['C']:,}",
        "rust": f"{total['Rust']:,}",
        "c": f"{total['C']:,}",
        "stock": f"{total['stock']:,}",
        "tests": f"{total['tests']:,}",
        "text": f"{sizes[0] / 1000:.1f} KB" if sizes else "(not measured)",
        "main": f"{sizes[1] / 1000:.1f} KB" if sizes else "(not measured)",
        "table": "\n".join(table(steps, rows)),
    }
    subject, _, text = filled_in(COVER.read_text(), fields).partition("\n")
    shortlog = "\n".join(f"  {mail.subject}" for mail in steps)
    return subject, f"{text.strip()}\n\n{shortlog}\n\n" + "\n".join(
        series.diffstat(dict(sorted(whole.items())))
    ) + f"\n\n{line}\n"


def write():
    """Writes out/series/ and a mailbox of it, and prints how large the series is."""
    version = asked_version()
    series.check_absorbed(version)
    steps = series.mails(version)
    rows, sizes, who = counts(steps), text_sizes(), sender()
    subject, text = cover(steps, version, rows, sizes)
    digest = hashlib.sha256("".join([subject, text, *(mail.text for mail in steps)]).encode()).hexdigest()[:16]
    host = who[1].rpartition("@")[2] if who else "localhost"
    width = len(str(len(steps)))
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)

    def put(number, headers, subject, body, name):
        first = f"<module-dedup-{digest}-0@{host}>"
        lines = [line for line in headers.splitlines() if re.match(r"From |Date: |MIME|Content", line)]
        sent_by = formataddr(who) if who else re.search(r"^From: (.*)", headers, re.M)[1]
        lines[1:1] = [f"From: {sent_by}"]
        lines += [
            f"Subject: [PATCH {number:0{width}}/{len(steps)}] {subject}",
            f"Message-ID: <module-dedup-{digest}-{number}@{host}>",
            *([f"In-Reply-To: {first}", f"References: {first}"] if number else []),
        ]
        path = FOLDER / name
        path.write_text("\n".join(lines) + f"\n\n{body}")
        print(path.relative_to(TOP))

    put(0, steps[-1].headers, subject, text, "0000-cover-letter.patch")
    for number, mail in enumerate(steps, 1):
        body = f"{signed(mail.message, who)}\n---\n{mail.stat}\n{''.join(mail.diffs.values())}"
        put(number, mail.headers, mail.subject, body, mail.path.name)
    MBOX.write_text("".join(f"{path.read_text()}\n" for path in sorted(FOLDER.glob("*.patch"))))
    print(f"{MBOX.relative_to(TOP)}, with all of these, for b4 am -m FILE <module-dedup-{digest}-0@{host}>")

    print("\nLines of code, without comments and blank lines (stock: what files get that the kernel has already):\n")
    print("\n".join(table(steps, rows)))
    if sizes:
        ours, main, name = sizes
        print(f"\nText: {ours:,} bytes, {ours / main:.2f} times main.o ({main:,} bytes), in {name}")
    else:
        print("\nText: not measured, since no kernel was built (make kernel)")
    if base(version)[1].startswith("base:"):
        place = f"patches/{series.text_of(version[:2])}/base"
        print(f"The id of the commit {base(version)[0]} is not known here. Write it into {place}, after the tag.")
    if not who:
        print("No Signed-off-by: git config user.name NAME, git config user.email ADDRESS, then make series again.")
