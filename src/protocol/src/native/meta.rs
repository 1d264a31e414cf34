//! `Meta`, both ways.

use super::numbers::{item, meta};
use super::reader::{Fault, Reader};
use super::request_encode::{append_bytes, expiry_bytes, put_expiry};
use super::request_fields::Item;
use super::scratch::RequestLimits;
use super::writer::{Writer, size};
use crate::command::{Command, Expiry, Meta, MetaAction, Write};

/// The fields of `Meta`, beside those of [`Item`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MetaDraft {
    action: u32,
    new_version: u64,
    wants_value: bool,
    is_unseen: bool,
    is_stale: bool,
    created: Option<Expiry>,
    early_ms: u64,
    is_early_after: bool,
    delta: u64,
    initial: u64,
}

impl MetaDraft {
    pub(super) fn merge(&mut self, of: &mut Item, mut body: Reader<'_>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                item::CONDITION => self.action = body.uint32(wire)?,
                meta::NEW_VERSION => self.new_version = body.fixed64(wire)?,
                meta::WANTS_VALUE => self.wants_value = body.bool(wire)?,
                meta::UNSEEN => self.is_unseen = body.bool(wire)?,
                meta::STALE => self.is_stale = body.bool(wire)?,
                meta::CREATED_TTL_MS => {
                    self.created = Some(match body.uint64(wire)? {
                        0 => Expiry::Default,
                        ttl_ms => Expiry::After(ttl_ms),
                    });
                }
                meta::CREATED_AT_MS => self.created = Some(Expiry::At(body.uint64(wire)?)),
                meta::EARLY_MS => self.early_ms = body.uint64(wire)?,
                meta::EARLY_AFTER => self.is_early_after = body.bool(wire)?,
                meta::DELTA => self.delta = body.uint64(wire)?,
                meta::INITIAL => self.initial = body.uint64(wire)?,
                _ => of.merge_stored(&mut body, number, wire)?,
            }
        }
        Ok(())
    }

    pub(super) fn finish<'a>(self, of: &Item, message: &'a [u8], limits: &RequestLimits) -> Result<Command<'a>, Fault> {
        let action = MetaAction::from_number(self.action);
        let action = action.ok_or(Fault::bad("an action is none that this server knows"))?;
        let Write { key, value, flags, expiry, .. } = of.write(limits)?.of(message);
        let MetaDraft { new_version, wants_value, is_unseen, is_stale, created, early_ms, delta, initial, .. } = self;
        let version = of.version;
        Ok(Command::Meta(Meta {
            key,
            action,
            value,
            flags,
            version,
            new_version,
            expiry,
            created,
            early_ms,
            is_early_after: self.is_early_after,
            delta,
            initial,
            wants_value,
            is_unseen,
            is_stale,
        }))
    }
}

/// Number and value of the field of `oneof created`.
fn created_field(created: Option<Expiry>) -> Option<(u32, u64)> {
    Some(match created? {
        Expiry::After(ttl_ms) => (meta::CREATED_TTL_MS, ttl_ms.max(1)),
        Expiry::At(at_ms) => (meta::CREATED_AT_MS, at_ms),
        Expiry::Default | Expiry::Never | Expiry::Keep => (meta::CREATED_TTL_MS, 0),
    })
}

pub(super) fn meta_bytes(of: &Meta<'_>) -> usize {
    append_bytes(of.key, of.value)
        + size::uint(item::FLAGS, u64::from(of.flags))
        + size::uint(item::CONDITION, of.action as u64)
        + size::fixed64(item::VERSION, of.version)
        + expiry_bytes(of.expiry)
        + size::fixed64(meta::NEW_VERSION, of.new_version)
        + size::uint(meta::WANTS_VALUE, u64::from(of.wants_value))
        + size::uint(meta::UNSEEN, u64::from(of.is_unseen))
        + size::uint(meta::STALE, u64::from(of.is_stale))
        + created_field(of.created).map_or(0, |(number, value)| size::present(number, value))
        + size::uint(meta::EARLY_MS, of.early_ms)
        + size::uint(meta::DELTA, of.delta)
        + size::uint(meta::INITIAL, of.initial)
        + size::uint(meta::EARLY_AFTER, u64::from(of.is_early_after))
}

pub(super) fn put_meta(writer: &mut Writer<'_>, of: &Meta<'_>) {
    writer.bytes(item::KEY, of.key);
    writer.bytes(item::VALUE, of.value);
    writer.uint(item::FLAGS, u64::from(of.flags));
    writer.uint(item::CONDITION, of.action as u64);
    writer.fixed64(item::VERSION, of.version);
    put_expiry(writer, of.expiry);
    writer.fixed64(meta::NEW_VERSION, of.new_version);
    writer.uint(meta::WANTS_VALUE, u64::from(of.wants_value));
    writer.uint(meta::UNSEEN, u64::from(of.is_unseen));
    writer.uint(meta::STALE, u64::from(of.is_stale));
    if let Some((number, value)) = created_field(of.created) {
        writer.present(number, value);
    }
    writer.uint(meta::EARLY_MS, of.early_ms);
    writer.uint(meta::DELTA, of.delta);
    writer.uint(meta::INITIAL, of.initial);
    writer.uint(meta::EARLY_AFTER, u64::from(of.is_early_after));
}
