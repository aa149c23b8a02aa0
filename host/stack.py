# SPDX-License-Identifier: GPL-2.0
"""make absorb: carries edits into the steps of the series, by git.

out/stack/VERSION is a git repository that make absorb makes of the mails in patches/: a commit with stock files (all of
the folders in which the series changes one), tagged "stock", and one commit a step. What to do there:

- Edit a file of the overlay: not there, but where it lies in this repository. Then run make absorb.
- Edit a hook, that is what the series changes in a stock file: in out/stack/VERSION/kernel/module/main.c, say. If the
  repository is not there yet, make absorb makes it. Then run make absorb again.
- Change a message, the order or the cut of the steps: with git, in that repository (git rebase -i stock; or, to cut
  anew, git reset --hard stock, and a commit for each step). A file may grow from step to step. Then run make absorb.

make absorb copies the overlay over the last commit, has git absorb find the step for each change, and writes the mails,
if all changes have found one. What git absorb cannot place, a new file or lines that no step has touched, make absorb
names, and leaves. Commit it there, by git commit --fixup=STEP or as a step of its own, and run make absorb again.

Mails of an older kernel version get the new text of our files with that, too. What they change in stock files stays
as it is; make absorb KSRC=TREE, with a tree of that version, makes a repository for it, to edit these changes.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import apt, series, source
from .settings import asked
from .util import OUT, TOP, Failure, locked, say, write_if_changed

# Of commits that nobody has signed: the sender's name comes in with make series.
NOBODY = ("module-dedup", "module-dedup@localhost")


def git_absorb():
    """The program, installed if it is missing. Debian's git finds it, but another git does not."""

    def found():
        return shutil.which("git-absorb", path=f"{os.environ['PATH']}:/usr/lib/git-core:/usr/libexec/git-core")

    if not found():
        apt.install({"git-absorb"})
    program = found()
    if not program:
        raise Failure("git-absorb is missing, and installing Debian's package did not help.")
    return program


class Stack:
    """The series as commits on a few stock files, in a repository of its own."""

    def __init__(self, tree, version):
        self.tree, self.version = Path(tree), version
        self.git_dir = self.tree / ".git"
        # What the user has set is for the user's repositories; it would change what is written.
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        self.env |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_EDITOR": "true", "LC_ALL": "C"}
        self.env |= {"GIT_DIR": str(self.git_dir), "GIT_WORK_TREE": str(self.tree)}

    def git(self, *args, check=True, **kwargs):
        """What git prints; None if it fails and need not succeed."""
        try:
            result = subprocess.run(
                ["git", *map(str, args)],
                **{"cwd": self.tree, "env": self.env, "capture_output": True, "text": True, "check": False, **kwargs},
            )
        except FileNotFoundError as error:
            raise Failure("git is not installed.") from error
        if result.returncode and check:
            said = (result.stderr.strip() or result.stdout.strip()).splitlines() or ["no message"]
            raise Failure(f"git {args[0]} failed in {self.tree}: {said[-1]}")
        return None if result.returncode else result.stdout

    def commit_of(self, name):
        """The id of a commit, or None if there is none of that name."""
        found = self.git_dir.is_dir() and self.git("rev-parse", "-q", "--verify", f"{name}^{{commit}}", check=False)
        return found.strip() if found else None

    def start(self, stock, steps, whole_folders):
        """The commit with the stock files that the steps change; and, if asked for, with all files beside them."""
        ours = series.created(steps)
        places = {place for mail in steps for place in mail.diffs if place not in ours}
        missing = [place for place in places if not (Path(stock) / place).is_file()]
        if missing:
            raise Failure(f"{stock} has no {missing[0]}, which the series changes.")
        self.git_dir.mkdir(parents=True)
        self.git("init", "-q", "--initial-branch=series")
        for key, value in (
            *(("user.name", NOBODY[0]), ("user.email", NOBODY[1]), ("core.hooksPath", "/dev/null")),
            *(("commit.gpgSign", "false"), ("core.autocrlf", "false"), ("maintenance.auto", "false")),
        ):
            self.git("config", key, value)
        if whole_folders:
            for folder in {Path(place).parent for place in places}:
                paths = (Path(stock) / folder).iterdir()
                places |= {str(folder / path.name) for path in paths if path.is_file() and path.name[0] != "."}
        for place in places:
            (self.tree / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(stock) / place, self.tree / place)
        self.git("add", "-f", "--pathspec-from-file=-", input="\n".join(sorted(places)))
        date = {"GIT_AUTHOR_DATE": "2000-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2000-01-01T00:00:00Z"}
        self.git("commit", "-q", "-m", f"Linux {series.text_of(self.version)}", env=self.env | date)
        self.git("tag", "stock")

    def apply(self, steps):
        """Commits steps. Whether all of them have applied; if not, git am waits for somebody to help."""
        paths = [mail.path for mail in steps]
        return self.git("am", "-q", "-3", "--committer-date-is-author-date", *paths, check=False) is not None

    def mails(self, folder):
        """Writes the commits as mails."""
        words = ("--no-numbered", "--full-index", "--zero-commit", "--no-signature", "--no-renames", "--no-base")
        self.git("format-patch", "-q", *words, "-o", folder, "stock..HEAD")
        return series.own_mails(Path(folder))


class Workshop(Stack):
    """The repository that make absorb works in."""

    def __init__(self, version):
        folder = OUT / "stack" / series.text_of(version)
        super().__init__(folder, version)
        self.state_file = self.git_dir / "module-dedup.json"
        self.shown = folder.relative_to(TOP)

    def state(self):
        """Of what mails it was made, and what was copied from the overlay: {place: hash}."""
        return json.loads(self.state_file.read_text()) if self.state_file.is_file() else {"mails": "", "copied": {}}

    def set_state(self, **new):
        self.state_file.write_text(json.dumps(self.state() | new))

    def own_work(self):
        """What is in it that is in no mail, and not in the overlay."""
        if self.commit_of("HEAD") != self.commit_of("written"):
            return "commits"
        ours = {*self.our_files(), *series.overlay()}
        changed = self.git("diff", "--name-only", "HEAD").split() + self.git("ls-files", "--others").split()
        return ", ".join(place for place in changed if place not in ours)

    def our_files(self):
        """The files that the steps bring."""
        return self.git("diff", "--name-only", "--diff-filter=A", "--no-renames", "stock", "HEAD").split()

    def be_up_to_date(self, stock, steps):
        """Makes the repository, unless it is there and of these mails."""
        text = series.text_of(self.version) + "".join(mail.text for mail in steps)
        wanted = hashlib.sha256(text.encode()).hexdigest()
        if self.commit_of("stock"):
            for name, what in (("rebase-merge", "rebase"), ("rebase-apply", "am")):
                if (self.git_dir / name).exists():
                    raise Failure(f"git {what} waits for you in {self.shown}: git {what} --continue, then make absorb.")
            if self.state()["mails"] == wanted:
                return
            work = self.own_work()
            if work:
                raise Failure(
                    f"{self.shown} was made of other mails than there are now, and has work of its own ({work}). "
                    "Save that, and remove the folder."
                )
        shutil.rmtree(self.tree, ignore_errors=True)
        say(f"Making {self.shown} of the mails")
        self.start(stock, steps, whole_folders=True)
        self.set_state(mails=wanted)
        # A mail that was made for another version is merged, where git has the files that it was made for.
        for other in self.tree.parent.glob("*/.git/module-dedup.json"):
            if other != self.state_file:
                self.git("fetch", "-q", "--no-tags", other.parent, f"series:other-{other.parent.parent.name}")
        if not self.apply(steps):
            raise Failure(
                f"The series does not apply to Linux {series.text_of(self.version)}. Resolve that in {self.shown} "
                "(git am --show-current-patch shows the step), git am --continue there, then make absorb."
            )
        self.git("tag", "written")

    def take_overlay(self):
        """Copies the overlay over the last commit."""
        files = {place: path.read_bytes() for place, path in series.overlay().items()}
        copied = self.state()["copied"]
        for place in self.git("diff", "--name-only", "HEAD").split():
            path = self.tree / place
            if place in files and path.is_file():
                data = path.read_bytes()
                if data != files[place] and hashlib.sha256(data).hexdigest() != copied.get(place):
                    original = series.overlay()[place].relative_to(TOP)
                    raise Failure(
                        f"{self.shown}/{place} was edited there. Edit {original} instead; "
                        f"git -C {self.shown} checkout {place} undoes it."
                    )
        for place, data in files.items():
            series.put(self.tree / place, data, series.mode_of(place))
            (self.tree / place).chmod(series.mode_of(place))
        for place in {*self.our_files(), *copied} - set(files):
            (self.tree / place).unlink(missing_ok=True)
        self.set_state(copied={place: hashlib.sha256(data).hexdigest() for place, data in files.items()})

    def place_changes(self):
        """Puts what is in the work tree into the steps that it belongs to. Fails if something is left."""
        self.git("add", "-A", "-f")
        if self.git("diff", "--cached", "--diff-filter=M", "--name-only"):
            command = [git_absorb(), "--force", "--base", "stock"]
            # It knows no GIT_WORK_TREE, and finds the repository that it is called in.
            env = {key: value for key, value in self.env.items() if key not in ("GIT_DIR", "GIT_WORK_TREE")}
            done = subprocess.run(command, cwd=self.tree, env=env, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Failure(f"git absorb failed in {self.shown}: {(done.stderr or done.stdout).strip()}")
        subjects = self.git("log", "--format=%s", "stock..HEAD").splitlines()
        if any(re.match(r"(fixup|squash|amend)! ", subject) for subject in subjects):
            words = ("-q", "-i", "--autosquash", "--autostash", "--committer-date-is-author-date", "stock")
            if self.git("rebase", *words, check=False, env=self.env | {"GIT_SEQUENCE_EDITOR": "true"}) is None:
                raise Failure(
                    f"A change does not fit the steps that follow its own. Resolve that in {self.shown}, "
                    "git rebase --continue there, then make absorb."
                )
            subjects = self.git("log", "--format=%s", "stock..HEAD").splitlines()
            for subject in subjects:
                if re.match(r"(fixup|squash|amend)! ", subject):
                    raise Failure(f'{self.shown} has a commit "{subject}", and no step of that name.')
        self.git("add", "-A", "-f")
        left = self.git("diff", "--cached", "--name-status", "--no-renames", "HEAD").splitlines()
        if left:
            raise Failure(self.report(left))

    def report(self, left):
        """What has found no step, and how to place it."""
        lines = ["No mail was written: these changes belong to no step that git absorb could find."]
        for line in left:
            status, place = line.split("\t")
            what = {"A": "a new file", "D": "a file that is gone"}.get(status)
            if not what:
                hunks = re.findall(r"^@@ \S+ \+(\d+)", self.git("diff", "--cached", "-U0", "HEAD", "--", place), re.M)
                what = f"line {', '.join(hunks)}" if hunks else "its mode"
            lines.append(f"  {place}: {what}")
        # For git add to choose among them.
        self.git("reset", "-q")
        return "\n".join(
            [
                *lines,
                f"Choose a step for each of them (or make one: commit -m SUBJECT) in {self.shown}, then make absorb:",
                *self.git("log", "--reverse", "--format=  %h %s", "stock..HEAD").splitlines(),
                f"  git -C {self.shown} add {place}",
                f"  git -C {self.shown} commit --fixup=STEP",
            ]
        )


def stock_tree():
    """The kernel tree that KSRC= names, or Debian's; and its version. It is only read."""
    given = asked().ksrc
    if given:
        tree = Path(given).expanduser().resolve()
        if not series.kernel_version(tree):
            raise Failure(f"KSRC={given} is no folder with a kernel tree.")
    else:
        with locked("kernel source"):
            tree = source.debian_source()
    version = series.kernel_version(tree)
    if version[:2] not in series.supported():
        raise Failure(f"{tree} is Linux {series.text_of(version)}; patches/ has {series.supported_text()}.")
    return tree, version


def absorb():
    """Carries what differs from the mails into them. Returns the files that were written or removed."""
    tree, version = stock_tree()
    newest = series.supported()[-1]
    if version[:2] != newest:
        series.check_absorbed(newest)
    shop = Workshop(version)
    before = series.mails(newest)
    shop.be_up_to_date(tree, series.mails(version))
    shop.take_overlay()
    shop.place_changes()
    changed = []
    if shop.commit_of("HEAD") != shop.commit_of("written"):
        with tempfile.TemporaryDirectory() as scratch:
            written = shop.mails(scratch)
            if version[:2] != newest:
                written = [mail for mail in written if not is_same_change(mail, step_like(mail, before))]
            changed += replace_mails(version, {mail.path.name: mail.text for mail in written})
        changed += set_base(version)
    after = series.mails(newest)
    for older in series.supported()[:-1]:
        changed += carry(older, before, after)
    text = series.text_of(version) + "".join(mail.text for mail in series.mails(version))
    shop.set_state(mails=hashlib.sha256(text.encode()).hexdigest())
    shop.git("tag", "-f", "written")
    return changed


def set_base(version):
    """Writes what release the mails were made for. Returns the file if that is another one."""
    path = series.PATCHES / series.text_of(version[:2]) / "base"
    tag = f"v{series.text_of(version).removesuffix('.0')}"
    if path.is_file() and path.read_text().split()[:1] == [tag]:
        return []
    path.write_text(f"{tag}\n")
    return [path]


def replace_mails(version, texts):
    """Makes the mails of a version these: {name: text}. Returns what was written or removed."""
    folder = series.PATCHES / series.text_of(version[:2])
    changed = [path for path in folder.glob("*.patch") if path.name not in texts]
    for path in changed:
        path.unlink()
    return changed + [folder / name for name, text in texts.items() if write_if_changed(folder / name, text.encode())]


def step_like(mail, steps):
    """The same step in another version."""
    found = [other for other in steps if other.step == mail.step]
    if not found:
        raise Failure(f'The newest kernel version has no step "{mail.subject}". Make it there first: make absorb.')
    return found[0]


def change(diff):
    """What a diff does, wherever in the file."""
    return re.sub(r"^index .*\n", "", re.sub(r"^@@ .*", "@@", diff or "", flags=re.M), flags=re.M)


def is_same_change(one, other):
    return (one.headers, one.message, set(one.diffs)) == (other.headers, other.message, set(other.diffs)) and all(
        change(diff) == change(other.diffs[place]) for place, diff in one.diffs.items()
    )


def carry(version, before, after):
    """Gives an older version's mails the new text of our files. What they change in stock files stays.

    Says which of that has to be looked at, since it is not as it was in the newest version.
    """
    old = {mail.step: mail for mail in before}
    new = {mail.step: mail for mail in after}
    ours = series.created(after)
    texts = {}
    for own in series.own_mails(series.PATCHES / series.text_of(version)):
        step, was = new.get(own.step), old.get(own.step)
        if not step:
            print(f"{own.name} is no step any more, and was removed.")
            continue
        diffs = {}
        for place, diff in step.diffs.items():
            moved = not was or change(was.diffs.get(place)) != change(diff)
            if place not in ours and moved and change(own.diffs.get(place)) != change(diff):
                print(f"{own.name}: see whether {place} is right, which has changed in {step.name}.")
            diffs[place] = diff if place in ours else own.diffs.get(place, diff)
        # What only this version needs.
        diffs |= {
            place: diff for place, diff in own.diffs.items() if place not in ours and not (was and place in was.diffs)
        }
        diffs = {place: diffs[place] for place in sorted(diffs)}
        message = step.message
        if was and own.message != was.message:
            message = own.message
            if was.message != step.message:
                print(f"{own.name}: see whether the message is right, which has changed in {step.name}.")
        if (own.headers, own.message, own.diffs) == (step.headers, message, diffs):
            texts[step.path.name] = own.text
        else:
            stat = "\n".join(series.diffstat(diffs))
            texts[step.path.name] = f"{step.headers}\n\n{message}\n---\n{stat}\n\n{''.join(diffs.values())}"
    return replace_mails(version, texts)
