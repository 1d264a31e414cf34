//! Engines as a node has them, in one thread: with lanes that delay, shards that stall, and a plain model beside them.

mod ahead;
mod allocations;
mod deadlines;
mod forwarding;
mod groups;
mod harness;
mod history;
mod lanes;
mod lease;
mod load;
mod membership;
mod meta;
mod operations;
mod overload;
mod refresh;
mod refusals;
mod runs;
mod scan;
mod scatter;
mod transact;
mod watch;
