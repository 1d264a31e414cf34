//! Connections: one task each, many callers. Nothing here knows keys, groups or retries.

mod answer;
mod calls;
mod endpoint;
mod handshake;
mod link;
mod outbox;
mod pump;
mod subscription;

pub(crate) use answer::{Answer, Payload};
pub(crate) use endpoint::{Endpoint, EndpointSettings, Observer};
pub(crate) use handshake::{ConnectSettings, Established, Greeting, HandshakeError, establish};
pub(crate) use link::{Attempt, Link};
pub(crate) use subscription::Subscription;
