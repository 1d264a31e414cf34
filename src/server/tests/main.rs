//! The `larder` binary as users and their tools see it.

mod config;
