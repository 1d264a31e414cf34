//! From a call to its command: the bytes of keys and values.

use std::sync::Arc;
use std::time::Duration;

use larder_protocol::{Command, Condition, Expiry, Keys, Span, TouchCondition, Write};

use super::Plan;
use crate::error::LoadError;
use crate::fleet::Call;
use crate::verify::{Ledger, Origin};
use crate::workload::{Content, KeyWriter, Operation};

/// What all threads share to make values.
#[derive(Clone, Debug)]
pub(crate) struct Material {
    pub(crate) content: Arc<Content>,
    pub(crate) ledger: Option<Arc<Ledger>>,
}

/// Makes commands, one at a time, in buffers of its own.
#[derive(Debug)]
pub(crate) struct Sender {
    keys: KeyWriter,
    material: Material,
    expiry: Expiry,
    value: Vec<u8>,
    frame: Vec<u8>,
    spans: Vec<Span>,
}

impl Sender {
    pub(crate) fn new(plan: &Plan, material: Material) -> Sender {
        let len = plan.keys.key_bytes() as u32;
        Sender {
            keys: plan.keys.writer(),
            material,
            expiry: plan.ttl.map_or(Expiry::Default, expiry),
            value: Vec::new(),
            frame: Vec::new(),
            spans: (0..plan.multi_get as u32).map(|key| Span { start: key * len, len }).collect(),
        }
    }

    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        self.material.ledger.as_deref()
    }

    /// The bytes of a key.
    pub(crate) fn key(&mut self, number: u64) -> &[u8] {
        self.keys.key(number)
    }

    /// Checks what a read of a key returned, if values are checked.
    pub(crate) fn check(&mut self, number: u64, floor: u64, value: &[u8]) -> Result<Option<Origin>, LoadError> {
        match &self.material.ledger {
            None => Ok(None),
            Some(ledger) => Ok(Some(ledger.check(number, self.keys.key(number), floor, value)?)),
        }
    }

    /// The command of a call; `writer` is the number of its connection.
    pub(crate) fn command(&mut self, call: &Call, writer: usize) -> Command<'_> {
        let expiry = self.expiry;
        match call.operation {
            Operation::Get => Command::Get { key: self.keys.key(call.key) },
            Operation::Set => self.set(call, writer),
            Operation::Delete => Command::Delete { key: self.keys.key(call.key), version: 0 },
            Operation::Touch => Command::Touch { key: self.keys.key(call.key), expiry, only: TouchCondition::Always },
            Operation::Increment => {
                Command::Increment { key: self.keys.counter_key(call.key), delta: 1, initial: Some(0), expiry }
            }
            Operation::GetAndTouch => Command::GetAndTouch { key: self.keys.key(call.key), expiry },
        }
    }

    /// The command of a multi-get.
    pub(crate) fn get_many(&mut self, keys: &[u64]) -> Command<'_> {
        self.frame.clear();
        for &key in keys {
            self.frame.extend_from_slice(self.keys.key(key));
        }
        Command::GetMany { keys: Keys::new(&self.frame, &self.spans) }
    }

    fn set(&mut self, call: &Call, writer: usize) -> Command<'_> {
        let key = self.keys.key(call.key);
        let filling = self.material.content.cut(call.key ^ call.version << 32, call.value_bytes as usize);
        let value = match &self.material.ledger {
            None => filling,
            Some(ledger) => {
                ledger.write(&mut self.value, key, call.version, writer as u32, filling, call.value_bytes as usize);
                &self.value
            }
        };
        Command::Set(Write { key, value, flags: 0, condition: Condition::Always, expiry: self.expiry })
    }
}

/// 0 is for ever; what is above 0 and below 1 ms is 1 ms.
fn expiry(ttl: Duration) -> Expiry {
    match ttl.as_millis() {
        0 if ttl.is_zero() => Expiry::Never,
        ms => Expiry::After(u64::try_from(ms).unwrap_or(u64::MAX).max(1)),
    }
}
