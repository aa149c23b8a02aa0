# SPDX-License-Identifier: GPL-2.0
"""What make test and its longer sisters consist of: jobs, in the order of the report."""

from . import arch, compare, lint, model, runs, source, tools, vm
from .jobs import Job

# Tests of waits that take the kernel its 5 s, or many of these. One run of them fits into an hour.
SLOW = "dedup_12_requests_slow"
# All seconds here are those that a job takes by itself on a machine with two cores that has nothing saved.
BUILD, BUILD_SANITIZED = 620, 800
# Most guests use little more than one core: tests wait. So two of them run at a time, or one beside a build, which may
# wait. What fills the gaps is last in everything.
BUILD_NICE = 10
GAPS = {"cores": 0, "nice": 19}


class Suite:
    """Jobs, and what they hand to each other."""

    def __init__(self, built):
        # Makes a kernel: __main__.py.
        self.built = built
        self.jobs, self.builds = [], {}
        self.kernels, self.outputs = {}, {}
        # What cannot be had is to be known first.
        tools.packages(tests=True)
        self.ready = (self.job("tools", self.tools, seconds=100), self.job("source", source.fetch, seconds=40))

    def tools(self):
        tools.ensure(tests=True)

    def job(self, name, work, **how):
        job = Job(name, work, **how)
        self.jobs.append(job)
        return job

    def kernel(self, variant="", stock=False):
        """The job that builds a kernel."""
        key = variant, stock

        def work():
            kernel = self.built(variant, stock, tests=True)
            vm.prepare(kernel)
            self.kernels[key] = kernel

        if key not in self.builds:
            name = f"{'stock ' if stock else ''}kernel{f' with {variant}' if variant else ''}"
            seconds, nice = (BUILD_SANITIZED if variant else BUILD), (BUILD_NICE if variant or stock else 0)
            self.builds[key] = self.job(name, work, seconds=seconds, nice=nice, after=self.ready)
        return self.builds[key]

    def of(self, name, work, *, variant="", stock=False, after=(), **how):
        """A job that is about a kernel, which work() gets."""
        needs = (self.kernel(variant, stock), *after)
        return self.job(name, lambda: work(self.kernels[variant, stock]), after=needs, **how)

    def guest(self, name, work, smp, *, guests=1, **how):
        """One that boots it."""
        return self.of(name, work, memory=guests * vm.memory_of(smp), **how)

    def kselftests(self, title, name, smp, *, without=None, variant="", **how):
        def work(kernel):
            results, self.outputs[name] = runs.kselftests(kernel, smp, name, without=without)
            return results

        return self.guest(title, work, smp, variant=variant, **how)

    def at_random(self, title, what, calls, *, smp=runs.RANDOM_SMP, processes=None, **how):
        def work(kernel):
            return runs.at_random(kernel, what, smp, calls, processes=processes)

        return self.guest(title, work, smp, **how)

    def compared(self, title, code, stock=False):
        """Needs what the kselftests wrote on our kernel with 8 CPUs."""

        def work(kernel):
            return compare.run(kernel, code, self.outputs["kselftest-smp8"])

        # Several guests, whose tests have little time: beside no other guest.
        how = {"seconds": 330, "cores": 2, "guests": compare.AT_ONCE, "stock": stock, "after": (self.eight,)}
        self.guest(title, work, compare.SMP, **how)

    def without_guests(self):
        self.of("lint", lint.checks, seconds=150, **GAPS)
        self.of("without CONFIG_MODULE_DEDUP", lint.disabled, seconds=80, **GAPS)
        self.job("model", model.checks, seconds=200, **GAPS)

    def plain(self):
        """All that must hold in guests of the usual kernel."""
        self.guest("KUnit, 8 CPUs", lambda kernel: runs.kunit(kernel, 8), 8, seconds=10)
        # Guests of another architecture are slower, and take minutes to boot with 64 CPUs.
        native = arch.guest().native
        for smp, seconds in ((8, 330), (1, 165), (2, 180), (64, 330))[: 4 if native else 3]:
            without = None if smp == 8 and native else SLOW
            job = self.kselftests(
                f"kselftest, {smp} CPUs", f"kselftest-smp{smp}", smp, without=without, seconds=seconds
            )
            if smp == 8:
                self.eight = job
        self.guest("reading in a storm", runs.reading, 1, seconds=20)
        smp = runs.RANDOM_SMP
        if native:
            # The others have no Python.
            self.guest("moddedup in a storm", lambda kernel: runs.moddedup(kernel, smp, 20), smp, seconds=60)
        for smp, seconds in ((8, 50), (64, 100))[: 2 if native else 1]:
            self.guest(f"kmod.sh, {smp} CPUs", lambda kernel, smp=smp: runs.kmod(kernel, smp), smp, seconds=seconds)
        self.at_random("chaos", "chaos", 20_000, seconds=20)
        self.compared("compared with the C code", "c")

    def long(self):
        """What takes too long to be run each time."""
        self.compared("compared with stock", "stock", stock=True)
        self.at_random("chaos, a million calls", "chaos", 1_000_000, seconds=1000)
        self.at_random("chaos, 64 CPUs", "chaos", 20_000, smp=64, processes=128, seconds=600)

    def sanitized(self, variant, chaos, fuzz, without=None):
        """The kselftests, and so many random calls, on a kernel that finds mistakes."""
        name, title, smp = f"kselftest-{variant}", f"kselftest, {variant} kernel", runs.SANITIZED_SMP
        self.kselftests(title, name, smp, without=without, variant=variant, seconds=600)
        for what, calls in (("chaos", chaos), ("fuzz", fuzz)):
            self.at_random(f"{what}, {variant} kernel", what, calls, variant=variant, seconds=60 + calls // 100)

    def all_sanitized(self):
        self.sanitized("debug", 100_000, 1_000_000)
        self.sanitized("kcsan", 20_000, 20_000)
        self.sanitized("rt", 20_000, 20_000)
