//! The `larder` binary as users and their tools see it.

mod agreement;
mod cluster;
mod config;
mod conformance;
mod descriptors;
mod dialects;
mod drain;
mod etcd;
mod expiry;
mod groups;
mod hostile;
mod http;
mod lifecycle;
mod moves;
mod origins;
mod python;
mod requests;
mod resp;
mod silence;
mod support;
mod wall_clock;
mod watch;
