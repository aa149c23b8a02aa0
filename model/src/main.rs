// SPDX-License-Identifier: GPL-2.0

//! Runs the scenarios, each in a process of its own.
//!
//! `model` runs all, `model NAME...` some of them, `model --list` only names them. Prints a line
//! for each: its name, threads, preemption bound, executions and seconds, or what went wrong.

mod scenarios;
mod scene;

use loom::model::Builder;
use scenarios::{Scenario, SCENARIOS};
use std::{
    env, panic,
    process::{exit, Command, ExitCode},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

/// A scenario whose executions have more branches than this has a loop without end.
const MAX_BRANCHES: usize = 20_000;

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

/// Explores all executions of a scenario. Ends the process if one of them goes wrong.
fn explore(scenario: &'static Scenario) {
    panic::set_hook(Box::new(|info| {
        // No unwinding: the guards that would be dropped use a lock, and nobody is there to run it.
        let payload = info.payload();
        let message = (payload.downcast_ref::<String>().map(String::as_str))
            .or(payload.downcast_ref::<&str>().copied())
            .unwrap_or("something went wrong")
            .replace('\n', " ");
        println!("FAILED: {message}");
        let place = info.location().map(ToString::to_string);
        eprintln!(
            "execution {}, at {}:\n{}",
            EXECUTIONS.load(Relaxed),
            place.unwrap_or_default(),
            kernel::world::log()
        );
        exit(1);
    }));
    let begun = Instant::now();
    for variant in 0..scenario.variants {
        let mut builder = Builder::new();
        builder.max_branches = MAX_BRANCHES;
        builder.preemption_bound = scenario.bound;
        builder.check(move || {
            EXECUTIONS.fetch_add(1, Relaxed);
            scene::run(|scene| (scenario.run)(scene, variant));
        });
    }
    println!(
        "{:>9} executions {:>7.1} s",
        EXECUTIONS.load(Relaxed),
        begun.elapsed().as_secs_f64()
    );
}

/// Runs a scenario in another process, whose output follows its name.
fn run(scenario: &Scenario) -> bool {
    let bound = scenario.bound.map_or("none".into(), |it| it.to_string());
    let Scenario { name, threads, .. } = scenario;
    print!("{name:<28} {threads} threads, bound {bound:<4} ");
    std::io::Write::flush(&mut std::io::stdout()).unwrap();
    let program = env::current_exe().unwrap();
    let status = Command::new(program).args(["--explore", name]).status();
    let passed = status.as_ref().is_ok_and(|status| status.success());
    if !passed && status.map_or(true, |status| status.code() != Some(1)) {
        println!("FAILED: the process was killed");
    }
    passed
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let find = |name: &String| SCENARIOS.iter().find(|it| it.name == name.as_str());
    if args.first().is_some_and(|it| it == "--list") {
        for Scenario { name, about, .. } in SCENARIOS {
            println!("{name:<28} {about}");
        }
        return ExitCode::SUCCESS;
    }
    if let [explores, name] = &*args {
        if explores == "--explore" {
            explore(find(name).expect("a scenario"));
            return ExitCode::SUCCESS;
        }
    }
    let mut wanted: Vec<&Scenario> = Vec::new();
    for name in &args {
        let Some(scenario) = find(name) else {
            eprintln!("There is no scenario {name}; --list names them.");
            return ExitCode::from(2);
        };
        wanted.push(scenario);
    }
    if args.is_empty() {
        wanted.extend(SCENARIOS);
    }
    let failed = wanted.iter().filter(|scenario| !run(scenario)).count();
    println!("{} passed, {failed} failed", wanted.len() - failed);
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
