//! The first words between a client and a shard.

use std::borrow::Cow;
use std::sync::Arc;

use larder_engine::{Engine, Watchers};
use larder_protocol::limits::{FRAME_BYTES_MAX, FRAME_OVERHEAD_BYTES_MAX, KEY_BYTES_MAX, KEYS_MAX, PIPELINE_MAX};
use larder_protocol::native::generated::{Group, HelloResult, Limits, TopologyResult};
use larder_protocol::native::{PROTOCOL, RequestLimits, encode_hello, encode_response};
use larder_protocol::{Failure, Reply, Status};

use crate::limits::FRAME_BYTES_MAX_LEAST;
use crate::resp::Shared;

/// What a shard tells about itself.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// Name and version of the server.
    pub server: String,
    /// The id of this node.
    pub node_id: String,
    /// This shard, and how many the node has.
    pub shard: u16,
    /// See [`Welcome::shard`].
    pub shards: u16,
    /// The longest value that this server takes, in bytes.
    pub value_bytes_max: usize,
    /// What connections of RESP share.
    pub resp: Arc<Shared>,
}

impl Welcome {
    /// The longest frame that this server takes, in bytes.
    pub fn frame_bytes_max(&self) -> usize {
        (self.value_bytes_max + KEY_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX).clamp(FRAME_BYTES_MAX_LEAST, FRAME_BYTES_MAX)
    }

    /// What requests may have.
    pub fn request_limits(&self) -> RequestLimits {
        RequestLimits { value_bytes_max: self.value_bytes_max, ..RequestLimits::default() }
    }

    /// Answers a Hello: with who serves here, or why not.
    pub(super) fn answer(
        &self,
        output: &mut Vec<u8>,
        id: u64,
        engine: &Engine<Watchers>,
        protocol: u32,
        wanted_shard: Option<u32>,
    ) {
        match self.refusal(protocol, wanted_shard) {
            Some(failure) => encode_response(output, id, engine.epoch(), &Reply::Failed(&failure)),
            None => encode_hello(output, id, engine.epoch(), &self.result(engine)),
        }
    }

    /// The other shard that a Hello asks for, if it is one that can be had.
    pub(super) fn elsewhere(&self, protocol: u32, wanted_shard: Option<u32>) -> Option<u16> {
        let shard = u16::try_from(wanted_shard?).ok()?;
        (self.refusal(protocol, wanted_shard).is_none() && shard != self.shard).then_some(shard)
    }

    fn refusal(&self, protocol: u32, wanted_shard: Option<u32>) -> Option<Failure> {
        let (status, message) = match wanted_shard {
            _ if protocol != PROTOCOL => (
                Status::NotSupported,
                format!("version {protocol} of the protocol is not spoken here; say hello with version {PROTOCOL}"),
            ),
            Some(shard) if shard >= u32::from(self.shards) => (
                Status::BadRequest,
                format!("there is no shard {shard}; this node has {}, counted from 0", self.shards),
            ),
            _ => return None,
        };
        Some(Failure { status, message: Cow::Owned(message), retry_after_ms: 0 })
    }

    fn result(&self, engine: &Engine<Watchers>) -> HelloResult {
        HelloResult {
            protocol: PROTOCOL,
            server: self.server.clone(),
            node: self.node_id.clone(),
            shard: u32::from(self.shard),
            limits: Some(Limits {
                key_bytes_max: KEY_BYTES_MAX as u64,
                value_bytes_max: self.value_bytes_max as u64,
                frame_bytes_max: self.frame_bytes_max() as u64,
                keys_max: KEYS_MAX as u64,
                pipeline_max: PIPELINE_MAX as u64,
            }),
            groups: engine.groups().map(|(name, hash)| Group { name: name.to_owned(), hash }).collect(),
            topology: Some(TopologyResult::from(&**engine.topology())),
        }
    }
}
