//! Placeholder while the workspace is laid out.
/// Placeholder.
#[derive(Debug)]
pub struct Topology;
