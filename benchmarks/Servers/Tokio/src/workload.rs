// SPDX-License-Identifier: Apache-2.0
//! What the servers in C have in Servers/Protocol/workload.h: how many threads, the work of a request, and a thread
//! that hangs now and then.

use std::time::Duration;

const MOST_LOOPS: u64 = 1024;
const MOST: u64 = 1_000_000_000_000; // of any number

#[derive(Clone, Copy, Default)]
pub struct Workload {
    /// Worker threads of the multi-thread runtime; None for the current_thread runtime.
    pub loops: Option<usize>,
    /// For each request.
    pub burn_rounds: u64,
    /// Zero for no stalls.
    pub stall_period: Duration,
    pub stall_time: Duration,
}

fn end_with_usage() -> ! {
    eprintln!(
        "usage: tokio LOAD [--loops N] [--burn-rounds N] [--stall-period MS --stall-time MS]"
    );
    std::process::exit(64)
}

impl Workload {
    /// Ends the program with a usage text where the options are wrong.
    pub fn parse(arguments: &[String]) -> Self {
        let mut result = Self::default();
        for pair in arguments.chunks(2) {
            let number = match pair.get(1).and_then(|text| text.parse().ok()) {
                Some(number) if number <= MOST => number,
                _ => end_with_usage(),
            };
            match pair[0].as_str() {
                "--loops" if (1..=MOST_LOOPS).contains(&number) => {
                    result.loops = Some(number as usize)
                }
                "--burn-rounds" => result.burn_rounds = number,
                "--stall-period" => result.stall_period = Duration::from_millis(number),
                "--stall-time" => result.stall_time = Duration::from_millis(number),
                _ => end_with_usage(),
            }
        }
        let stalls = !result.stall_period.is_zero();
        // Either both, and the shorter one is the stall, or neither.
        if stalls == result.stall_time.is_zero()
            || stalls && result.stall_time >= result.stall_period
        {
            end_with_usage();
        }
        result
    }
}

/// The work of a request, the same as in Servers/Protocol/workload.c.
pub fn burn(rounds: u64) {
    let mut value: u64 = 88172645463325252;
    for _ in 0..rounds {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
    }
    // The compiler would see that the result has no use, and leave the work out.
    // SAFETY: a reference is valid to read from.
    unsafe { std::ptr::read_volatile(&value) };
}

/// Blocks a worker thread now and then, as a blocking call in a handler does. Tasks that wait for that thread may be
/// taken by another.
pub async fn stall(workload: Workload) {
    loop {
        tokio::time::sleep(workload.stall_period - workload.stall_time).await;
        std::thread::sleep(workload.stall_time);
    }
}
