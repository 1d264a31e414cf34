//! The load generator against a small server in the test, which can misbehave as real ones seldom do.

mod ceilings;
mod faults;
mod peers;
mod program;
mod real;
mod replays;
mod runs;
mod server;
