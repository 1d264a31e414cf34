//! Several requests at one go. They come as frames, are all looked at before the first of them is executed, and are executed
//! without anybody else's between them, which on one shard takes nothing but not to stop.

use alloc::vec::Vec;
use core::mem;

use larder_protocol::limits::{FRAME_BYTES_MAX, RESULT_ENVELOPE_BYTES_MAX, TRANSACT_REQUESTS_MAX};
use larder_protocol::native::{Scratch, decode_request, encode_response, frame};
use larder_protocol::{Command, Failure, Reply, Request, Status};
use larder_ring::key_hash;
use larder_store::{Key, RemovalHook};

use crate::command::Subject;
use crate::failures;
use crate::limits::{KEPT_BYTES_MAX, REFUSED_BYTES_MAX};
use crate::local::{Local, Route};
use crate::receive::reply_bytes_max;

/// Most bytes of all answers.
const ANSWERS_BYTES_MAX: usize = FRAME_BYTES_MAX - RESULT_ENVELOPE_BYTES_MAX;

/// Calls `each` with the requests in `frames` until it fails, and returns how many there are.
///
/// # Errors
/// What `each` says, or why `frames` are none.
pub(crate) fn for_each(
    mut frames: &[u8],
    scratch: &mut Scratch,
    mut each: impl FnMut(&Request<'_>) -> Result<(), Failure>,
) -> Result<usize, Failure> {
    let bad = |reason: &'static str| Failure::new(Status::BadRequest, reason);
    let mut count = 0;
    while !frames.is_empty() {
        let whole = frame(frames, FRAME_BYTES_MAX).ok().flatten();
        let whole = whole.ok_or(bad("the requests of the transaction are no whole frames"))?;
        count += 1;
        if count > TRANSACT_REQUESTS_MAX {
            return Err(Failure::new(Status::TooLarge, "a transaction has more than 1024 requests; send several"));
        }
        let request = decode_request(whole.message, scratch)?;
        each(&request)?;
        frames = &frames[whole.consumed..];
    }
    Ok(count)
}

/// Calls `each` with the group and every key of a request that may be in a transaction.
///
/// # Errors
/// What `each` says, or that it may not.
pub(crate) fn for_each_key(
    request: &Request<'_>,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match (Subject::of(&request.command), &request.command) {
        (_, Command::LeaseGet { .. } | Command::LeaseSet { .. } | Command::Transact { .. }) => {}
        (Subject::Key(key), _) => return each(request.group, key),
        (Subject::Keys(many), _) => {
            return (0..many.len()).try_for_each(|position| each(request.group, many.key(position)));
        }
        _ => {}
    }
    Err(Failure::new(Status::BadRequest, "a request of the transaction is none about keys, or one about a lease"))
}

impl<H: RemovalHook> Local<H> {
    /// Executes a transaction of requests for keys of this shard, or says why it cannot be; then nothing of it was.
    #[cold]
    pub(crate) fn transact(&mut self, requests: &[u8], now_ms: u64) -> Reply<'_> {
        // Out of `self` for as long as requests borrow it.
        let mut scratch = mem::take(&mut self.transact);
        let checked = for_each(requests, &mut scratch, |request| {
            for_each_key(request, |group, key| self.check_part(group, key, now_ms))?;
            match request.command {
                Command::Check { key, version, expires_at_ms } => {
                    let group = self.groups.group(request.group).expect("it was checked");
                    let key = Key { group: group.index, hash: key_hash(key, group.hash), bytes: key };
                    match self.is_unchanged(key, version, expires_at_ms, now_ms) {
                        true => Ok(()),
                        false => Err(failures::VERSION_MISMATCH.clone()),
                    }
                }
                _ => Ok(()),
            }
        });
        let mut answers = mem::take(&mut self.last.transacted);
        answers.clear();
        answers.shrink_to(KEPT_BYTES_MAX);
        let checked = checked.and_then(|count| {
            let mut left = count;
            for_each(requests, &mut scratch, |request| {
                left -= 1;
                if !matches!(request.command, Command::Check { .. }) {
                    let room = ANSWERS_BYTES_MAX - answers.len() - left * REFUSED_BYTES_MAX;
                    self.execute_part(request, &mut answers, room, now_ms);
                }
                Ok(())
            })
        });
        self.transact = scratch;
        self.last.transacted = answers;
        match checked {
            Ok(_) => Reply::Transacted(&self.last.transacted),
            Err(failure) => {
                self.last.failure = failure;
                Reply::Failed(&self.last.failure)
            }
        }
    }

    /// Whether a key of a transaction may be answered for here.
    fn check_part(&mut self, group: u64, key: &[u8], now_ms: u64) -> Result<(), Failure> {
        let Some(group) = self.groups.group(group) else {
            return Err(Failure::new(
                Status::NoSuchGroup,
                "a request of the transaction names a group that there is not",
            ));
        };
        let hash = key_hash(key, group.hash);
        if self.route(hash) != Route::Here {
            return Err(Failure::new(
                Status::NotSupported,
                "the keys of the transaction belong to several shards; nothing of it was executed",
            ));
        }
        match self.may_answer(Key { group: group.index, hash, bytes: key }, now_ms) {
            true => Ok(()),
            false => Err(failures::UNPROVEN.clone()),
        }
    }

    /// Whether a key of this shard has a version, and expires then if that matters; version 0: whether it is absent.
    pub(crate) fn is_unchanged(&self, key: Key<'_>, version: u64, expires_at_ms: Option<u64>, now_ms: u64) -> bool {
        self.store.peek(key, now_ms).map_or(version == 0, |handle| {
            let entry = self.store.entry(handle);
            expires_at_ms.is_none_or(|at_ms| at_ms == entry.expires_at_ms) && self.names.mean(entry.version, version)
        })
    }

    fn execute_part(&mut self, request: &Request<'_>, answers: &mut Vec<u8>, room: usize, now_ms: u64) {
        let begin = answers.len();
        let mut reply = self.execute(request, now_ms);
        let bytes = reply_bytes_max(&reply);
        if bytes > room {
            reply = Reply::Failed(&failures::NO_ROOM);
        }
        encode_response(answers, request.id, 0, &reply);
        debug_assert!(answers.len() - begin <= bytes.max(REFUSED_BYTES_MAX));
    }
}
