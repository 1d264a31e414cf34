//! The fields of the operations, merged one by one as they are met in a request.

use super::numbers::{alter_group, alter_node, hello, item, lease_get, lease_set, scan};
use super::reader::{Fault, Reader, Wire};
use super::scratch::{RequestLimits, Scratch};
use crate::command::{
    Command, Condition, Expiry, GroupAction, GroupAlteration, NodeAlteration, ScanStep, TouchCondition,
};
use crate::limits::{
    CLIENT_NAME_BYTES_MAX, CURSOR_BYTES_MAX, GROUP_NAME_BYTES_MAX, GROUP_SETTINGS_BYTES_MAX, NODE_NAME_BYTES_MAX,
    PATTERN_BYTES_MAX, WEIGHT_BYTES_MAX,
};
use crate::places::{Span, WriteSpan};

/// The fields that operations on one key, and the elements of a set_many, share.
#[derive(Default)]
pub(super) struct Item {
    pub(super) key: Span,
    value: Span,
    flags: u32,
    condition: u32,
    pub(super) version: u64,
    pub(super) expiry: Expiry,
    only: u32,
    pub(super) offset: u64,
    pub(super) wants_value: bool,
}

/// The fields of `Count`, beside those of [`Item`].
#[derive(Default)]
pub(super) struct Count {
    delta: u64,
    initial: Option<u64>,
    is_down: bool,
}

/// The fields of `Hello`.
#[derive(Default)]
pub(super) struct Hello<'a> {
    protocol: u32,
    client: &'a str,
    credentials: &'a [u8],
    shard: Option<u32>,
}

/// The fields of `Scan`.
#[derive(Default)]
pub(super) struct Scan<'a> {
    cursor: &'a [u8],
    count: u32,
    pattern: &'a [u8],
}

/// The fields of `AlterGroup`.
#[derive(Default)]
pub(super) struct AlterGroup<'a> {
    name: &'a str,
    action: u32,
    settings: &'a str,
}

/// The fields of `AlterNode`.
#[derive(Default)]
pub(super) struct AlterNode<'a> {
    node: &'a str,
    weight: Option<&'a str>,
    drain: Option<bool>,
}

impl Item {
    #[inline]
    pub(super) fn merge_key(&mut self, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => self.key = body.span(wire)?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    pub(super) fn merge_set(&mut self, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::CONDITION => self.condition = body.uint32(wire)?,
                _ => self.merge_stored(&mut body, number, wire)?,
            }
        }
        Ok(())
    }

    /// One of the fields of what is stored but its condition, or an unknown field.
    #[inline]
    pub(super) fn merge_stored(&mut self, body: &mut Reader<'_>, number: u32, wire: Wire) -> Result<(), Fault> {
        match number {
            item::KEY => self.key = body.span(wire)?,
            item::VALUE => self.value = body.span(wire)?,
            item::FLAGS => self.flags = body.uint32(wire)?,
            item::VERSION => self.version = body.fixed64(wire)?,
            _ => self.merge_expiry(body, number, wire)?,
        }
        Ok(())
    }

    pub(super) fn merge_delete(&mut self, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => self.key = body.span(wire)?,
                item::DELETE_VERSION => self.version = body.fixed64(wire)?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    pub(super) fn merge_check(&mut self, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => self.key = body.span(wire)?,
                item::DELETE_VERSION => self.version = body.fixed64(wire)?,
                item::EXPIRES_AT_MS => self.expiry = Expiry::At(body.uint64(wire)?),
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    pub(super) fn merge_touch(&mut self, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => self.key = body.span(wire)?,
                item::ONLY => self.only = body.uint32(wire)?,
                _ => self.merge_expiry(&mut body, number, wire)?,
            }
        }
        Ok(())
    }

    pub(super) fn merge_append(&mut self, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => self.key = body.span(wire)?,
                item::VALUE => self.value = body.span(wire)?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    pub(super) fn merge_patch(&mut self, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => self.key = body.span(wire)?,
                item::VALUE => self.value = body.span(wire)?,
                item::OFFSET => self.offset = body.uint64(wire)?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    pub(super) fn merge_look(&mut self, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => self.key = body.span(wire)?,
                item::WANTS_VALUE => self.wants_value = body.bool(wire)?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    /// One of the fields of `oneof expiry`, the last of which counts, or an unknown field.
    pub(super) fn merge_expiry(&mut self, body: &mut Reader<'_>, number: u32, wire: Wire) -> Result<(), Fault> {
        self.expiry = match number {
            item::TTL_MS => match body.uint64(wire)? {
                0 => Expiry::Never,
                ttl_ms => Expiry::After(ttl_ms),
            },
            item::EXPIRES_AT_MS => Expiry::At(body.uint64(wire)?),
            item::KEEP_TTL => match body.bool(wire)? {
                true => Expiry::Keep,
                false => Expiry::Default,
            },
            _ => return body.skip(number, wire),
        };
        Ok(())
    }

    #[inline]
    pub(super) fn key<'a>(&self, message: &'a [u8], limits: &RequestLimits) -> Result<&'a [u8], Fault> {
        limits.check_key(self.key.len as usize)?;
        Ok(self.key.of(message))
    }

    pub(super) fn value<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        self.value.of(message)
    }

    pub(super) fn only(&self) -> Result<TouchCondition, Fault> {
        TouchCondition::from_number(self.only).ok_or(Fault::bad("a condition is none that this server knows"))
    }

    pub(super) fn write(&self, limits: &RequestLimits) -> Result<WriteSpan, Fault> {
        limits.check_key(self.key.len as usize)?;
        limits.check_value(self.value.len as usize)?;
        let condition = match self.condition {
            0 => Condition::Always,
            1 => Condition::Absent,
            2 => Condition::Present,
            3 => Condition::Version(self.version),
            _ => return Err(Fault::bad("a condition is none that this server knows")),
        };
        Ok(WriteSpan { key: self.key, value: self.value, flags: self.flags, condition, expiry: self.expiry })
    }
}

impl Count {
    pub(super) fn merge(&mut self, of: &mut Item, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => of.key = body.span(wire)?,
                item::DELTA => self.delta = body.uint64(wire)?,
                item::INITIAL => self.initial = Some(body.uint64(wire)?),
                item::DOWN => self.is_down = body.bool(wire)?,
                item::VERSION => of.version = body.fixed64(wire)?,
                _ => of.merge_expiry(&mut body, number, wire)?,
            }
        }
        Ok(())
    }

    pub(super) fn finish<'a>(self, key: &'a [u8], of: &Item) -> Command<'a> {
        let (Count { delta, initial, is_down }, expiry, version) = (self, of.expiry, of.version);
        Command::Count { key, delta, is_down, initial, expiry, version }
    }
}

impl<'a> Hello<'a> {
    pub(super) fn merge(&mut self, mut body: Reader<'a>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                hello::PROTOCOL => self.protocol = body.uint32(wire)?,
                hello::CLIENT => self.client = body.text(wire, "the client's name is not UTF-8")?,
                hello::CREDENTIALS => self.credentials = body.slice(wire)?,
                hello::SHARD => self.shard = Some(body.uint32(wire)?),
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Command<'a>, Fault> {
        if self.client.len() > CLIENT_NAME_BYTES_MAX {
            return Err(Fault::too_large("the client's name is longer than 1024 bytes"));
        }
        if self.credentials.len() > CLIENT_NAME_BYTES_MAX {
            return Err(Fault::too_large("the credentials are longer than 1024 bytes"));
        }
        let Hello { protocol, client, credentials, shard } = self;
        Ok(Command::Hello { client, protocol, credentials, shard })
    }
}

impl<'a> Scan<'a> {
    pub(super) fn merge(&mut self, mut body: Reader<'a>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                scan::CURSOR => self.cursor = body.slice(wire)?,
                scan::COUNT => self.count = body.uint32(wire)?,
                scan::PATTERN => self.pattern = body.slice(wire)?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Command<'a>, Fault> {
        let Scan { cursor, count, pattern } = self;
        if cursor.len() > CURSOR_BYTES_MAX {
            return Err(Fault::bad("the cursor is none that a scan gave"));
        }
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(Fault::too_large("the pattern is longer than 255 bytes"));
        }
        Ok(Command::Scan(ScanStep { cursor, count, pattern }))
    }
}

impl<'a> AlterGroup<'a> {
    pub(super) fn merge(&mut self, mut body: Reader<'a>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                alter_group::NAME => self.name = body.text(wire, "the name of the group is not UTF-8")?,
                alter_group::ACTION => self.action = body.uint32(wire)?,
                alter_group::SETTINGS => self.settings = body.text(wire, "the settings are not UTF-8")?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Command<'a>, Fault> {
        let AlterGroup { name, action, settings } = self;
        if name.len() > GROUP_NAME_BYTES_MAX {
            return Err(Fault::too_large("the name of the group is longer than 255 bytes"));
        }
        if settings.len() > GROUP_SETTINGS_BYTES_MAX {
            return Err(Fault::too_large("the settings are longer than 16 KiB"));
        }
        let action = match action {
            0 => GroupAction::List,
            1 => GroupAction::Create,
            2 => GroupAction::Alter,
            3 => GroupAction::Drop,
            _ => return Err(Fault::not_supported("the action on a group is none that this version knows")),
        };
        Ok(Command::AlterGroup(GroupAlteration { name, action, settings }))
    }
}

impl<'a> AlterNode<'a> {
    pub(super) fn merge(&mut self, mut body: Reader<'a>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                alter_node::NODE => self.node = body.text(wire, "the id of the node is not UTF-8")?,
                alter_node::WEIGHT => self.weight = Some(body.text(wire, "the weight is not UTF-8")?),
                alter_node::DRAIN => self.drain = Some(body.bool(wire)?),
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Command<'a>, Fault> {
        let AlterNode { node, weight, drain } = self;
        if node.len() > NODE_NAME_BYTES_MAX {
            return Err(Fault::too_large("the id of the node is longer than 255 bytes"));
        }
        if weight.is_some_and(|weight| weight.len() > WEIGHT_BYTES_MAX) {
            return Err(Fault::too_large("the weight is longer than 255 bytes"));
        }
        Ok(Command::AlterNode(NodeAlteration { node, weight, drain }))
    }
}

pub(super) fn merge_keys(mut body: Reader<'_>, scratch: &mut Scratch) -> Result<(), Fault> {
    while let Some((number, wire)) = body.field()? {
        match number {
            item::ELEMENT => scratch.push_key(body.span(wire)?)?,
            _ => body.skip(number, wire)?,
        }
    }
    Ok(())
}

pub(super) fn merge_writes(mut body: Reader<'_>, scratch: &mut Scratch) -> Result<(), Fault> {
    while let Some((number, wire)) = body.field()? {
        match number {
            item::ELEMENT => {
                let mut entry = Item::default();
                entry.merge_set(body.message(wire)?)?;
                scratch.push_write(entry.write(&scratch.limits)?)?;
            }
            _ => body.skip(number, wire)?,
        }
    }
    Ok(())
}

/// The fields of leases beside their keys and values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lease {
    pub(super) lease_ms: u32,
    pub(super) token: u64,
}

impl Lease {
    pub(super) fn merge_get(&mut self, item: &mut Item, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::KEY => item.key = body.span(wire)?,
                lease_get::LEASE_MS => self.lease_ms = body.uint32(wire)?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    pub(super) fn merge_set(&mut self, item: &mut Item, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                lease_set::SET => item.merge_set(body.message(wire)?)?,
                lease_set::TOKEN => self.token = body.fixed64(wire)?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }
}

/// A message that has no fields yet.
pub(super) fn skip_all(mut body: Reader<'_>) -> Result<(), Fault> {
    while let Some((number, wire)) = body.field()? {
        body.skip(number, wire)?;
    }
    Ok(())
}
