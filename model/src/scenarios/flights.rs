// SPDX-License-Identifier: GPL-2.0

//! Leaders and followers of one flight.

use crate::scene::{load, Call, End, Scene};
use kernel::world::{self, Event};

pub fn three_callers(scene: Scene, _: usize) {
    for pid in 1..=2 {
        calls(scene, pid, load(1, 1));
    }
    scene.call(load(1, 1), End::Result).unwrap();
}

/// Leads, with two callers that come at any time, and ends.
fn lead_two(scene: Scene, end: End) {
    let leader = scene.leader(load(1, 1));
    for pid in 1..=2 {
        calls(scene, pid, load(1, 1));
    }
    let _ = scene.lead(leader, end);
}

pub fn result(scene: Scene, _: usize) {
    lead_two(scene, End::Result);
}

pub fn private_end(scene: Scene, variant: usize) {
    lead_two(scene, [End::Private, End::Return][variant]);
}

pub fn death(scene: Scene, _: usize) {
    lead_two(scene, End::Death);
}

/// Two wait already.
fn four(scene: Scene, end: End) {
    let leader = scene.leader(load(1, 1));
    for pid in 1..=2 {
        calls(scene, pid, load(1, 1));
    }
    world::sleep_until_idle();
    calls(scene, 3, load(1, 1));
    let _ = scene.lead(leader, end);
}

pub fn fourth_caller(scene: Scene, _: usize) {
    four(scene, End::Result);
}

pub fn fourth_caller_retry(scene: Scene, _: usize) {
    four(scene, End::Private);
}

/// Lets a new task call, which must get a result, if need be by a load of its own.
pub fn calls(scene: Scene, pid: i32, key: Call) {
    world::spawn(pid, move || {
        let result = scene.call(key, End::Result);
        assert!(result.is_ok(), "a caller got an error that is not its own");
    });
}

pub fn four_callers(scene: Scene, _: usize) {
    for pid in 1..=3 {
        calls(scene, pid, load(1, 1));
    }
    scene.call(load(1, 1), End::Result).unwrap();
}

/// Another follower waits already.
pub fn interrupted(scene: Scene, variant: usize) {
    let leader = scene.leader(load(1, 1));
    calls(scene, 1, load(1, 1));
    world::sleep_until_idle();
    let victim = world::spawn_exposed(2, move || {
        let _ = scene.call(load(1, 1), End::Result);
    });
    world::spawn(3, move || world::post(victim, Event::Signal));
    let _ = scene.lead(leader, [End::Result, End::Private][variant]);
}

/// The waking is left to somebody else, while another call comes. That is done if there are more
/// than four; the leader plays five itself, one after the other.
pub fn woken_later(scene: Scene, variant: usize) {
    let leader = scene.leader(load(1, 1));
    world::spawn_worker(9);
    let followers: Vec<_> = (0..5).map(|_| scene.follower(load(1, 1))).collect();
    calls(scene, 1, load(1, 1));
    let _ = scene.lead(leader, [End::Result, End::Death][variant]);
    for follower in followers {
        assert!(scene.follow(follower, None).is_ok());
    }
}
