//! The results of several keys, where they are in a response.

use core::fmt;

use super::numbers::{entry, item, outcome, result};
use super::reader::{Fault, Reader};
use crate::limits::KEYS_MAX;
use crate::reply::{Entry, Status};

/// The results of a get_many: checked when the response was decoded, and read from its bytes one by one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EntriesView<'a>(Elements<'a>);

/// The results of a set_many or delete_many, like [`EntriesView`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OutcomesView<'a>(Elements<'a>);

impl<'a> EntriesView<'a> {
    pub(super) fn new(elements: Elements<'a>) -> Self {
        Self(elements)
    }

    /// How many results the server sent: as many as keys were asked for, if the server is right.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The results in the order asked: the entry, or why there is none ([`Status::NotFound`]: a miss).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<Entry<'a>, Status>> + Clone + use<'a> {
        self.0.iter(|element| read_entry(element).unwrap_or(Err(Status::BadRequest)))
    }
}

impl<'a> OutcomesView<'a> {
    pub(super) fn new(elements: Elements<'a>) -> Self {
        Self(elements)
    }

    /// How many results the server sent.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The results in the order sent: the version (0 after a delete), or why not.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<u64, Status>> + Clone + use<'a> {
        self.0.iter(|element| read_outcome(element).unwrap_or(Err(Status::BadRequest)))
    }
}

impl fmt::Debug for EntriesView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for OutcomesView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The elements of an `Entries` or `Outcomes` that were checked. They are found anew in the whole response, because a
/// sender may spread one result over several fields, which protobuf merges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Elements<'a> {
    pub(super) response: &'a [u8],
    /// Where the first field of the result begins; behind it there is no field of another result.
    pub(super) start: usize,
    /// [`result::ENTRIES`] or [`result::OUTCOMES`].
    pub(super) number: u32,
    pub(super) len: usize,
}

impl<'a> Elements<'a> {
    fn iter<T, F: Fn(Reader<'a>) -> T + Clone>(
        self,
        read: F,
    ) -> impl ExactSizeIterator<Item = T> + Clone + use<'a, T, F> {
        let mut outer = Reader::starting_at(self.response, self.start);
        let mut inner = Reader::new(&[]);
        let number = self.number;
        (0..self.len).map(move |_| {
            let element = next_element(&mut outer, &mut inner, number);
            read(element.ok().flatten().unwrap_or(Reader::new(&[])))
        })
    }
}

/// The next element of results with this `number`.
fn next_element<'a>(outer: &mut Reader<'a>, inner: &mut Reader<'a>, number: u32) -> Result<Option<Reader<'a>>, Fault> {
    loop {
        if let Some(element) = next_in(inner)? {
            return Ok(Some(element));
        }
        match outer.field()? {
            None => return Ok(None),
            Some((found, wire)) if found == number => *inner = outer.message(wire)?,
            Some((other, wire)) => outer.skip(other, wire)?,
        }
    }
}

/// The next element of one `Entries` or `Outcomes`; `None` at its end.
fn next_in<'a>(list: &mut Reader<'a>) -> Result<Option<Reader<'a>>, Fault> {
    while let Some((number, wire)) = list.field()? {
        match number {
            item::ELEMENT => return list.message(wire).map(Some),
            _ => list.skip(number, wire)?,
        }
    }
    Ok(None)
}

/// Checks all elements of one `Entries` or `Outcomes` and adds their number to `count`.
pub(super) fn check_elements(number: u32, mut list: Reader<'_>, count: &mut usize) -> Result<(), Fault> {
    while let Some(element) = next_in(&mut list)? {
        if number == result::ENTRIES {
            let _: Result<Entry<'_>, Status> = read_entry(element)?;
        } else {
            let _: Result<u64, Status> = read_outcome(element)?;
        }
        *count += 1;
        if *count > KEYS_MAX {
            return Err(Fault::too_large("a response has more results than a request may have keys"));
        }
    }
    Ok(())
}

/// The fields of an `Entry`, as far as they were read.
#[derive(Clone, Copy, Default)]
pub(super) struct EntryDraft<'a> {
    value: &'a [u8],
    flags: u32,
    version: u64,
    ttl_ms: u64,
    is_stale: bool,
    status: u32,
}

impl<'a> EntryDraft<'a> {
    #[inline]
    pub(super) fn merge(&mut self, mut body: Reader<'a>) -> Result<(), Fault> {
        while let Some((number, wire)) = body.field()? {
            match number {
                entry::VALUE => self.value = body.slice(wire)?,
                entry::FLAGS => self.flags = body.uint32(wire)?,
                entry::VERSION => self.version = body.fixed64(wire)?,
                entry::TTL_MS => self.ttl_ms = body.uint64(wire)?,
                entry::STATUS => self.status = body.uint32(wire)?,
                entry::STALE => self.is_stale = body.bool(wire)?,
                _ => body.skip(number, wire)?,
            }
        }
        Ok(())
    }

    /// The entry, or why there is none.
    pub(super) fn finish(self) -> Result<Result<Entry<'a>, Status>, Fault> {
        let EntryDraft { value, flags, version, ttl_ms, is_stale, status } = self;
        Ok(match known_status(status)? {
            Status::Ok => Ok(Entry { value, flags, version, ttl_ms, is_stale }),
            status => Err(status),
        })
    }
}

fn read_entry(element: Reader<'_>) -> Result<Result<Entry<'_>, Status>, Fault> {
    let mut draft = EntryDraft::default();
    draft.merge(element)?;
    draft.finish()
}

fn read_outcome(mut element: Reader<'_>) -> Result<Result<u64, Status>, Fault> {
    let (mut status, mut version) = (0, 0);
    while let Some((number, wire)) = element.field()? {
        match number {
            outcome::STATUS => status = element.uint32(wire)?,
            outcome::VERSION => version = element.fixed64(wire)?,
            _ => element.skip(number, wire)?,
        }
    }
    Ok(match known_status(status)? {
        Status::Ok => Ok(version),
        status => Err(status),
    })
}

pub(super) fn known_status(number: u32) -> Result<Status, Fault> {
    Status::from_number(u64::from(number)).ok_or(Fault::not_supported("a status is none that this version knows"))
}
